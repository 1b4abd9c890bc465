"""Second derivatives of a loss in parameter space."""

from torch_ref.curvature._dense_hessian import dense_hessian as dense_hessian
from torch_ref.curvature._hvp import hvp as hvp

__all__ = ["dense_hessian", "hvp"]
