"""The losses that a pair knows by name; apart from the functions, so that a help text needs no JAX."""

__all__ = ["LOSS_NAMES"]

LOSS_NAMES = ("mse", "cross_entropy", "mean_square")
