"""One gradient for every example, by loops."""

from torch_ref.per_example._clipped_sum import clipped_sum as clipped_sum
from torch_ref.per_example._empirical_fisher import empirical_fisher as empirical_fisher
from torch_ref.per_example._empirical_fisher import empirical_fisher_product as empirical_fisher_product
from torch_ref.per_example._gradients import gradients as gradients
from torch_ref.per_example._gram import gram as gram
from torch_ref.per_example._moments import moments as moments
from torch_ref.per_example._noise_scale import noise_scale as noise_scale
from torch_ref.per_example._norms import norms as norms
from torch_ref.per_example._random_projection import random_projection as random_projection
from torch_ref.per_example._values import values as values
from torch_ref.per_example._weighted_sum import weighted_sum as weighted_sum

__all__ = [
    "clipped_sum",
    "empirical_fisher",
    "empirical_fisher_product",
    "gradients",
    "gram",
    "moments",
    "noise_scale",
    "norms",
    "random_projection",
    "values",
    "weighted_sum",
]
