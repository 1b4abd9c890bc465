"""The gradient at moved parameters, w + a, with respect to w."""

from torch_ref.shift._evolution_gradient import evolution_gradient as evolution_gradient
from torch_ref.shift._expected_gradient import expected_gradient as expected_gradient
from torch_ref.shift._extragradient import extragradient as extragradient
from torch_ref.shift._extragradient import value_and_extragradient as value_and_extragradient
from torch_ref.shift._gradient import gradient as gradient
from torch_ref.shift._gradient import value_and_grad as value_and_grad
from torch_ref.shift._ivon import ivon as ivon
from torch_ref.shift._random_shifts import random_shifts as random_shifts
from torch_ref.shift._sam_gradient import sam_gradient as sam_gradient
from torch_ref.shift._sam_gradient import value_and_sam_gradient as value_and_sam_gradient
from torch_ref.shift._score_function_gradient import score_function_gradient as score_function_gradient

__all__ = [
    "evolution_gradient",
    "expected_gradient",
    "extragradient",
    "gradient",
    "ivon",
    "random_shifts",
    "sam_gradient",
    "score_function_gradient",
    "value_and_extragradient",
    "value_and_grad",
    "value_and_sam_gradient",
]
