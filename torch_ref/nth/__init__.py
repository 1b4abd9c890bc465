"""Derivatives of any order."""

from torch_ref.nth._biharmonic import biharmonic as biharmonic
from torch_ref.nth._derivatives import derivative as derivative
from torch_ref.nth._derivatives import derivatives as derivatives
from torch_ref.nth._directional import directional as directional
from torch_ref.nth._laplacian import laplacian as laplacian
from torch_ref.nth._mixed import mixed_partial as mixed_partial

__all__ = ["biharmonic", "derivative", "derivatives", "directional", "laplacian", "mixed_partial"]
