"""Gradients by parameters, by input, by name and of gradients; penalties, clipping, a descent step."""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.gradient._clipping import clip_by_global_norm as clip_by_global_norm
from jaxgrad.gradient._clipping import clip_by_value as clip_by_value
from jaxgrad.gradient._clipping import global_norm as global_norm
from jaxgrad.gradient._descent_step import descent_step as descent_step
from jaxgrad.gradient._gradient_norm import gradient_norm as gradient_norm
from jaxgrad.gradient._gradient_norm import squared_norm_gradient as squared_norm_gradient
from jaxgrad.gradient._gradient_penalty import gradient_penalty as gradient_penalty
from jaxgrad.gradient._input_gradient import input_gradient as input_gradient
from jaxgrad.gradient._jacobian import hessian as hessian
from jaxgrad.gradient._jacobian import jacobian as jacobian
from jaxgrad.gradient._mixed_jacobian import mixed_jacobian as mixed_jacobian
from jaxgrad.gradient._mixed_jacobian import mixed_product as mixed_product
from jaxgrad.gradient._named_gradients import named_gradients as named_gradients
from jaxgrad.gradient._parameter_gradient import parameter_gradient as parameter_gradient
from jaxgrad.gradient._parameter_gradient import value_and_grad as value_and_grad

__all__ = [
    "clip_by_global_norm",
    "clip_by_value",
    "descent_step",
    "global_norm",
    "gradient_norm",
    "gradient_penalty",
    "hessian",
    "input_gradient",
    "jacobian",
    "mixed_jacobian",
    "mixed_product",
    "named_gradients",
    "parameter_gradient",
    "squared_norm_gradient",
    "value_and_grad",
]

if TYPE_CHECKING:
    value_and_gradient = value_and_grad
else:
    __getattr__ = _old_names(__name__)
