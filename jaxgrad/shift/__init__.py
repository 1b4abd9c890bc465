"""The gradient at moved parameters, w + a, with respect to w."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad._uses._low_rank import LowRank as LowRank
from jaxgrad.shift._averages import Estimate as Estimate
from jaxgrad.shift._evolution_gradient import evolution_gradient as evolution_gradient
from jaxgrad.shift._expected_gradient import expected_gradient as expected_gradient
from jaxgrad.shift._explain import Explanation as Explanation
from jaxgrad.shift._explain import LeafExplanation as LeafExplanation
from jaxgrad.shift._explain import explain as explain
from jaxgrad.shift._extragradient import extragradient as extragradient
from jaxgrad.shift._extragradient import value_and_extragradient as value_and_extragradient
from jaxgrad.shift._gradient import gradient as gradient
from jaxgrad.shift._gradient import value_and_grad as value_and_grad
from jaxgrad.shift._ivon import Ivon as Ivon
from jaxgrad.shift._ivon import IvonState as IvonState
from jaxgrad.shift._ivon import ivon as ivon
from jaxgrad.shift._low_rank_shifts import low_rank_shifts as low_rank_shifts
from jaxgrad.shift._random_shifts import random_shifts as random_shifts
from jaxgrad.shift._sam_gradient import sam_gradient as sam_gradient
from jaxgrad.shift._sam_gradient import value_and_sam_gradient as value_and_sam_gradient
from jaxgrad.shift._score_function_gradient import score_function_gradient as score_function_gradient

__all__ = [
    "Estimate",
    "Explanation",
    "Ivon",
    "IvonState",
    "LeafExplanation",
    "LowRank",
    "evolution_gradient",
    "expected_gradient",
    "explain",
    "extragradient",
    "gradient",
    "ivon",
    "low_rank_shifts",
    "random_shifts",
    "sam_gradient",
    "score_function_gradient",
    "value_and_extragradient",
    "value_and_grad",
    "value_and_sam_gradient",
]

if TYPE_CHECKING:
    lookahead_gradient = extragradient
    value_and_gradient = value_and_grad
else:
    __getattr__ = _old_names(__name__)
