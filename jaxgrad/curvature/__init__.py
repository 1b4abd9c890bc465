"""Second derivatives of a loss in parameter space."""

from jaxgrad.curvature._dense_hessian import dense_hessian as dense_hessian
from jaxgrad.curvature._ekfac import ekfac as ekfac
from jaxgrad.curvature._hvp import hvp as hvp
from jaxgrad.curvature._kfac import kfac as kfac
from jaxgrad.curvature._kronecker import KroneckerEigen as KroneckerEigen
from jaxgrad.curvature._kronecker import KroneckerFactors as KroneckerFactors
from jaxgrad.curvature._kronecker import KroneckerPair as KroneckerPair

__all__ = ["KroneckerEigen", "KroneckerFactors", "KroneckerPair", "dense_hessian", "ekfac", "hvp", "kfac"]
