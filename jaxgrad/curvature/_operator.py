"""A matrix that is known by its products, as an object: sums, multiples, SciPy and lineax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxgrad import _check, _leaves, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Params, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._symmetric import ProductFn, times

if TYPE_CHECKING:
    import lineax
    import scipy.sparse.linalg  # type: ignore[import-untyped]

__all__ = ["LinearOperator", "operator"]


class _Term(NamedTuple):
    """A number times a matrix."""

    factor: Any
    product: ProductFn
    params: Params
    data: tuple[Any, ...]


class LinearOperator:
    """A symmetric matrix, as the sum of multiples of products and of the identity. Nothing of it is formed.

    ``@`` takes a tree like ``params``, a flat vector ``(P,)`` or a matrix ``(P, K)``, whose rows are the numbers of
    the leaves in tree order, as `jax.flatten_util.ravel_pytree` has them, and returns the like.
    """

    # so that a number of NumPy on the left leaves the multiplication to this class
    __array_ufunc__ = None

    def __init__(self, terms: tuple[_Term, ...], shift: Any, like: Tree) -> None:
        """Take the terms, the multiple of the identity, and a tree whose shapes and dtypes vectors have."""
        self._terms, self._shift, self._like = terms, shift, like

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return (_stacks.size(self._like),) * 2

    @property
    def dtype(self) -> np.dtype:
        """The dtype of flat vectors: that to which the leaves of ``params`` promote."""
        with jax.numpy_dtype_promotion("standard"):
            return jnp.result_type(*jax.tree.leaves(self._like))

    @property
    def T(self) -> LinearOperator:  # noqa: N802 - as NumPy has it
        """The transpose: the matrix itself."""
        return self

    @property
    def identity(self) -> LinearOperator:
        """The identity of this size: ``A + damping * A.identity`` is A, damped."""
        return LinearOperator((), 1.0, self._like)

    def __matmul__(self, vector: Any) -> Any:
        """Multiply a tree, a flat vector, or the columns of a matrix."""
        if isinstance(vector, LinearOperator):
            message = "the product of two operators is not symmetric: write A @ (B @ vector)"
            raise TypeError(message)
        whole, dimension = self.shape[0], getattr(vector, "ndim", 0)
        if dimension == 1 and jnp.shape(vector) == (whole,):
            return self._times_flat(jnp.asarray(vector))
        if dimension == 2 and jnp.shape(vector) != getattr(self._like, "shape", ()) and len(vector) == whole:
            return jax.vmap(self._times_flat, in_axes=1, out_axes=1)(jnp.asarray(vector))
        if hasattr(vector, "shape") and not hasattr(self._like, "shape"):
            message = (
                f"vector must be a tree like params, or an array of shape ({whole},) or ({whole}, K);"
                f" got {_check.describe(vector)}"
            )
            raise ValueError(message)
        _check.mirrors(params=self._like, vector=vector)
        total = _stacks.scaled(vector, self._shift)
        for term in self._terms:
            total = _stacks.axpy(term.factor, _times(term.product, term.params, vector, *term.data), total)
        return total

    def _times_flat(self, vector: Array) -> Array:
        """Multiply a flat vector, in its own dtype."""
        parts, leaves, start = [], jax.tree.leaves(self._like), 0
        for leaf in leaves:
            count = math.prod(leaf.shape)
            parts.append(vector[start : start + count].reshape(leaf.shape).astype(leaf.dtype))
            start += count
        product = self @ jax.tree.unflatten(jax.tree.structure(self._like), parts)
        with jax.numpy_dtype_promotion("standard"):
            return ravel_pytree(product)[0].astype(vector.dtype)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Add a matrix of this size."""
        if not isinstance(other, LinearOperator):
            return NotImplemented
        _check.mirrors(params=self._like, **{"params of the other operator": other._like})
        return LinearOperator(self._terms + other._terms, self._shift + other._shift, self._like)

    def __mul__(self, factor: Any) -> LinearOperator:
        """Multiply by a number."""
        _check.number(factor, "the factor of an operator")
        terms = tuple(term._replace(factor=term.factor * factor) for term in self._terms)
        return LinearOperator(terms, self._shift * factor, self._like)

    __rmul__ = __mul__

    def __neg__(self) -> LinearOperator:
        """Return the negative."""
        return self * -1.0

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        """Subtract a matrix of this size."""
        return self + -other if isinstance(other, LinearOperator) else NotImplemented

    def to_scipy(self) -> scipy.sparse.linalg.LinearOperator:
        """Return the operator for SciPy, on NumPy vectors of this operator's dtype: for ``eigsh``, ``minres``, ..."""
        from scipy.sparse.linalg import LinearOperator as OfScipy

        def times(vectors: Any) -> np.ndarray:
            given = np.asarray(vectors, self.dtype)
            column = given.ndim == 2 and given.shape[1] == 1
            result = np.asarray(self @ (given[:, 0] if column else given))
            return result[:, None] if column else result

        return OfScipy(self.shape, matvec=times, rmatvec=times, matmat=times, rmatmat=times, dtype=self.dtype)

    def to_lineax(self, *, positive_semidefinite: bool = False) -> lineax.FunctionLinearOperator:
        """Return the operator for lineax, on trees, with the tag that its conjugate gradients ask for if you say so."""
        import lineax

        tag = lineax.positive_semidefinite_tag if positive_semidefinite else lineax.symmetric_tag
        structure = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._like)
        return lineax.FunctionLinearOperator(self.__matmul__, structure, frozenset({tag, lineax.symmetric_tag}))

    def __repr__(self) -> str:
        """Return what it is in one line."""
        return f"LinearOperator(shape={self.shape}, dtype={self.dtype})"


