"""Networks as fields: their coordinate derivatives, and losses that fit values or derivatives."""

from torch_ref.inr._ceiling import ceiling as ceiling
from torch_ref.inr._combined_loss import combined_loss as combined_loss
from torch_ref.inr._coordinate_derivatives import coordinate_derivatives as coordinate_derivatives
from torch_ref.inr._eikonal_loss import eikonal_loss as eikonal_loss
from torch_ref.inr._gradient_loss import gradient_loss as gradient_loss
from torch_ref.inr._image_targets import image_targets as image_targets
from torch_ref.inr._laplacian_loss import laplacian_loss as laplacian_loss
from torch_ref.inr._psnr import psnr as psnr
from torch_ref.inr._refined_targets import refined_targets as refined_targets
from torch_ref.inr._sample_by_error import sample_by_error as sample_by_error
from torch_ref.inr._sample_points import sample_points as sample_points
from torch_ref.inr._sine import sine as sine
from torch_ref.inr._sine_cosine import sine_cosine as sine_cosine
from torch_ref.inr._targets_at import targets_at as targets_at
from torch_ref.inr._value_loss import value_loss as value_loss

__all__ = [
    "ceiling",
    "combined_loss",
    "coordinate_derivatives",
    "eikonal_loss",
    "gradient_loss",
    "image_targets",
    "laplacian_loss",
    "psnr",
    "refined_targets",
    "sample_by_error",
    "sample_points",
    "sine",
    "sine_cosine",
    "targets_at",
    "value_loss",
]
