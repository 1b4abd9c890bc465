"""The whole Hessian of a loss as one matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.curvature._engine._second import OF_A_MATRIX, check_mode, forward

__all__ = ["dense_hessian"]


@overload
def dense_hessian(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    max_bytes: int = 2**30,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    chunk: int | None = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def dense_hessian(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    max_bytes: int = 2**30,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    chunk: int | None = None,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit("loss_fn", "has_aux", "max_bytes", "mode", "wrt", "chunk", "axis_name")
def dense_hessian(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    max_bytes: int = 2**30,
    mode: Literal["forward-over-reverse", "reverse-over-reverse"] = "forward-over-reverse",
    wrt: Wrt = None,
    chunk: int | None = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Form the Hessian of a loss as one symmetric matrix. For small problems.

    .. math:: H_{ij} = \frac{\partial^2 L}{\partial\theta_i \, \partial\theta_j}

    with :math:`\theta` the leaves of ``params`` in tree order, each raveled in C order; ``gradient.hessian`` gives the
    blocks by name instead, for a function with any results. A custom rule that hides its derivative counts as in `hvp`.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        max_bytes: The largest matrix to form, in bytes.
        mode: ``"forward-over-reverse"`` or ``"reverse-over-reverse"``, as in `hvp`.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        chunk: How many rows are computed at once, all where it is ``None``. It need not divide ``P``.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The ``(P, P)`` matrix over the leaves that count. With ``has_aux``, ``(matrix, aux)``: the aux of the same pass,
        not differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the matrix would be larger than ``max_bytes``, the loss is no scalar, ``wrt`` selects
            nothing, ``chunk`` is below 1, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array, the gradient has no forward derivative, or
            ``chunk`` is no Python integer; or if ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``P`` Hessian-vector products in one vectorised program, ``P * P`` numbers of memory and ``P`` times the
        memory of a gradient, or ``chunk`` times with chunks.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params):
        ...     return params["a"] ** 2 * params["b"]
        >>> jaxgrad.curvature.dense_hessian(loss, {"a": jnp.array(3.0), "b": jnp.array(5.0)}).tolist()
        [[10.0, 6.0], [6.0, 0.0]]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 3.
    """
    check_mode(mode, OF_A_MATRIX)
    subset = _tree.restrict(_check.scalar_loss(loss_fn, has_aux=has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    _sharding.refuse_shared(subset.fun, subset.active, *data)
    flat, unravel = ravel_pytree(jax.tree.map(_sharding.gathered, subset.active))
    needed = flat.size**2 * flat.dtype.itemsize
    if needed > max_bytes:
        message = (
            f"the dense Hessian of {flat.size} parameters takes {needed:,} bytes, more than max_bytes={max_bytes:,};"
            " use curvature.hvp for products with it, or choose fewer leaves with wrt="
        )
        raise ValueError(message)
    gradient = jax.grad(lambda x: subset.pair(unravel(x), *data), has_aux=True)
    if mode == "forward-over-reverse":
        gradient = forward(gradient, flat)
    if chunk is None:
        transform = jax.jacfwd if mode == "forward-over-reverse" else jax.jacrev
        matrix, aux = transform(gradient, has_aux=True)(flat)
    else:
        # what products share is computed once, outside of the loop
        derivative, aux = (_pushforward if mode == "forward-over-reverse" else _pullback)(gradient, flat)
        eye = _sharding.vary(jnp.eye(flat.size, dtype=flat.dtype), _sharding.varying(flat))
        matrix = jax.lax.map(derivative, eye, batch_size=_check.count(chunk, "chunk", least=1))
    return (matrix, aux) if has_aux else matrix


def _pushforward(pair: Callable[[Array], Any], at: Array) -> tuple[Callable[[Array], Array], Any]:
    """Return the map from tangents of a vector to those of a vector function of it, and the function's aux."""
    _, pushforward, aux = jax.linearize(pair, at, has_aux=True)
    return pushforward, aux


def _pullback(pair: Callable[[Array], Any], at: Array) -> tuple[Callable[[Array], Array], Any]:
    """Return the map from cotangents of a vector function to those of its argument, and the function's aux."""
    _, pullback, aux = jax.vjp(pair, at, has_aux=True)
    return lambda cotangent: pullback(cotangent)[0], aux
