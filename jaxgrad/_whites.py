"""What white is in a picture of integers; JAX is not imported, for files are read without it."""

__all__ = ["WHITES"]

WHITES = {"bool": 1, "uint8": 255, "uint16": 65535}
"""The largest number of a picture, by its dtype: what it is divided by to lie between 0 and 1."""
