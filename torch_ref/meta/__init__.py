"""Adaptation by a few optimizer steps, and gradients through it."""

from torch_ref.meta._adapt import adapt as adapt
from torch_ref.meta._data_weights import data_weights_gradient as data_weights_gradient
from torch_ref.meta._evolution import evolution_gradient as evolution_gradient
from torch_ref.meta._first_order import first_order_gradient as first_order_gradient
from torch_ref.meta._first_order import value_and_first_order_gradient as value_and_first_order_gradient
from torch_ref.meta._hypergradient import hypergradient as hypergradient
from torch_ref.meta._implicit import implicit_gradient as implicit_gradient
from torch_ref.meta._maml import maml_gradient as maml_gradient
from torch_ref.meta._maml import value_and_maml_gradient as value_and_maml_gradient
from torch_ref.meta._meta_sgd import meta_sgd_gradient as meta_sgd_gradient
from torch_ref.meta._meta_sgd import value_and_meta_sgd_gradient as value_and_meta_sgd_gradient
from torch_ref.meta._reptile import reptile_gradient as reptile_gradient
from torch_ref.meta._smoothness import smoothness as smoothness
from torch_ref.meta._step_gradient import step_gradient as step_gradient
from torch_ref.meta._truncated import truncated_gradient as truncated_gradient

__all__ = [
    "adapt",
    "data_weights_gradient",
    "evolution_gradient",
    "first_order_gradient",
    "hypergradient",
    "implicit_gradient",
    "maml_gradient",
    "meta_sgd_gradient",
    "reptile_gradient",
    "smoothness",
    "step_gradient",
    "truncated_gradient",
    "value_and_first_order_gradient",
    "value_and_maml_gradient",
    "value_and_meta_sgd_gradient",
]
