"""Second derivatives of a loss in parameter space."""

from jaxgrad.curvature._dense_hessian import dense_hessian as dense_hessian
from jaxgrad.curvature._hvp import hvp as hvp

__all__ = ["dense_hessian", "hvp"]
