"""Inner products of the gradients of several losses."""

from __future__ import annotations

from typing import Any, Literal, overload

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.multi_loss._heads import warn_of_unreached
from jaxgrad.multi_loss._inner_products import inner_products
from jaxgrad.multi_loss._linearize import start_at
from jaxgrad.multi_loss._losses import L
from jaxgrad.multi_loss._rows import blocks, checked_chunk

__all__ = ["gram"]


@overload
def gram(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def gram(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit("losses_fn", "chunk", "has_aux", "wrt", "axis_name")
def gram(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    chunk: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return the inner products of the gradients of all pairs of losses, without keeping the gradients.

    .. math:: G_{k l} = \nabla_\theta L_k \cdot \nabla_\theta L_l

    What the rules of this family weigh losses by, and `conflicts` reads. Take it over the leaves that losses share
    (``wrt="trunk"``): a head adds to the diagonal alone.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        chunk: How many losses to pull back together, as in `gradients`. ``1`` takes the least memory.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A matrix of shape ``(K, K)``, in float32 at the least, in the order of the losses; for a dictionary in the order
        of its sorted keys. A loss whose gradient is not finite spoils its own row and column. A product is right
        wherever its dtype holds it, however small or large the entries that it is summed from. Beyond that it is
        infinite, and below it zero: in float32 the square of a norm above 1e19 or below 1e-19. `aggregated_gradient` is
        right for these too; for what reads the matrix multiply such losses by a constant. With ``has_aux``,
        ``(gram, aux)``: the aux of the one forward; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar, ``chunk`` is not positive, ``wrt`` selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If a loss is no real floating-point number, a leaf that counts is no real floating-point array, or
            ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        One forward, ``K`` backwards, and ``K^2`` multiplications and additions for each of ``params``. The rows of
        a leaf are freed once their products are there: the memory of ``K`` rows of the largest leaf, and of ``K``
        cotangents of the activations, in place of ``K`` trees like ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w):
        ...     return w.sum(), (w**2).sum()
        >>> jaxgrad.multi_loss.gram(losses, jnp.array([1.0, 3.0])).tolist()
        [[2.0, 8.0], [8.0, 40.0]]

    References:
        Sener and Koltun (2018), Multi-task learning as multi-objective optimization, NeurIPS;
        Quinton and Rey (2024), Jacobian descent for multi-objective optimization, arXiv:2406.16232, section 6.
    """
    chunk = checked_chunk(chunk)
    _, start = start_at(losses_fn, params, data, wrt, axis_name, has_aux)
    warn_of_unreached(start, params, wrt)
    found = inner_products(blocks(start, chunk), start.count).gram()
    return (found, start.aux) if has_aux else found