@jit("product", name="operator")
def _times(product: ProductFn, params: Params, vector: Tree, *data: Any) -> Tree:
    """Multiply one vector, compiled once for each product."""
    return _stacks.with_dtypes(times(product, params, data)(_tree.widened(vector)), params)


def operator(product: ProductFn, params: Params, *data: Any) -> LinearOperator:
    r"""Return a symmetric matrix as an object that multiplies, adds up, and goes to SciPy and lineax.

    .. math:: (\alpha A + \beta B + \delta I)\, v

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.

    Returns:
        A `LinearOperator` of shape ``(P, P)``: ``A @ v`` for a tree, a flat vector or a matrix of columns, ``A.T``,
        ``A + B``, ``A - B``, ``2 * A``, ``A + damping * A.identity``, ``A.to_scipy()``, ``A.to_lineax()``.

    Raises:
        TypeError: If ``product`` is no function, or a leaf of ``params`` is no real floating-point array.
        ValueError: When it multiplies, if the vector does not mirror ``params``, nor has ``P`` rows.

    Cost:
        One product for each term and column; a matrix of K columns takes the memory of K products.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(params):
        ...     return params["a"] ** 2 * params["b"]
        >>> params = {"a": jnp.array(3.0), "b": jnp.array(5.0)}
        >>> hessian = curvature.operator(functools.partial(curvature.hvp, loss), params)
        >>> damped = hessian + 2.0 * hessian.identity
        >>> damped.shape, (damped @ jnp.array([1.0, 0.0])).tolist(), (damped @ params)["b"].item()
        ((2, 2), [12.0, 6.0], 28.0)

    References:
        Paige and Saunders (1982), LSQR (a matrix as its products), ACM TOMS 8;
        Dangel et al. (2025), curvlinops, arXiv:2501.19183.
    """
    _static.refuse_no_function(product, "operator: product", {"params": params})
    _leaves.explain("operator", {"params": params, **{f"data[{i}]": tree for i, tree in enumerate(data)}})
    _check.floating(params=params)
    params = jax.tree.map(jnp.asarray, params)
    return LinearOperator((_Term(1.0, product, params, data),), 0.0, params)
