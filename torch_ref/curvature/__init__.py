"""Second derivatives of a loss in parameter space."""

from torch_ref.curvature._dense_hessian import dense_hessian as dense_hessian
from torch_ref.curvature._ekfac import ekfac as ekfac
from torch_ref.curvature._fisher_product import fisher_product as fisher_product
from torch_ref.curvature._ggn_product import ggn_product as ggn_product
from torch_ref.curvature._hvp import hvp as hvp
from torch_ref.curvature._influence import influence as influence
from torch_ref.curvature._jacobian_product import jacobian_product as jacobian_product
from torch_ref.curvature._kfac import kfac as kfac
from torch_ref.curvature._linearize import linearize as linearize
from torch_ref.curvature._over_dataset import over_batches as over_batches
from torch_ref.curvature._over_dataset import over_dataset as over_dataset
from torch_ref.curvature._over_dataset import weighted_loss as weighted_loss

__all__ = [
    "dense_hessian",
    "ekfac",
    "fisher_product",
    "ggn_product",
    "hvp",
    "influence",
    "jacobian_product",
    "kfac",
    "linearize",
    "over_batches",
    "over_dataset",
    "weighted_loss",
]
