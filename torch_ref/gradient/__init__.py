"""Gradients by parameters, by input, by name and of gradients; penalties, clipping, a descent step."""

from torch_ref.gradient._clipping import clip_by_global_norm as clip_by_global_norm
from torch_ref.gradient._clipping import clip_by_value as clip_by_value
from torch_ref.gradient._clipping import global_norm as global_norm
from torch_ref.gradient._descent_step import descent_step as descent_step
from torch_ref.gradient._gradient_norm import gradient_norm as gradient_norm
from torch_ref.gradient._gradient_norm import squared_norm_gradient as squared_norm_gradient
from torch_ref.gradient._gradient_penalty import gradient_penalty as gradient_penalty
from torch_ref.gradient._input_gradient import input_gradient as input_gradient
from torch_ref.gradient._jacobian import hessian as hessian
from torch_ref.gradient._jacobian import jacobian as jacobian
from torch_ref.gradient._mixed_jacobian import mixed_jacobian as mixed_jacobian
from torch_ref.gradient._mixed_jacobian import mixed_product as mixed_product
from torch_ref.gradient._named_gradients import named_gradients as named_gradients
from torch_ref.gradient._parameter_gradient import parameter_gradient as parameter_gradient
from torch_ref.gradient._parameter_gradient import value_and_grad as value_and_grad

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
