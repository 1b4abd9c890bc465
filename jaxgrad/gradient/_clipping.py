"""The norm of a tree, and trees cut down to a largest value or a largest norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, T, Tree

__all__ = ["clip_by_global_norm", "clip_by_value", "global_norm"]

EPSILON = 1e-6
"""What torch adds to the norm before it divides by it."""


@jit()
def global_norm(tree: Tree) -> Array:
    r"""Compute the Euclidean norm of all numbers of a tree.

    .. math:: \lVert t \rVert_2 = \Big(\sum_{\text{leaves}} \sum_i t_i^2\Big)^{1/2}

    It is the norm of the concatenated leaves, and the norm of the norms of the leaves. Where the sum of squares would
    overflow or underflow, the numbers are scaled first, so that the result is right whenever it is representable. The
    derivative at a zero tree is taken to be zero (a raw norm gives NaN there). An infinite entry gives infinity, a NaN
    gives NaN.

    Args:
        tree: Pytree of floating-point arrays.

    Returns:
        The norm, of shape ``()``, in the widest dtype of the tree, float32 at the least.

    Raises:
        ValueError: If the tree has no leaf.
        TypeError: If a leaf is no real floating-point array.

    Cost:
        One pass over the tree; three where the sum of squares leaves its range, or under ``vmap``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.gradient.global_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}).item()
        5.0
        >>> jaxgrad.gradient.global_norm(jnp.array([3e30, 4e30], jnp.float32)).item() < 6e30
        True

    References:
        Blue (1978), A portable Fortran program to find the Euclidean norm of a vector, ACM TOMS 4.
    """
    _check.floating(tree=tree)
    kept = _tree.accumulator(*(leaf.dtype for leaf in jax.tree.leaves(tree)))
    return _norm([leaf.astype(kept) for leaf in jax.tree.leaves(tree)])


@jax.custom_jvp
def _norm(leaves: list[Array]) -> Array:
    """Return the norm: the root of the sum of squares, or of scaled squares where that sum leaves its range."""
    square = _tree.dot(leaves, leaves)
    return jax.lax.cond(_tree.in_range(square), lambda _: jnp.sqrt(square), _tree.scaled_norm, leaves)


@_norm.defjvp
def _norm_jvp(primals: tuple[list[Array]], tangents: tuple[list[Array]]) -> tuple[Array, Array]:
    """Return the norm and ``t . dt / norm``, zero where the norm is."""
    (leaves,), (moves,) = primals, tangents
    norm = _norm(leaves)
    zero = norm == 0
    size = jnp.where(zero, jnp.ones_like(norm), norm)
    direction = [jnp.where(zero, jnp.zeros_like(leaf), leaf / size) for leaf in leaves]
    return norm, _tree.dot(direction, moves)


@jit(non_negative=("limit",))
def clip_by_value(tree: T, limit: ArrayLike) -> T:
    r"""Limit every number of a tree to the interval from ``-limit`` to ``limit``.

    .. math:: t_i \mapsto \min(\max(t_i, -c),\ c)

    Infinite entries become the limit; NaN stays NaN. Differentiated at a bound itself, JAX halves the slope where
    torch keeps it.

    Args:
        tree: Pytree of floating-point arrays.
        limit: The largest magnitude ``c``, a number of shape ``()``, zero or more; may be traced.

    Returns:
        The tree, clipped, with its structure, shapes and dtypes.

    Raises:
        ValueError: If ``limit`` is a negative Python number or NaN, has axes, or the tree has no leaf.
        TypeError: If a leaf is no real floating-point array.

    Cost:
        One pass over the tree.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> jaxgrad.gradient.clip_by_value({"w": jnp.array([-3.0, 0.5, 2.0])}, 1.0)["w"].tolist()
        [-1.0, 0.5, 1.0]

    References:
        ``torch.nn.utils.clip_grad_value_``.
    """
    _check.floating(tree=tree)
    _check.number(limit, "limit")

    def clip(leaf: Array) -> Array:
        bound = jnp.asarray(limit, leaf.dtype)
        return jnp.clip(leaf, -bound, bound)

    return jax.tree.map(clip, tree)


@jit(non_negative=("max_norm",))
def clip_by_global_norm(tree: T, max_norm: ArrayLike) -> tuple[T, Array]:
    r"""Scale a tree down so that its norm is at most ``max_norm``, by torch's rule.

    .. math:: t \mapsto t \cdot \min\left(1, \frac{c}{\lVert t \rVert_2 + 10^{-6}}\right)

    At a norm of exactly ``max_norm`` the scale is thus a hair below 1. A zero tree stays zero and its derivative
    finite. Numbers whose squares overflow are still clipped to ``max_norm``, where torch returns zeros. An infinite
    entry makes the scale 0: it becomes NaN itself and all finite entries 0, as in torch; a NaN makes everything NaN.
    Look at the norm that is returned before you use such a tree. ``max_norm=inf`` leaves every tree without NaN as
    it is.

    Args:
        tree: Pytree of floating-point arrays, for example gradients.
        max_norm: The largest norm ``c``, a number of shape ``()``, zero or more; may be traced.

    Returns:
        The tree, clipped, with its structure, shapes and dtypes; and its norm before, of shape ``()``.

    Raises:
        ValueError: If ``max_norm`` is a negative Python number or NaN, has axes, or the tree has no leaf.
        TypeError: If a leaf is no real floating-point array.

    Cost:
        Two passes over the tree.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> clipped, norm = jaxgrad.gradient.clip_by_global_norm({"w": jnp.array([3.0, 4.0])}, 1.0)
        >>> norm.item(), [round(x, 5) for x in clipped["w"].tolist()]
        (5.0, [0.6, 0.8])

    References:
        Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks, ICML, algorithm 1;
        the constant is that of ``torch.nn.utils.clip_grad_norm_``.
    """
    _check.number(max_norm, "max_norm")
    norm = global_norm(tree)
    limit, padded = jnp.asarray(max_norm, norm.dtype), norm + EPSILON
    # both branches of the choice stay finite, so that its derivative does; NaN goes to the branch that divides
    inside = padded <= limit
    factor = jnp.where(inside, jnp.ones_like(norm), limit / jnp.where(inside, jnp.ones_like(norm), padded))
    return _tree.scale(tree, factor), norm
