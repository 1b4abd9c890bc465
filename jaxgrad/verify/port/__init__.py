"""A user's own torch model and its JAX port: mapping, audit, check, first divergence, causes."""
