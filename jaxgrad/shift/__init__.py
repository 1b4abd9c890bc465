"""The gradient at moved parameters, w + a, with respect to w."""

from jaxgrad.shift._expected_gradient import expected_gradient as expected_gradient
from jaxgrad.shift._gradient import gradient as gradient
from jaxgrad.shift._gradient import value_and_gradient as value_and_gradient
from jaxgrad.shift._lookahead_gradient import lookahead_gradient as lookahead_gradient
from jaxgrad.shift._lookahead_gradient import value_and_lookahead_gradient as value_and_lookahead_gradient
from jaxgrad.shift._random_shifts import random_shifts as random_shifts
from jaxgrad.shift._sam_gradient import sam_gradient as sam_gradient
from jaxgrad.shift._sam_gradient import value_and_sam_gradient as value_and_sam_gradient

__all__ = [
    "expected_gradient",
    "gradient",
    "lookahead_gradient",
    "random_shifts",
    "sam_gradient",
    "value_and_gradient",
    "value_and_lookahead_gradient",
    "value_and_sam_gradient",
]
