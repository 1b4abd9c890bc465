"""Second derivatives of a loss in parameter space."""

from torch_ref.curvature._dense_hessian import dense_hessian as dense_hessian
from torch_ref.curvature._ekfac import ekfac as ekfac
from torch_ref.curvature._hvp import hvp as hvp
from torch_ref.curvature._kfac import kfac as kfac

__all__ = ["dense_hessian", "ekfac", "hvp", "kfac"]
