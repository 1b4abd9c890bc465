"""Training scripts as people write them, and the same by hand in plain JAX."""
