"""Second derivatives of a loss in parameter space."""

from jaxgrad.curvature._dense_hessian import dense_hessian as dense_hessian
from jaxgrad.curvature._diagonal import Diagonal as Diagonal
from jaxgrad.curvature._diagonal import diagonal as diagonal
from jaxgrad.curvature._eigenpairs import Eigenpairs as Eigenpairs
from jaxgrad.curvature._eigenpairs import eigenpairs as eigenpairs
from jaxgrad.curvature._ekfac import ekfac as ekfac
from jaxgrad.curvature._hvp import hvp as hvp
from jaxgrad.curvature._kfac import kfac as kfac
from jaxgrad.curvature._kronecker import KroneckerEigen as KroneckerEigen
from jaxgrad.curvature._kronecker import KroneckerFactors as KroneckerFactors
from jaxgrad.curvature._kronecker import KroneckerPair as KroneckerPair
from jaxgrad.curvature._log_determinant import LogDeterminant as LogDeterminant
from jaxgrad.curvature._log_determinant import log_determinant as log_determinant
from jaxgrad.curvature._nystrom import Nystrom as Nystrom
from jaxgrad.curvature._nystrom import nystrom as nystrom
from jaxgrad.curvature._operator import LinearOperator as LinearOperator
from jaxgrad.curvature._operator import operator as operator
from jaxgrad.curvature._row_space_solve import RowSpaceSolution as RowSpaceSolution
from jaxgrad.curvature._row_space_solve import row_space_solve as row_space_solve
from jaxgrad.curvature._solve import Solution as Solution
from jaxgrad.curvature._solve import solve as solve
from jaxgrad.curvature._spectral_density import SpectralDensity as SpectralDensity
from jaxgrad.curvature._spectral_density import spectral_density as spectral_density
from jaxgrad.curvature._trace import Trace as Trace
from jaxgrad.curvature._trace import trace as trace

__all__ = [
    "Diagonal",
    "Eigenpairs",
    "KroneckerEigen",
    "KroneckerFactors",
    "KroneckerPair",
    "LinearOperator",
    "LogDeterminant",
    "Nystrom",
    "RowSpaceSolution",
    "Solution",
    "SpectralDensity",
    "Trace",
    "dense_hessian",
    "diagonal",
    "eigenpairs",
    "ekfac",
    "hvp",
    "kfac",
    "log_determinant",
    "nystrom",
    "operator",
    "row_space_solve",
    "solve",
    "spectral_density",
    "trace",
]
