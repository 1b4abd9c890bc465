"""Derivatives of any order."""

from jaxgrad.nth._biharmonic import biharmonic as biharmonic
from jaxgrad.nth._derivatives import derivative as derivative
from jaxgrad.nth._derivatives import derivatives as derivatives
from jaxgrad.nth._directional import directional as directional
from jaxgrad.nth._laplacian import laplacian as laplacian
from jaxgrad.nth._mixed import mixed_partial as mixed_partial

__all__ = ["biharmonic", "derivative", "derivatives", "directional", "laplacian", "mixed_partial"]
