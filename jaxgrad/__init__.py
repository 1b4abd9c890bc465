"""Derivatives beyond ``jax.grad``: pure, jitted JAX functions over parameter pytrees.

Eight families and a bridge to ready-made networks, each a namespace: ``jaxgrad.curvature.hvp(...)``.
`jaxgrad.verify` compares with PyTorch and is imported when it is first asked for.
"""

# first: until it is there, an interrupt of the command is left to Python
from jaxgrad import _interrupt as _interrupt  # isort: split

import importlib
from typing import TYPE_CHECKING, Any

from jaxgrad import curvature as curvature
from jaxgrad import gradient as gradient
from jaxgrad import inr as inr
from jaxgrad import meta as meta
from jaxgrad import models as models
from jaxgrad import multi_loss as multi_loss
from jaxgrad import nth as nth
from jaxgrad import per_example as per_example
from jaxgrad import shift as shift

if TYPE_CHECKING:
    from jaxgrad import verify as verify

__all__ = ["curvature", "gradient", "inr", "meta", "models", "multi_loss", "nth", "per_example", "shift"]

# here and nowhere else: the package's metadata is read from this line when it is built
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `jaxgrad.verify` when it is asked for: it takes as long as everything else."""
    if name == "verify":
        return importlib.import_module("jaxgrad.verify")
    message = f"module 'jaxgrad' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """List `verify` too, before it is imported."""
    return sorted({*globals(), "verify"})
