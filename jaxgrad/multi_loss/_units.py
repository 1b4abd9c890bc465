"""What a rule is told of gradients whose squares its dtype does not hold: their products in another unit."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxgrad._types import Array
from jaxgrad.multi_loss._aligned_mtl import aligned_mtl
from jaxgrad.multi_loss._cagrad import cagrad
from jaxgrad.multi_loss._config import config
from jaxgrad.multi_loss._dual_projection import dual_projection
from jaxgrad.multi_loss._fairgrad import fairgrad
from jaxgrad.multi_loss._fixed_weights import constant_weights, mean_weights, random_weights, sum_weights
from jaxgrad.multi_loss._graddrop import graddrop
from jaxgrad.multi_loss._imtl_g import imtl_g
from jaxgrad.multi_loss._inner_products import Products
from jaxgrad.multi_loss._krum import krum
from jaxgrad.multi_loss._mgda import mgda
from jaxgrad.multi_loss._nash_mtl import nash_mtl
from jaxgrad.multi_loss._pcgrad import pcgrad
from jaxgrad.multi_loss._trimmed_mean import trimmed_mean
from jaxgrad.multi_loss._upgrad import upgrad

__all__ = ["GIVEN_A_UNIT", "IN_ANY_UNIT", "OF_ROWS", "function_of", "is_one_of", "weighed"]

IN_ANY_UNIT = (
    aligned_mtl, cagrad, config, constant_weights, dual_projection, imtl_g, krum, mean_weights, mgda, pcgrad,
    random_weights, sum_weights, upgrad,
)  # fmt: skip
"""Rules whose weights are the same for gradients that are all longer by one factor."""

GIVEN_A_UNIT = (fairgrad, nash_mtl)
"""Rules whose weights are not, and which take the factor as ``unit``."""


OF_ROWS = (graddrop, trimmed_mean)
"""Rules of the rows themselves."""


def is_one_of(rule: Any, known: Sequence[Any]) -> bool:
    """Say whether a rule is one of some functions, or one of them with some arguments filled in."""
    return any(function_of(rule) is function for function in known)


def function_of(rule: Any) -> Any:
    """Return a rule without the arguments that have been filled in."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    return rule


def weighed(weighting: Callable[..., Array], products: Products, options: Mapping[str, Any]) -> Array:
    """Return the weights of a rule without a state.

    A rule that is not of this family reads the inner products as they are: nobody knows what it does with their scale.
    """
    takes_unit = is_one_of(weighting, GIVEN_A_UNIT)
    if not (takes_unit or is_one_of(weighting, IN_ANY_UNIT)):
        return weighting(products.gram(), **options)
    matrix, unit = products.in_one_unit()
    return weighting(matrix, **options, **({"unit": unit} if takes_unit else {}))
