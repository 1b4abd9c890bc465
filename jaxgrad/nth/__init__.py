"""Derivatives of any order.

A result belongs to one point: inside of `jax.shard_map` it is that of the device's own, and there is no ``axis_name``.
"""

from typing import TYPE_CHECKING

from jaxgrad._deprecated import old_names as _old_names
from jaxgrad.nth._biharmonic import biharmonic as biharmonic
from jaxgrad.nth._derivatives import derivative as derivative
from jaxgrad.nth._derivatives import derivatives as derivatives
from jaxgrad.nth._directional import directional as directional
from jaxgrad.nth._directional import taylor_coefficients as taylor_coefficients
from jaxgrad.nth._divergence import divergence as divergence
from jaxgrad.nth._engine import register_rule as register_rule
from jaxgrad.nth._jet import jet as jet
from jaxgrad.nth._laplacian import laplacian as laplacian
from jaxgrad.nth._laplacian import second_derivatives as second_derivatives
from jaxgrad.nth._laplacian import value_gradient_laplacian as value_gradient_laplacian
from jaxgrad.nth._laplacian import weighted_laplacian as weighted_laplacian
from jaxgrad.nth._mixed import all_mixed as all_mixed
from jaxgrad.nth._mixed import mixed_partial as mixed_partial
from jaxgrad.nth._ode_series import ode_series as ode_series
from jaxgrad.nth._stochastic_operator import stochastic_operator as stochastic_operator

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
    "register_rule",
    "second_derivatives",
    "stochastic_operator",
    "taylor_coefficients",
    "value_gradient_laplacian",
    "weighted_laplacian",
]

if TYPE_CHECKING:
    estimate_operator = stochastic_operator
else:
    __getattr__ = _old_names(__name__)
