"""Derivatives beyond ``jax.grad``: pure, jitted JAX functions over parameter pytrees.

Eight families and a bridge to ready-made networks, each a namespace: ``jaxgrad.curvature.hvp(...)``.
`jaxgrad.verify` compares with PyTorch and is imported on its own.
"""

# first: until it is there, an interrupt of the command is left to Python
from jaxgrad import _interrupt as _interrupt  # isort: split

from jaxgrad import curvature as curvature
from jaxgrad import gradient as gradient
from jaxgrad import inr as inr
from jaxgrad import meta as meta
from jaxgrad import models as models
from jaxgrad import multi_loss as multi_loss
from jaxgrad import nth as nth
from jaxgrad import per_example as per_example
from jaxgrad import shift as shift

__all__ = ["curvature", "gradient", "inr", "meta", "models", "multi_loss", "nth", "per_example", "shift"]
