"""The built-in cases, a module a family; `select` imports them all."""
