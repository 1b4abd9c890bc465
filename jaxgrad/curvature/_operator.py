"""A matrix that is known by its products, as an object: sums, multiples, SciPy and lineax."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad import _check, _leaves, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Params, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._symmetric import ProductFn, over_floats, times

if TYPE_CHECKING:
    import lineax
    import scipy.sparse.linalg

__all__ = ["LinearOperator", "operator", "refuse_as_inverse"]


class _Term(NamedTuple):
    """A number times a matrix."""

    factor: Any
    product: ProductFn
    params: Params
    data: tuple[Any, ...]


class LinearOperator:
    """A symmetric matrix, as the sum of multiples of products and of the identity. Nothing of it is formed.

    ``@`` takes a tree like ``params``, a flat vector ``(P,)`` or a matrix ``(P, K)``, whose rows are the numbers of
    the leaves in tree order, as `jax.flatten_util.ravel_pytree` has them, and returns the like. Leaves that are no real
    floating-point arrays, such as integers that the product holds with ``wrt=``, have no rows. A flat vector keeps its
    floating-point dtype; integers and bools are taken in that of the operator.

    A pytree: it goes into compiled functions and out of them.
    """

    # so that a number of NumPy on the left leaves the multiplication to this class
    __array_ufunc__ = None

    def __init__(self, terms: tuple[_Term, ...], shift: Any, like: Tree) -> None:
        """Take the terms, the multiple of the identity, and a tree whose shapes and dtypes vectors have."""
        self._terms, self._shift, self._like = terms, shift, like

    @property
    def shape(self) -> tuple[int, int]:
        """``(P, P)``."""
        return (_stacks.size(self._floats.active),) * 2

    @property
    def dtype(self) -> np.dtype:
        """The dtype of flat vectors: that to which the leaves of ``params`` promote."""
        with jax.numpy_dtype_promotion("standard"):
            return jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(self._floats.active)))

    @property
    def _floats(self) -> _tree.Subset:
        """The leaves that have rows."""
        return over_floats(self._like)

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
            return self._times_flat(jnp.asarray(vector).T).T
        if hasattr(vector, "shape") and not hasattr(self._like, "shape"):
            message = (
                f"vector must be a tree like params, or an array of shape ({whole},) or ({whole}, K);"
                f" got {_check.describe(vector)}"
            )
            raise ValueError(message)
        _check.mirrors(params=self._like, vector=vector)
        floats = self._floats
        return floats.embed(self._times_tree(floats.pick(vector), stacked=False))

    def _times_tree(self, vector: Tree, *, stacked: bool) -> Tree:
        """Multiply the leaves that have rows of a tree, or of every tree of a stack."""
        total = _stacks.scaled(vector, self._shift)
        for term in self._terms:
            image = _times(term.product, term.params, vector, *term.data, stacked=stacked)
            total = _stacks.axpy(term.factor, image, total)
        return total

    def _times_flat(self, rows: Array) -> Array:
        """Multiply a flat vector, or every row of a matrix, in its own dtype; one without fractions in the operator's.

        Raises:
            TypeError: If it holds no numbers.
        """
        if jnp.issubdtype(rows.dtype, jnp.complexfloating):
            # the matrix is real
            return lax.complex(self._times_flat(rows.real), self._times_flat(rows.imag))
        if jnp.issubdtype(rows.dtype, jnp.integer) or rows.dtype == bool:
            return self._times_flat(rows.astype(self.dtype))
        if not jnp.issubdtype(rows.dtype, jnp.floating):
            message = f"vector must hold numbers; got {_check.describe(rows)}"
            raise TypeError(message)
        above, like = rows.shape[:-1], self._floats.active
        if above == (0,):
            return jnp.zeros_like(rows)
        ends = itertools.accumulate(leaf.size for leaf in jax.tree.leaves(like))
        parts = [
            rows[..., end - leaf.size : end].reshape(*above, *leaf.shape).astype(leaf.dtype)
            for leaf, end in zip(jax.tree.leaves(like), ends, strict=True)
        ]
        product = self._times_tree(jax.tree.unflatten(jax.tree.structure(like), parts), stacked=bool(above))
        flat = [leaf.reshape(*above, math.prod(leaf.shape[len(above) :])) for leaf in jax.tree.leaves(product)]
        return jnp.concatenate([leaf.astype(rows.dtype) for leaf in flat], axis=-1)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """Add a matrix of this size."""
        if not isinstance(other, LinearOperator):
            return NotImplemented
        _check.mirrors(params=self._like, **{"params of the other operator": other._like})
        return LinearOperator(self._terms + other._terms, self._shift + other._shift, self._like)

    def __radd__(self, other: Any) -> LinearOperator:
        """Add to zero, from which ``sum`` starts."""
        return self if type(other) is int and other == 0 else NotImplemented

    def __mul__(self, factor: Any) -> LinearOperator:
        """Multiply by a number."""
        _check.number(factor, "the factor of an operator")
        terms = tuple(term._replace(factor=term.factor * factor) for term in self._terms)
        return LinearOperator(terms, self._shift * factor, self._like)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> LinearOperator:
        """Divide by a number."""
        _check.number(divisor, "the divisor of an operator")
        return self * (1 / divisor)

    def __neg__(self) -> LinearOperator:
        """Return the negative."""
        return self * -1.0

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        """Subtract a matrix of this size."""
        return self + -other if isinstance(other, LinearOperator) else NotImplemented

    def to_scipy(self) -> scipy.sparse.linalg.LinearOperator:
        """Return the operator for SciPy: for ``eigsh``, ``minres``, ...

        Its vectors are NumPy's, of this operator's dtype, float32 at the least, which is the narrowest that SciPy
        takes; complex ones stay complex.
        """
        from scipy.sparse.linalg import LinearOperator as OfScipy

        kept = np.dtype(_tree.accumulator(self.dtype))

        def times(vectors: Any) -> np.ndarray:
            given = np.asarray(vectors)
            given = given if np.iscomplexobj(given) else given.astype(kept)
            column = given.ndim == 2 and given.shape[1] == 1
            result = np.asarray(self @ (given[:, 0] if column else given))
            return result[:, None] if column else result

        return OfScipy(self.shape, matvec=times, rmatvec=times, matmat=times, rmatmat=times, dtype=kept)

    def to_lineax(self, *, positive_semidefinite: bool = False) -> lineax.FunctionLinearOperator:
        """Return the operator for lineax, on trees, with the tag that its conjugate gradients ask for if you say so.

        In place of leaves without rows its trees have ``None``.
        """
        import lineax

        floats = self._floats

        def times(vector: Tree) -> Tree:
            return floats.embed(self._times_tree(floats.pick(vector), stacked=False), lambda _: None)

        tag = lineax.positive_semidefinite_tag if positive_semidefinite else lineax.symmetric_tag
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), floats.active)
        structure = floats.embed(shapes, lambda _: None)
        return lineax.FunctionLinearOperator(times, structure, frozenset({tag, lineax.symmetric_tag}))

    def __repr__(self) -> str:
        """Return what it is in one line."""
        return f"LinearOperator(shape={self.shape}, dtype={self.dtype})"


def _parts(matrix: LinearOperator) -> tuple[Any, Any]:
    """Return the arrays of an operator, and its products."""
    arrays = [(term.factor, term.params, term.data) for term in matrix._terms]
    return (arrays, matrix._shift, matrix._like), tuple(term.product for term in matrix._terms)


def _joined(products: tuple[ProductFn, ...], parts: Any) -> LinearOperator:
    """Return the operator of what `_parts` returned."""
    arrays, shift, like = parts
    terms = [_Term(factor, f, params, data) for f, (factor, params, data) in zip(products, arrays, strict=True)]
    return LinearOperator(tuple(terms), shift, like)


jax.tree_util.register_pytree_node(LinearOperator, _parts, _joined)


@jit("product", "stacked", name="operator")
def _times(product: ProductFn, params: Params, vector: Tree, *data: Any, stacked: bool) -> Tree:
    """Multiply the part with rows of one vector, or of a stack, compiled once for each product."""
    apply = times(product, params, data)
    image = (jax.vmap(apply) if stacked else apply)(_tree.widened(vector))
    return _stacks.with_dtypes(image, over_floats(params).active)


def refuse_as_inverse(given: Any, name: str) -> None:
    """Refuse an operator in the place of an inverse.

    Raises:
        TypeError: With what to write instead.
    """
    if isinstance(given, LinearOperator):
        message = (
            f"{name} stands for the inverse of a matrix, and a LinearOperator is the matrix: write a function of a"
            " tree, such as lambda tree: curvature.solve(product, params, tree, damping=...).solution; or, for an"
            " operator that is an inverse, lambda tree: operator @ tree"
        )
        raise TypeError(message)


def operator(product: ProductFn, params: Params, *data: Any) -> LinearOperator:
    r"""Return a symmetric matrix as an object that multiplies, adds up, and goes to SciPy and lineax.

    .. math:: (\alpha A + \beta B + \delta I)\, v

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of arrays, floating-point ones with ``P`` numbers in all; ``product`` must hold others.
        *data: Pytrees handed on to ``product``.

    Returns:
        A `LinearOperator` of shape ``(P, P)``: ``A @ v`` for a tree, a flat vector or a matrix of columns, ``A.T``,
        ``A + B``, ``A - B``, ``2 * A``, ``A / 2``, ``A + damping * A.identity``, ``A.to_scipy()``, ``A.to_lineax()``.

    Raises:
        TypeError: If ``product`` is no function, or no leaf of ``params`` is a real floating-point array; when it
            multiplies, if ``product`` refuses a leaf.
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
    over_floats(params)
    params = jax.tree.map(jnp.asarray, params)
    return LinearOperator((_Term(1.0, product, params, data),), 0.0, params)
