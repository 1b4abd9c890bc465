"""Random shifts of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, Params, T, Tree

__all__ = ["SAMPLERS", "draw_leaves", "random_shifts", "scales_of"]


def _uniform(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from the interval from -1 to 1."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


SAMPLERS: dict[str, Callable[..., Array]] = {"normal": jax.random.normal, "uniform": _uniform}
"""Draws of scale 1 by the name of their distribution."""


@jit("num_shifts", "distribution", non_negative=("scale",))
def random_shifts(
    params: T,
    *,
    key: Key,
    num_shifts: int,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
) -> T:
    r"""Draw independent random shifts for the leaves of a tree, for example for `expected_gradient`.

    .. math:: a_k \sim \mathcal N(0, \sigma^2 I) \quad\text{or}\quad a_k \sim \mathcal U(-\sigma, \sigma),
              \qquad k = 1, \dots, K

    Give only the leaves that are to be moved, ``{"kernel": params["kernel"]}``: a shift may leave the others out. The
    numbers of a leaf depend on the key, on the place of the leaf in the tree and on its shape and dtype; they are drawn
    and scaled in float32 or wider, then rounded.

    Args:
        params: Pytree of floating-point arrays; only shapes and dtypes count. More in ``help(jaxgrad)``.
        key: Random key.
        num_shifts: How many shifts, ``K``, a positive Python integer.
        distribution: ``"normal"`` or ``"uniform"``.
        scale: The standard deviation (normal) or the largest magnitude (uniform), a number or a traced scalar; or a
            tree like ``params`` with one for every entry.

    Returns:
        A tree with the structure and dtypes of ``params``, whose leaves have the shifts along a new leading axis of
        length ``K``.

    Raises:
        ValueError: If ``num_shifts`` is not positive, ``distribution`` is another word, ``scale`` is a negative
            Python number, NaN, or a tree that does not mirror ``params``.
        TypeError: If ``num_shifts`` is no Python integer, ``key`` no random key, or a leaf no real floating-point
            array.

    Cost:
        ``K`` random numbers for every entry of ``params``.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> params, key = {"w": jnp.ones((2, 3))}, jax.random.key(0)
        >>> shifts = jaxgrad.shift.random_shifts(params, key=key, num_shifts=5, scale=0.1)
        >>> shifts["w"].shape
        (5, 2, 3)

    References:
        An (1996), The effects of adding noise during backpropagation training on a generalization performance,
        Neural Computation 8.
    """
    _check.floating(params=params)
    num_shifts = _check.count(num_shifts, "num_shifts", least=1)
    _check.choice(distribution, "distribution", tuple(SAMPLERS))
    _check.key(key, "key")
    leaves, structure = jax.tree.flatten(params)
    draws = draw_leaves(SAMPLERS[distribution], key, leaves, num_shifts)
    scaled = [draw * jnp.asarray(s, draw.dtype) for draw, s in zip(draws, scales_of(params, scale), strict=True)]
    shifts = [shift.astype(leaf.dtype) for shift, leaf in zip(scaled, leaves, strict=True)]
    return jax.tree.unflatten(structure, shifts)


def draw_leaves(sampler: Callable[..., Array], key: Key, leaves: Sequence[Any], num_shifts: int) -> list[Array]:
    """Draw for every leaf from a key of its own; leaves of one shape share one generator, which compiles slowly.

    It draws them flat: the bits are the same, and over three axes XLA takes five times as long to compile it. In
    float32 at the least: drawn in bfloat16 a normal number has some hundred values, and no tail.
    """
    keys = jax.random.split(key, len(leaves))
    groups: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        groups.setdefault((leaf.shape, _tree.accumulator(leaf.dtype)), []).append(i)
    draws: dict[int, Array] = {}
    for (shape, dtype), members in groups.items():
        flat = (num_shifts * math.prod(shape),)
        rows = jax.vmap(lambda key, flat=flat, dtype=dtype: sampler(key, flat, dtype))(keys[jnp.asarray(members)])
        draws |= dict(zip(members, rows, strict=True))
    return [draws[i].reshape(num_shifts, *leaf.shape) for i, leaf in enumerate(leaves)]


def scales_of(params: Params, scale: Any) -> list[Any]:
    """Return the scale of every leaf, from one number or a tree of them."""
    if jtu.all_leaves([scale]) and jnp.shape(scale) == ():
        _check.number(scale, "scale")
        return [scale] * len(jax.tree.leaves(params))
    _check.mirrors(params=params, scale=scale)
    return [leaf[None] for leaf in jax.tree.leaves(scale)]
