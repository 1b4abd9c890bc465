"""Second derivatives of a loss in parameter space."""

from torch_ref.curvature._dense_hessian import dense_hessian as dense_hessian
from torch_ref.curvature._diagonal import diagonal as diagonal
from torch_ref.curvature._eigenpairs import eigenpairs as eigenpairs
from torch_ref.curvature._ekfac import ekfac as ekfac
from torch_ref.curvature._fisher_product import fisher_product as fisher_product
from torch_ref.curvature._gauss_newton import gauss_newton as gauss_newton
from torch_ref.curvature._ggn_product import ggn_product as ggn_product
from torch_ref.curvature._hvp import hvp as hvp
from torch_ref.curvature._influence import influence as influence
from torch_ref.curvature._jacobian_product import jacobian_product as jacobian_product
from torch_ref.curvature._kfac import kfac as kfac
from torch_ref.curvature._laplace import log_evidence as log_evidence
from torch_ref.curvature._laplace import predictive_covariance as predictive_covariance
from torch_ref.curvature._linearize import linearize as linearize
from torch_ref.curvature._log_determinant import log_determinant as log_determinant
from torch_ref.curvature._nystrom import nystrom as nystrom
from torch_ref.curvature._over_batches import over_batches as over_batches
from torch_ref.curvature._over_dataset import over_dataset as over_dataset
from torch_ref.curvature._row_space_solve import row_space_solve as row_space_solve
from torch_ref.curvature._solve import solve as solve
from torch_ref.curvature._spectral_density import spectral_density as spectral_density
from torch_ref.curvature._trace import trace as trace
from torch_ref.curvature._weighted_loss import weighted_loss as weighted_loss

__all__ = [
    "dense_hessian",
    "diagonal",
    "eigenpairs",
    "ekfac",
    "fisher_product",
    "gauss_newton",
    "ggn_product",
    "hvp",
    "influence",
    "jacobian_product",
    "kfac",
    "linearize",
    "log_determinant",
    "log_evidence",
    "nystrom",
    "over_batches",
    "over_dataset",
    "predictive_covariance",
    "row_space_solve",
    "solve",
    "spectral_density",
    "trace",
    "weighted_loss",
]
