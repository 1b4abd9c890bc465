"""Adaptation by a few optimizer steps, and gradients through it."""

from torch_ref.meta._adapt import adapt as adapt
from torch_ref.meta._first_order import first_order_gradient as first_order_gradient
from torch_ref.meta._first_order import first_order_value_and_gradient as first_order_value_and_gradient
from torch_ref.meta._maml import maml_gradient as maml_gradient
from torch_ref.meta._maml import maml_value_and_gradient as maml_value_and_gradient
from torch_ref.meta._step_gradient import step_gradient as step_gradient

__all__ = [
    "adapt",
    "first_order_gradient",
    "first_order_value_and_gradient",
    "maml_gradient",
    "maml_value_and_gradient",
    "step_gradient",
]
