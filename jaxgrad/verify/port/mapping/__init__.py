"""Which torch tensor fills which JAX leaf."""
