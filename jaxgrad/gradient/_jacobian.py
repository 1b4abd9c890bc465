"""First and second derivatives of functions whose result is no scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Params, T, Tree, Ts, Wrt

__all__ = ["hessian", "jacobian"]


@overload
def jacobian(
    fun: Function[T, *Ts, Tree],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mode: Literal["forward", "reverse"] = "reverse",
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Tree: ...
@overload
def jacobian(
    fun: Function[T, *Ts, tuple[Tree, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    mode: Literal["forward", "reverse"] = "reverse",
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Tree, Aux]: ...
@jit("fun", "has_aux", "mode", "max_bytes", "wrt", "axis_name")
def jacobian(
    fun: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    mode: Literal["forward", "reverse"] = "reverse",
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate every number of a function's result with respect to every parameter.

    .. math:: J_{oi} = \frac{\partial f_o}{\partial \theta_i}(\theta)

    Args:
        fun: ``fun(params, *data)`` returns any pytree of floating-point arrays. Static: pass a named function, and
            arrays through ``data``. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        mode: ``"reverse"``, one backward pass for each number of the result, for few results; or ``"forward"``, one
            forward pass for each parameter, for few parameters.
        max_bytes: The largest result to form, in bytes.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. No mean is taken of results that belong to single examples: leave
            it out for those.

    Returns:
        The tree of the result, with a tree like ``params`` in the place of each array; its leaves have the shape
        ``out.shape + leaf.shape``, and are zero for the parameters that do not count. With ``has_aux``, ``(jacobian,
        aux)``: the aux of the same pass, not differentiated; inside of `jax.shard_map` it is the device's own, with
        ``axis_name`` too.

    Raises:
        ValueError: If the result would be larger than ``max_bytes``, the mode is unknown, ``wrt`` selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If a leaf that counts, or a result of ``fun``, is no real floating-point array; or if, with
            ``has_aux``, ``fun`` returns no pair.

    Cost:
        Reverse: one evaluation, and two for each number of the result. Forward: two for each parameter. Both in one
        vectorised program, which takes as many times the memory of one pass.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def fun(params):
        ...     return jnp.stack([params["a"] * params["b"], params["a"] ** 2])
        >>> rows = jaxgrad.gradient.jacobian(fun, {"a": jnp.array(2.0), "b": jnp.array(5.0)})
        >>> rows["a"].tolist(), rows["b"].tolist()
        ([5.0, 4.0], [2.0, 0.0])

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., sections 3.1 and 3.2.
    """
    subset = _tree.restrict(_with_floats(fun, has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    direction = _direction(mode, lambda active: subset.fun(active, *data), subset.active)
    rows, aux = _embedded(subset, direction, max_bytes)(subset.active, *data)
    return (rows, aux) if has_aux else rows


@overload
def hessian(
    fun: Function[T, *Ts, Tree],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Tree: ...
@overload
def hessian(
    fun: Function[T, *Ts, tuple[Tree, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Tree, Aux]: ...
@jit("fun", "has_aux", "max_bytes", "wrt", "axis_name")
def hessian(
    fun: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    max_bytes: int = 2**30,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Differentiate every number of a function's result twice with respect to the parameters.

    .. math:: H_{oij} = \frac{\partial^2 f_o}{\partial \theta_i \, \partial \theta_j}(\theta)

    The result is a tree of blocks, by the names of the leaves, as from ``jax.hessian``; ``curvature.dense_hessian`` is
    the Hessian of one loss as one matrix, ready for a solver, and ``curvature.hvp`` a product with it.

    Args:
        fun: ``fun(params, *data)`` returns any pytree of floating-point arrays. Static: pass a named function, and
            arrays through ``data``. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        max_bytes: The largest result to form, in bytes.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. No mean is taken of results that belong to single examples: leave
            it out for those.

    Returns:
        The tree of the result, with a tree like ``params`` of trees like ``params`` in the place of each array; the
        arrays have the shape ``out.shape + leaf.shape + other.shape``, and are zero where a leaf does not count. With
        ``has_aux``, ``(hessian, aux)``: the aux of the same pass, not differentiated; inside of `jax.shard_map` it is
        the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the result would be larger than ``max_bytes``, ``wrt`` selects nothing, or ``axis_name`` is no
            axis around.
        TypeError: If a leaf that counts, or a result of ``fun``, is no real floating-point array; or if, with
            ``has_aux``, ``fun`` returns no pair.

    Cost:
        For ``P`` parameters and ``M`` results: ``P`` forward passes over a program of ``M`` backward passes, each about
        1.9 gradients for one result and 1.2 more for every further one.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def fun(params):
        ...     return jnp.stack([params[0] * params[1], params[0] ** 2])
        >>> jaxgrad.gradient.hessian(fun, jnp.array([2.0, 5.0])).tolist()
        [[[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., chapter 5.
    """
    subset = _tree.restrict(_with_floats(fun, has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    _sharding.refuse_shared(subset.fun, subset.active, *data)
    rows = subset._replace(pair=_embedded(subset, "reverse", max_bytes))
    columns, aux = _embedded(rows, "forward", max_bytes)(subset.active, *data)
    return (columns, aux) if has_aux else columns


def _with_floats(fun: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """Return ``fun`` with its result, or the first of its pair, refused unless its leaves are floating-point arrays."""

    def checked(params: Params, *data: Any) -> Tree:
        value = fun(params, *data)
        value, *aux = _check.pair(value, "fun") if has_aux else (value,)
        out = jax.tree.map(jnp.asarray, value)
        _check.floating(**{"the result of fun": out})
        return (out, *aux) if has_aux else out

    return checked


def _direction(mode: str, fun: Callable[[Tree], Tree], x: Tree) -> str:
    """Return the mode: backward where a result is shared by devices whose parameters differ, and adds up tangents."""
    return "reverse" if mode == "forward" and _sharding.shared(fun, x) else mode


def _embedded(subset: _tree.Subset, mode: str, max_bytes: int) -> Callable[..., tuple[Tree, Any]]:
    """Return the Jacobian and the aux as a function of the leaves that count, zero in the columns of the others."""

    def jacobian_of(active: Tree, *data: Any) -> tuple[Tree, Any]:
        rows, out, aux = blocks(lambda active: subset.pair(active, *data), active, mode, max_bytes)

        def embed(result: Array, row: Tree) -> Tree:
            return subset.embed(row, lambda leaf: jnp.zeros(result.shape + jnp.shape(leaf), result.dtype))

        return jax.tree.map(embed, out, rows), aux

    return jacobian_of


def blocks(pair: Callable[[Tree], tuple[Tree, Any]], x: Tree, mode: str, max_bytes: int) -> tuple[Tree, Tree, Any]:
    """Return the Jacobian of a function of one tree, a block for each pair of leaves, its result and its aux.

    Raises:
        ValueError: If the Jacobian would be larger than ``max_bytes``.
    """
    _check.choice(mode, "mode", ("forward", "reverse"))

    def with_result(x: Tree) -> tuple[Tree, tuple[Tree, Any]]:
        result, aux = pair(x)
        out = jax.tree.map(jnp.asarray, result)
        _check.floating(**{"the result of fun": out})
        needed = size(x) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(out))
        if needed > max_bytes:
            message = (
                f"the derivatives of {size(out)} numbers with respect to {size(x)} take {needed:,} bytes, more than"
                f" max_bytes={max_bytes:,}; take products instead (jax.vjp, jax.jvp, gradient.mixed_product,"
                " curvature.hvp), or choose fewer leaves with wrt="
            )
            raise ValueError(message)
        return out, (out, aux)

    transform = jax.jacrev if mode == "reverse" else jax.jacfwd
    rows, (out, aux) = transform(with_result, has_aux=True)(x)
    return rows, out, aux


def size(tree: Tree) -> int:
    """Return how many numbers a tree holds."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(tree))
