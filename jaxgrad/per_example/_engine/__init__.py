"""The engine: the walk over the linear program, the site rules, the plan, the algebra of outer products."""
