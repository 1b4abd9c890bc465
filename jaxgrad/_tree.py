"""Arithmetic on pytrees, and the choice of the leaves that count."""

import fnmatch
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax

from jaxgrad import _sharding
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt

__all__ = [
    "Subset",
    "add",
    "dot",
    "held",
    "in_range",
    "leading",
    "leaf_paths",
    "norm",
    "norms_of_rows",
    "power_of_two",
    "restrict",
    "scale",
    "scaled_norm",
    "take",
    "widened",
]


def leaf_paths(tree: Tree) -> list[str]:
    """Return the path of every leaf, its keys joined by ``/``, in tree order."""
    return [jtu.keystr(path, simple=True, separator="/") for path, _ in jtu.tree_leaves_with_path(tree)]


def accumulator(*dtypes: Any) -> jnp.dtype:
    """Return the dtype in which sums over many entries are kept: the widest, float32 at the least."""
    return max((jnp.dtype(jnp.float32), *map(jnp.dtype, dtypes)), key=lambda dtype: dtype.itemsize)


def widened(tree: Tree) -> Tree:
    """Return a tree with its floating-point leaves of 16 bits in float32, and every other leaf as it is."""

    def wide(leaf: Any) -> Any:
        narrow = jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and jnp.result_type(leaf).itemsize < 4
        return leaf.astype(jnp.float32) if narrow else leaf

    return jax.tree.map(wide, tree)


def add(tree: Tree, other: Tree) -> Tree:
    """Add two trees of one structure, leaf by leaf."""
    return jax.tree.map(jnp.add, tree, other)


def scale(tree: Tree, factor: Any) -> Tree:
    """Multiply every leaf by a scalar and keep its dtype."""

    def scaled(leaf: Array) -> Array:
        kept = accumulator(leaf.dtype)
        return (leaf.astype(kept) * jnp.asarray(factor, kept)).astype(leaf.dtype)

    return jax.tree.map(scaled, tree)


def dot(tree: Tree, other: Tree) -> Array:
    """Return the inner product of two real trees, accumulated in float32 at the least."""

    def product(a: Array, b: Array) -> Array:
        kept = accumulator(a.dtype, b.dtype)
        return jnp.sum(a.astype(kept) * b.astype(kept))

    products = [product(a, b) for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)]
    kept = accumulator(*(p.dtype for p in products)) if products else jnp.float32
    return sum((p.astype(kept) for p in products), start=jnp.zeros((), kept))


def norm(tree: Tree) -> Array:
    """Return the global Euclidean norm; its derivative at zero is zero, not NaN."""
    return safe_sqrt(dot(tree, tree))


def safe_sqrt(square: Array) -> Array:
    """Return the square root, with the derivative 0 at 0 (the derivative of sqrt there is infinite); NaN stays NaN."""
    positive = ~(square <= 0)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, jnp.ones_like(square))), jnp.zeros_like(square))


def in_range(square: Array, least: Any = 1.0) -> Array:
    """Say where a sum of squares has not lost digits to overflow, nor to underflow of terms below ``least``."""
    limits = jnp.finfo(square.dtype)
    return (square > least * (limits.tiny / limits.eps)) & (square <= limits.max)


def power_of_two(size: Array) -> Array:
    """Return the power of two next to a magnitude, kept in range: dividing by it is exact. It has no derivative."""
    limits = jnp.finfo(size.dtype)
    # Python numbers: half of a bfloat16 is a float32 with NumPy before 2.2
    kept = jnp.clip(lax.stop_gradient(size), float(limits.tiny), float(limits.max) / 2)
    return lax.reduce_precision(kept, exponent_bits=limits.nexp, mantissa_bits=0)


def scaled_norm(tree: Tree) -> Array:
    """Return the global norm, the entries scaled before they are squared: right whenever it is representable."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(tree)]))
    unit = power_of_two(largest)
    return unit * norm(jax.tree.map(lambda leaf: leaf / unit, tree))


def norms_of_rows(tree: Tree) -> Array:
    """Return the norm of each row of a tree whose leaves share their leading axis."""
    return jax.vmap(norm)(tree)


def leading(tree: Tree) -> int:
    """Return the length of the leading axis of a tree's leaves."""
    return jax.tree.leaves(tree)[0].shape[0]


