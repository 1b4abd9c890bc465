"""Taylor mode: a jaxpr interpreter on truncated Taylor series."""

from jaxgrad.nth._engine import (
    _bilinear,
    _control,
    _elementwise,
    _linear,
    _linear_algebra,
    _named,
    _power,
    _special,
    _spectral,
)
from jaxgrad.nth._engine._interpret import evaluate as evaluate
from jaxgrad.nth._engine._interpret import taylor as taylor
from jaxgrad.nth._engine._named import enter_sine_and_cosine as enter_sine_and_cosine
from jaxgrad.nth._engine._registry import Mode as Mode
from jaxgrad.nth._engine._registry import register_rule as register_rule
from jaxgrad.nth._engine._series import Series as Series
from jaxgrad.nth._engine._series import constant as constant
from jaxgrad.nth._engine._series import scale as scale
from jaxgrad.nth._engine._side_by_side import side_by_side as side_by_side
from jaxgrad.nth._engine._two_directions import pairs as pairs

__all__ = [
    "Mode",
    "Series",
    "constant",
    "enter_sine_and_cosine",
    "evaluate",
    "pairs",
    "register_rule",
    "scale",
    "side_by_side",
    "taylor",
]

# importing these modules enters their rules
_RULES = (_bilinear, _control, _elementwise, _linear, _linear_algebra, _named, _power, _special, _spectral)
