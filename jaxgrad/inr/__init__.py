"""Networks as fields: their coordinate derivatives, and losses that fit values or derivatives."""

from jaxgrad.inr._ceiling import ceiling as ceiling
from jaxgrad.inr._combined_loss import combined_loss as combined_loss
from jaxgrad.inr._coordinate_derivatives import CoordinateDerivatives as CoordinateDerivatives
from jaxgrad.inr._coordinate_derivatives import coordinate_derivatives as coordinate_derivatives
from jaxgrad.inr._eikonal_loss import eikonal_loss as eikonal_loss
from jaxgrad.inr._gradient_loss import gradient_loss as gradient_loss
from jaxgrad.inr._image_targets import ImageTargets as ImageTargets
from jaxgrad.inr._image_targets import image_targets as image_targets
from jaxgrad.inr._laplacian_loss import laplacian_loss as laplacian_loss
from jaxgrad.inr._psnr import psnr as psnr
from jaxgrad.inr._refined_targets import refined_targets as refined_targets
from jaxgrad.inr._sample_by_error import sample_by_error as sample_by_error
from jaxgrad.inr._sample_points import sample_points as sample_points
from jaxgrad.inr._sine import sine as sine
from jaxgrad.inr._sine_cosine import sine_cosine as sine_cosine
from jaxgrad.inr._targets_at import targets_at as targets_at
from jaxgrad.inr._value_loss import value_loss as value_loss

__all__ = [
    "CoordinateDerivatives",
    "ImageTargets",
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
