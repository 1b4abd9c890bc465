"""One gradient for every example, and what can be had without materialising them."""

from jaxgrad.per_example._clipped_sum import ClippedInfo as ClippedInfo
from jaxgrad.per_example._clipped_sum import clipped_sum as clipped_sum
from jaxgrad.per_example._empirical_fisher import empirical_fisher as empirical_fisher
from jaxgrad.per_example._empirical_fisher import empirical_fisher_product as empirical_fisher_product
from jaxgrad.per_example._gradients import gradients as gradients
from jaxgrad.per_example._norms import norms as norms
from jaxgrad.per_example._values import values as values

__all__ = [
    "ClippedInfo",
    "clipped_sum",
    "empirical_fisher",
    "empirical_fisher_product",
    "gradients",
    "norms",
    "values",
]
