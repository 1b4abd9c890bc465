"""Derivatives of any order."""

from torch_ref.nth._biharmonic import biharmonic as biharmonic
from torch_ref.nth._derivatives import derivative as derivative
from torch_ref.nth._derivatives import derivatives as derivatives
from torch_ref.nth._directional import directional as directional
from torch_ref.nth._directional import taylor_coefficients as taylor_coefficients
from torch_ref.nth._divergence import divergence as divergence
from torch_ref.nth._jet import jet as jet
from torch_ref.nth._laplacian import laplacian as laplacian
from torch_ref.nth._laplacian import second_derivatives as second_derivatives
from torch_ref.nth._laplacian import value_gradient_laplacian as value_gradient_laplacian
from torch_ref.nth._laplacian import weighted_laplacian as weighted_laplacian
from torch_ref.nth._mixed import all_mixed as all_mixed
from torch_ref.nth._mixed import mixed_partial as mixed_partial
from torch_ref.nth._ode_series import ode_series as ode_series
from torch_ref.nth._stochastic_operator import stochastic_operator as stochastic_operator

__all__ = [
    "all_mixed",
    "biharmonic",
    "derivative",
    "derivatives",
    "directional",
    "divergence",
    "jet",
    "laplacian",
    "mixed_partial",
    "ode_series",
    "second_derivatives",
    "stochastic_operator",
    "taylor_coefficients",
    "value_gradient_laplacian",
    "weighted_laplacian",
]
