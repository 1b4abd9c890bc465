"""One gradient for each of several losses, from one forward."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, Wrt
from jaxgrad.multi_loss._heads import Touches, shared_leaves, warn_of_unreached
from jaxgrad.multi_loss._linearize import Linearized, start_at
from jaxgrad.multi_loss._losses import L
from jaxgrad.multi_loss._rows import blocks, checked_chunk, filled
from jaxgrad.multi_loss._rows import rows as rows_of

__all__ = ["gradients", "losses_and_gradients"]


@overload
def gradients(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def gradients(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@jit("losses_fn", "chunk", "shared", "heads", "has_aux", "wrt", "axis_name")
def gradients(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate several losses that share a forward, each on its own.

    .. math:: g_k = \nabla_\theta L_k(\theta), \qquad k = 1, \dots, K

    The forward runs once. A loss that is returned as an item of a tuple, list or dictionary, or stacked from scalars
    (``jnp.stack([loss_a, loss_b])``), has a backward of its own: it does no work for the other losses, and a NaN
    stays in its row. An array that is computed as a whole is narrowed to one entry as far as its operations go entry
    by entry along the axis of the losses (sums, products of matrices, functions of an entry), which keeps a NaN in its
    row there too; beyond that, in loops and convolutions, a row is what ``jax.grad`` of that entry gives.

    With ``shared``, a leaf of the trunk gets a row for every loss, and any other leaf, a head, the gradient of its own
    loss without that axis.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses: an array of shape ``(K,)``, or a tuple, list or
            dictionary of scalars, of any dtypes. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        chunk: How many losses to pull back together: ``1`` for one after the other, ``K`` for all by one ``vmap``
            through what they share, after a part of their own each. ``None``: ``1`` on a CPU, where a product of ``K``
            stacked matrices was measured no faster than ``K`` products, and ``K`` on other devices (not measured
            there); all entries of an array that is computed as a whole.
        shared: Which leaves are the trunk, as ``wrt``; ``None``: every leaf gets ``K`` rows.
        heads: Which leaves are the head of each loss, to have them checked, where ``shared`` is given: one entry for
            each loss, in a tuple or list, or a dictionary with the keys of the losses; each is patterns, a predicate,
            or ``None`` or an empty list where a loss has no head. ``None``: what a loss alone depends on.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths (``"trunk"``), a predicate ``wrt(path, leaf)``, or
            ``None`` for all; the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A tree like ``params`` with a new leading axis of length ``K``: one gradient a row, in the order of the losses;
        for a dictionary in the order of its sorted keys. A row has the dtype of the parameters, whatever that of its
        loss, as with ``jax.grad``. Zeros where a loss does not depend on a leaf; where none depends on any, or on one
        of ``shared``, a warning says so. With ``shared`` the heads have no new axis. With ``has_aux``, ``(gradients,
        aux)``: the aux of the one forward, not differentiated; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar (named by its index or key), ``chunk`` is not positive,
            ``wrt`` or ``shared`` selects nothing, a leaf is named as shared and as a head, two losses depend on a head,
            or ``axis_name`` is no axis around.
        TypeError: If a loss is no real floating-point number, a leaf that counts is no real floating-point array, or
            ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward and ``K`` backwards: about ``(1 + 2 K) / 3`` gradients where all layers are shared, and ``K``
        numbers of memory for each of ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(params, x):
        ...     shared = params["trunk"] * x
        ...     return {"a": params["head_a"] * shared, "b": shared**2}
        >>> rows = jaxgrad.multi_loss.gradients(losses, {"trunk": jnp.array(2.0), "head_a": jnp.array(5.0)}, 3.0)
        >>> rows["trunk"].tolist(), rows["head_a"].tolist()
        ([15.0, 36.0], [6.0, 0.0])
        >>> params = {"trunk": jnp.array(2.0), "head_a": jnp.array(5.0)}
        >>> jaxgrad.multi_loss.gradients(losses, params, 3.0, shared="trunk")["head_a"].item()
        6.0
        >>> def losses_and_prediction(w, x):
        ...     return (w * x, (w * x) ** 2), w * x
        >>> jaxgrad.multi_loss.gradients(losses_and_prediction, jnp.array(2.0), 3.0, has_aux=True)[1].item()
        6.0

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.3 (vector reverse mode);
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS.
    """
    options: Any = {"chunk": chunk, "shared": shared, "heads": heads}
    options |= {"has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, rows = losses_and_gradients(losses_fn, params, *data, **options)
    return (rows, value[1]) if has_aux else rows


@overload
def losses_and_gradients(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[L, T]: ...
@overload
def losses_and_gradients(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[L, Aux], T]: ...
@jit("losses_fn", "chunk", "shared", "heads", "has_aux", "wrt", "axis_name")
def losses_and_gradients(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    shared: Wrt = None,
    heads: Touches = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Evaluate and differentiate several losses that share a forward.

    .. math:: (L_k, \nabla_\theta L_k), \qquad k = 1, \dots, K

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        chunk: How many losses to pull back together, as in `gradients`.
        shared: Which leaves are the trunk, as in `gradients`; the others get the gradient of their own loss.
        heads: Which leaves are the head of each loss, as in `gradients`.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        What ``losses_fn`` returned, and the gradients, as in `gradients`. With ``has_aux``, ``((losses, aux),
        gradients)``: the aux of the one forward, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar (named by its index or key), ``chunk`` is not positive,
            ``wrt`` or ``shared`` selects nothing, a leaf is named as shared and as a head, two losses depend on a head,
            or ``axis_name`` is no axis around.
        TypeError: If a loss is no real floating-point number, a leaf that counts is no real floating-point array, or
            ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward and ``K`` backwards.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return w.sum(), (w**2).sum()
        >>> values, rows = jaxgrad.multi_loss.losses_and_gradients(losses, jnp.array([1.0, 3.0]))
        >>> [value.item() for value in values], rows.tolist()
        ([4.0, 10.0], [[1.0, 1.0], [2.0, 6.0]])

    References:
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS.
    """
    chunk = checked_chunk(chunk)
    subset, start = start_at(losses_fn, params, data, wrt, axis_name, has_aux)
    marks = shared_leaves(start, params, wrt, shared, heads)
    warn_of_unreached(start, params, wrt, None if shared is None else marks)
    value = (start.losses, start.aux) if has_aux else start.losses
    if shared is None:
        rows = jax.tree.unflatten(jax.tree.structure(subset.active), rows_of(start, chunk))
        return value, jax.vmap(subset.embed)(rows)
    return value, _trunk_and_heads(start, params, wrt, shared, marks, chunk)


def _trunk_and_heads(
    start: Linearized, params: Params, wrt: Wrt, shared: Wrt, marks: list[bool], chunk: int | None
) -> Tree:
    """Return the rows of the trunk, and of every head the gradient of its own loss."""
    found = iter(
        filled(start, i, mine) if mark else mine[0].rows[0] if mine else start.untouched(0, i)
        for i, (mine, mark) in enumerate(zip(blocks(start, chunk), marks, strict=True))
    )
    leaves, treedef = jax.tree.flatten(params)
    structure: Any = treedef

    def still(leaf: Any, is_shared: bool) -> Array:
        return jnp.zeros((start.count, *jnp.shape(leaf)) if is_shared else jnp.shape(leaf), jnp.result_type(leaf))

    triples = zip(leaves, _tree.selected(params, wrt), _tree.selected(params, shared, "shared"), strict=True)
    return structure.unflatten([next(found) if counts else still(leaf, mark) for leaf, counts, mark in triples])
