"""Second derivatives of a loss in parameter space: products with curvature matrices, over a batch and a data set."""

from jaxgrad.curvature._dense_hessian import dense_hessian as dense_hessian
from jaxgrad.curvature._diagonal import Diagonal as Diagonal
from jaxgrad.curvature._diagonal import diagonal as diagonal
from jaxgrad.curvature._eigenpairs import Eigenpairs as Eigenpairs
from jaxgrad.curvature._eigenpairs import eigenpairs as eigenpairs
from jaxgrad.curvature._ekfac import ekfac as ekfac
from jaxgrad.curvature._engine._product import Product as Product
from jaxgrad.curvature._fisher_product import fisher_product as fisher_product
from jaxgrad.curvature._gauss_newton import GaussNewtonState as GaussNewtonState
from jaxgrad.curvature._gauss_newton import gauss_newton as gauss_newton
from jaxgrad.curvature._ggn_product import ggn_product as ggn_product
from jaxgrad.curvature._hvp import hvp as hvp
from jaxgrad.curvature._influence import influence as influence
from jaxgrad.curvature._jacobian_product import jacobian_product as jacobian_product
from jaxgrad.curvature._kfac import kfac as kfac
from jaxgrad.curvature._kronecker import KroneckerEigen as KroneckerEigen
from jaxgrad.curvature._kronecker import KroneckerFactors as KroneckerFactors
from jaxgrad.curvature._kronecker import KroneckerPair as KroneckerPair
from jaxgrad.curvature._laplace import log_evidence as log_evidence
from jaxgrad.curvature._laplace import predictive_covariance as predictive_covariance
from jaxgrad.curvature._linearize import Linearized as Linearized
from jaxgrad.curvature._linearize import linearize as linearize
from jaxgrad.curvature._log_determinant import LogDeterminant as LogDeterminant
from jaxgrad.curvature._log_determinant import log_determinant as log_determinant
from jaxgrad.curvature._nystrom import Nystrom as Nystrom
from jaxgrad.curvature._nystrom import nystrom as nystrom
from jaxgrad.curvature._operator import LinearOperator as LinearOperator
from jaxgrad.curvature._operator import operator as operator
from jaxgrad.curvature._over_batches import over_batches as over_batches
from jaxgrad.curvature._over_dataset import over_dataset as over_dataset
from jaxgrad.curvature._row_space_solve import RowSpaceSolution as RowSpaceSolution
from jaxgrad.curvature._row_space_solve import row_space_solve as row_space_solve
from jaxgrad.curvature._solve import Solution as Solution
from jaxgrad.curvature._solve import solve as solve
from jaxgrad.curvature._spectral_density import SpectralDensity as SpectralDensity
from jaxgrad.curvature._spectral_density import spectral_density as spectral_density
from jaxgrad.curvature._stack_batches import stack_batches as stack_batches
from jaxgrad.curvature._trace import Trace as Trace
from jaxgrad.curvature._trace import trace as trace
from jaxgrad.curvature._weighted_loss import weighted_loss as weighted_loss

__all__ = [
    "Diagonal",
    "Eigenpairs",
    "GaussNewtonState",
    "KroneckerEigen",
    "KroneckerFactors",
    "KroneckerPair",
    "LinearOperator",
    "Linearized",
    "LogDeterminant",
    "Nystrom",
    "Product",
    "RowSpaceSolution",
    "Solution",
    "SpectralDensity",
    "Trace",
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
    "operator",
    "over_batches",
    "over_dataset",
    "predictive_covariance",
    "row_space_solve",
    "solve",
    "spectral_density",
    "stack_batches",
    "trace",
    "weighted_loss",
]
