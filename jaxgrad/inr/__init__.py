"""Networks as fields: their coordinate derivatives, and losses that fit values or derivatives."""

from jaxgrad.inr._coordinate_derivatives import coordinate_derivatives as coordinate_derivatives
from jaxgrad.inr._gradient_loss import gradient_loss as gradient_loss
from jaxgrad.inr._image_targets import ImageTargets as ImageTargets
from jaxgrad.inr._image_targets import image_targets as image_targets
from jaxgrad.inr._psnr import psnr as psnr
from jaxgrad.inr._sine import sine as sine
from jaxgrad.inr._value_loss import value_loss as value_loss

__all__ = ["ImageTargets", "coordinate_derivatives", "gradient_loss", "image_targets", "psnr", "sine", "value_loss"]
