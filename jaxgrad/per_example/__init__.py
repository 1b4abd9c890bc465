"""One gradient for every example, and what can be had without materialising them."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.per_example._clipped_sum import ClippedInfo as ClippedInfo
from jaxgrad.per_example._clipped_sum import clipped_sum as clipped_sum
from jaxgrad.per_example._dp_aggregate import Gathered as Gathered
from jaxgrad.per_example._dp_aggregate import PrivateState as PrivateState
from jaxgrad.per_example._dp_aggregate import dp_aggregate as dp_aggregate
from jaxgrad.per_example._empirical_fisher import empirical_fisher as empirical_fisher
from jaxgrad.per_example._empirical_fisher import empirical_fisher_product as empirical_fisher_product
from jaxgrad.per_example._explain import Explanation as Explanation
from jaxgrad.per_example._explain import LeafExplanation as LeafExplanation
from jaxgrad.per_example._explain import explain as explain
from jaxgrad.per_example._gradients import gradients as gradients
from jaxgrad.per_example._gram import gram as gram
from jaxgrad.per_example._moments import Moments as Moments
from jaxgrad.per_example._moments import moments as moments
from jaxgrad.per_example._noise_scale import NoiseScale as NoiseScale
from jaxgrad.per_example._noise_scale import noise_scale as noise_scale
from jaxgrad.per_example._norms import norms as norms
from jaxgrad.per_example._random_projection import random_projection as random_projection
from jaxgrad.per_example._values import values as values
from jaxgrad.per_example._weighted_sum import weighted_sum as weighted_sum

__all__ = [
    "ClippedInfo",
    "Explanation",
    "Gathered",
    "LeafExplanation",
    "Moments",
    "NoiseScale",
    "PrivateState",
    "clipped_sum",
    "dp_aggregate",
    "empirical_fisher",
    "empirical_fisher_product",
    "explain",
    "gradients",
    "gram",
    "moments",
    "noise_scale",
    "norms",
    "random_projection",
    "values",
    "weighted_sum",
]

if TYPE_CHECKING:
    project = random_projection
else:
    __getattr__ = _old_names(__name__)
