"""A low-rank approximation of a matrix that is known by its products, which is cheap to invert."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._probes import mapped, probes_of
from jaxgrad.curvature._engine._symmetric import ProductFn, over_floats, times

__all__ = ["Nystrom", "nystrom"]


class Nystrom(NamedTuple, Generic[T]):
    """The matrix ``U diag(values) U^T``, of low rank: a preconditioner for `solve`."""

    vectors: T
    """U, a tree like ``params`` with a new leading axis of length ``rank``: orthonormal, or zeros beyond the rank."""
    values: Array
    """The eigenvalues, of shape ``(rank,)``, the largest first, none negative."""
    indefinite: Array
    """Whether the directions met negative curvature, which is dropped: what is approximated is then another matrix."""

    def product(self, vector: T) -> T:
        """Multiply a vector."""
        return self._with(vector, self.values, 0.0)

    def inverse_product(self, vector: T, damping: ArrayLike) -> T:
        """Multiply a vector by the inverse of the matrix plus ``damping``, which must be positive."""
        damping = jnp.asarray(damping, self.values.dtype)
        return self._with(vector, 1 / (self.values + damping) - 1 / damping, 1 / damping)

    def log_determinant(self, damping: ArrayLike) -> Array:
        """Return the log-determinant of the matrix plus ``damping``, which must be positive."""
        damping = jnp.asarray(damping, self.values.dtype)
        size = _stacks.size(over_floats(self.vectors).active) // self.values.size
        return jnp.sum(jnp.log1p(self.values / damping)) + size * jnp.log(damping)

    def _with(self, vector: T, inside: Array, everywhere: Any) -> T:
        """Return ``U diag(inside) U^T v + everywhere * v``."""
        _check.mirrors(**{"one of vectors": jax.tree.map(lambda leaf: leaf[0], self.vectors), "vector": vector})
        floats = over_floats(vector)
        wide, stack = _tree.widened(floats.active), _tree.widened(floats.pick(self.vectors))
        found = _stacks.axpy(everywhere, wide, _stacks.combine(inside * _stacks.inner(stack, wide), stack))
        return floats.embed(_stacks.with_dtypes(found, floats.active))


@jit("product", "rank", "chunk")
def nystrom(
    product: ProductFn,
    params: T,
    *data: Any,
    rank: int = 16,
    key: Key | None = None,
    probes: T | None = None,
    chunk: int | None = None,
) -> Nystrom[T]:
    r"""Approximate a positive semi-definite matrix by its products with a few random directions.

    .. math:: \hat A = (A \Omega)\, (\Omega^\top A \Omega)^{+}\, (A \Omega)^\top = U \Lambda U^\top

    It is the best approximation that these products allow, never larger than A, and as good as its leading
    eigenvectors where the eigenvalues decay. As ``preconditioner=`` of `solve` it takes the largest eigenvalues out of
    the way. Of a matrix with negative eigenvalues the sketch drops what is negative, and ``indefinite`` says so.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        rank: How many directions to draw, at most ``P``.
        key: The random key that draws them.
        probes: The directions, a tree like ``params`` with a new leading axis, in place of random ones.
        chunk: How many products are made at once, all where it is ``None``.

    Returns:
        A `Nystrom`, with ``vectors``, ``values`` and ``indefinite``, and the methods ``product(vector)``,
        ``inverse_product(vector, damping)`` and ``log_determinant(damping)``.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, ``rank`` is out of range, or a tree does not
            mirror ``params``.
        TypeError: If no leaf of ``params`` is a real floating-point array.

    Cost:
        ``rank`` products, ``18 * rank**2 * P`` operations beside them, and the memory of three times ``rank`` trees
        like ``params``.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([9.0, 5.0, 0.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> low = curvature.nystrom(hessian, jnp.ones(3), rank=2, key=jax.random.key(0))
        >>> [round(value, 3) for value in low.values.tolist()]
        [9.0, 5.0]
        >>> [round(x, 3) for x in low.inverse_product(jnp.ones(3), 1.0).tolist()]
        [0.1, 0.167, 1.0]

    References:
        Frangella, Tropp and Udell (2023), Randomized Nystrom preconditioning, SIMAX 44, arXiv:2110.02820.
    """
    apply, floats = times(product, params, data), over_floats(params)
    size = _stacks.size(floats.active)
    if probes is None:
        _check.count(rank, "rank", least=1, most=size)
    drawn = probes_of(params, _stacks.normal, key, rank, probes, chunk, 1)
    omega = _stacks.orthonormal(drawn.all())
    image = mapped(apply, omega, chunk)
    # A is shifted by its rounding, and the eigenvalues back: what is below is noise
    eps = float(jnp.finfo(_stacks.gram(omega, omega).dtype).eps)
    shift = eps * jnp.sqrt(jnp.sum(jnp.diagonal(_stacks.gram(image, image))))
    image = _stacks.axpy(shift, omega, image)
    inside = _stacks.gram(omega, image)
    found, rotation = jnp.linalg.eigh((inside + inside.T) / 2)
    half = _root_of_inverse(found, eps)
    # B with B B^T the approximation
    image = _stacks.combine(rotation.T * half[:, None], image)
    squares, turn = jnp.linalg.eigh(_stacks.gram(image, image))
    vectors = _stacks.combine(turn.T[::-1] * _root_of_inverse(squares, eps)[::-1, None], image)
    values = jnp.maximum(squares[::-1] - shift, 0)
    indefinite = found[0] < -10 * found.size * eps * jnp.max(jnp.abs(found))
    stack = floats.embed(_laid_out(vectors, floats.active), _stacks.still(values.size))
    return Nystrom(stack, values, indefinite)


def _root_of_inverse(values: Array, eps: float) -> Array:
    """Return one over the roots of eigenvalues, and zero for those that are rounding."""
    there = values > values.size * eps * jnp.max(jnp.abs(values))
    return jnp.where(there, 1 / jnp.sqrt(jnp.where(there, values, 1)), 0)


def _laid_out(stack: Tree, params: T) -> T:
    """Return a stack in the dtypes of the parameters, laid out as they are."""
    narrow = _stacks.with_dtypes(stack, params)
    return jax.vmap(lambda tree: jax.tree.map(_sharding.like, tree, params))(narrow)