def take(tree: Tree, index: Any) -> Tree:
    """Return one entry of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


class Subset(NamedTuple):
    """A function of parameters, seen as a function of the leaves that count."""

    fun: Callable[..., Any]
    """``fun(active, *data)``: the original function with the other leaves held; its value alone where it has an aux."""
    pair: Callable[..., tuple[Any, Any]]
    """``pair(active, *data)``: the value and the aux, which is ``None`` where the function has none."""
    active: Tree
    """The leaves that count; all of ``params`` where every leaf does."""
    pick: Callable[[Tree], Tree]
    """Takes the active part of a tree that mirrors ``params``."""
    embed: Callable[..., Tree]
    """``embed(active, fill)``: a tree like ``params``, with ``fill(leaf)``, by default zeros, on the other leaves."""


def restrict(
    fun: Callable[..., Any],
    params: Params,
    wrt: Wrt,
    data: tuple[Any, ...] = (),
    axis_name: AxisName = None,
    has_aux: bool = False,
) -> Subset:
    """Hold every leaf of ``params`` that ``wrt`` does not select.

    Inside of `jax.shard_map` the leaves that count are cast to vary as ``fun(params, *data)`` does, so that their
    derivatives are those of the device's own result; with ``axis_name`` the function is its mean over these devices.
    With ``has_aux`` it returns a pair, and what is second is neither differentiated nor averaged.

    Raises:
        ValueError: If a pattern, or the predicate, selects no leaf, or ``axis_name`` names no axis.
    """
    fun, params = _sharding.mean_of(fun, axis_name, has_aux), _sharding.replicated(params, axis_name)
    subset = held(fun, params, wrt, has_aux)
    return subset._replace(active=_sharding.own(subset.fun, subset.active, *data))


def held(fun: Callable[..., Any], params: Params, wrt: Wrt, has_aux: bool = False) -> Subset:
    """Hold every leaf of ``params`` that ``wrt`` does not select; with ``has_aux`` the function returns a pair."""
    if wrt is None:
        return Subset(*_value_and_pair(fun, has_aux), params, lambda tree: tree, lambda active, *_: active)
    leaves, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    chosen = selected(params, wrt)

    def pick(tree: Tree) -> list[Any]:
        return [leaf for leaf, keep in zip(structure.flatten_up_to(tree), chosen, strict=True) if keep]

    def merge(active: list[Any], others: list[Any]) -> Tree:
        source = iter(active)
        return structure.unflatten(
            [next(source) if keep else other for keep, other in zip(chosen, others, strict=True)]
        )

    def restricted(active: list[Any], *data: Any) -> Any:
        return fun(merge(active, leaves), *data)

    def embed(active: list[Any], fill: Callable[[Any], Any] = jnp.zeros_like) -> Tree:
        return merge(active, [None if keep else fill(leaf) for keep, leaf in zip(chosen, leaves, strict=True)])

    return Subset(*_value_and_pair(restricted, has_aux), pick(params), pick, embed)


def _value_and_pair(fun: Callable[..., Any], has_aux: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a function of one value, and the same with the aux beside it."""
    if has_aux:
        return lambda *args: fun(*args)[0], fun
    return fun, lambda *args: (fun(*args), None)


def selected(params: Params, wrt: Wrt, name: str = "wrt") -> list[bool]:
    """Say of every leaf, in tree order, whether ``wrt``, or an argument of another name, selects it.

    A pattern selects a leaf when it matches its path (``trunk/kernel``), with ``*`` for any text, or the path of a
    node above it (``trunk``).

    Raises:
        ValueError: If a pattern, or the predicate, selects no leaf.
        TypeError: If ``wrt`` is something else, such as a number.
    """
    paths = leaf_paths(params)
    if wrt is None:
        return [True] * len(paths)
    known = f"the leaves are {', '.join(paths)}"
    if callable(wrt):
        chosen = [bool(wrt(path, leaf)) for path, leaf in zip(paths, jax.tree.leaves(params), strict=True)]
        if not any(chosen):
            message = f"{name} selects no leaf of params; {known}"
            raise ValueError(message)
        return chosen
    patterns = [wrt] if isinstance(wrt, str) else wrt
    if not isinstance(patterns, Collection) or not all(isinstance(pattern, str) for pattern in patterns):
        message = (
            f"{name}={wrt!r} must be patterns on the paths of params, such as 'head' or ['*/kernel', 'out/bias'], a"
            f" predicate {name}(path, leaf), or None; {known}"
        )
        raise TypeError(message)
    patterns = list(patterns)
    hits = {p: [fnmatch.fnmatchcase(s, p) or fnmatch.fnmatchcase(s, f"{p}/*") for s in paths] for p in patterns}
    idle = [pattern for pattern, hit in hits.items() if not any(hit)]
    if idle or not patterns:
        message = f"{name}={wrt!r} selects no leaf of params with {idle or 'an empty list'}; {known}"
        raise ValueError(message)
    return [any(column) for column in zip(*hits.values(), strict=True)]
