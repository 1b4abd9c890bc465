"""Adaptation by a few optimizer steps, and gradients through it."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.meta._adapt import Adapted as Adapted
from jaxgrad.meta._adapt import adapt as adapt
from jaxgrad.meta._data_weights import DataWeights as DataWeights
from jaxgrad.meta._data_weights import data_weights_gradient as data_weights_gradient
from jaxgrad.meta._engine._told import MetaGradient as MetaGradient
from jaxgrad.meta._evolution import EvolutionGradient as EvolutionGradient
from jaxgrad.meta._evolution import EvolutionState as EvolutionState
from jaxgrad.meta._evolution import evolution_gradient as evolution_gradient
from jaxgrad.meta._first_order import first_order_gradient as first_order_gradient
from jaxgrad.meta._first_order import value_and_first_order_gradient as value_and_first_order_gradient
from jaxgrad.meta._hypergradient import Hypergradient as Hypergradient
from jaxgrad.meta._hypergradient import hypergradient as hypergradient
from jaxgrad.meta._implicit import ImplicitGradient as ImplicitGradient
from jaxgrad.meta._implicit import implicit_gradient as implicit_gradient
from jaxgrad.meta._maml import maml_gradient as maml_gradient
from jaxgrad.meta._maml import value_and_maml_gradient as value_and_maml_gradient
from jaxgrad.meta._meta_sgd import meta_sgd_gradient as meta_sgd_gradient
from jaxgrad.meta._meta_sgd import value_and_meta_sgd_gradient as value_and_meta_sgd_gradient
from jaxgrad.meta._reptile import reptile_gradient as reptile_gradient
from jaxgrad.meta._smoothness import Smoothness as Smoothness
from jaxgrad.meta._smoothness import smoothness as smoothness
from jaxgrad.meta._step_gradient import step_gradient as step_gradient
from jaxgrad.meta._truncated import truncated_gradient as truncated_gradient

__all__ = [
    "Adapted",
    "DataWeights",
    "EvolutionGradient",
    "EvolutionState",
    "Hypergradient",
    "ImplicitGradient",
    "MetaGradient",
    "Smoothness",
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

if TYPE_CHECKING:
    first_order_value_and_gradient = value_and_first_order_gradient
    maml_value_and_gradient = value_and_maml_gradient
else:
    __getattr__ = _old_names(__name__)
