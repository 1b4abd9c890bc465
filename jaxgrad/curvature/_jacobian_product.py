"""The Jacobian of a function of parameters times vectors, from either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.curvature._engine import _vectors
from jaxgrad.curvature._engine._linear import linear_map

__all__ = ["jacobian_product"]


@overload
def jacobian_product(
    fun: Function[T, *Ts, Tree],
    params: T,
    vector: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    transpose: bool = False,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Tree: ...
@overload
def jacobian_product(
    fun: Function[T, *Ts, tuple[Tree, Aux]],
    params: T,
    vector: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    transpose: bool = False,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Tree, Aux]: ...
@jit("fun", "has_aux", "transpose", "chunk", "wrt", "axis_name")
def jacobian_product(
    fun: Function[T, *Ts, Any],
    params: T,
    vector: Tree,
    *data: *Ts,
    has_aux: bool = False,
    transpose: bool = False,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply the Jacobian of a function by a vector of parameters, or its transpose by one of results.

    .. math:: J v = \left.\frac{d}{dt} f(\theta + t v)\right|_{t=0}, \qquad
              J^\top u = \nabla_\theta \left( f(\theta) \cdot u \right)

    These are the parts that `ggn_product` is made of; `gradient.jacobian` forms the matrix. A function with a reverse
    rule alone (``jax.custom_vjp``) is multiplied too: its transposed product is transposed once more.

    Args:
        fun: ``fun(params, *data)`` returns any pytree of floating-point arrays, the outputs of a model for example.
            Static: pass a named function, and arrays through ``data``. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``, or with ``transpose`` of the result; or
            several, along one more leading axis of the same length ``M`` on every leaf.
        *data: Pytrees handed on to ``fun``; not differentiated.
        has_aux: Whether ``fun`` returns the pair ``(result, aux)``; ``aux`` is any pytree of arrays.
        transpose: Whether to multiply by the transposed Jacobian.
        chunk: How many of several vectors are multiplied at once; it need not divide ``M``. ``None`` is all, but one
            for a convolutional network on a CPU, where that is faster.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all. The
            others are held: their columns of the Jacobian are zero.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which ``fun`` is the mean of the devices'
            results; ``None``: it is the device's own. No mean is taken of results that belong to single examples: leave
            it out for those.

    Returns:
        ``J v``, with the structure and shapes of the result, or ``J^T u``, with those of ``params``; several along a
        leading axis. With ``has_aux``, the pair of this and the aux of the same pass, not differentiated; inside of
        `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, or the result, ``wrt`` selects nothing, ``chunk`` is below
            1, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts, or a result of ``fun``, is no real floating-point array; or if, with
            ``has_aux``, ``fun`` returns no pair.

    Cost:
        An evaluation, and about two more for each ``J v``, and two for each ``J^T u``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def fun(w):
        ...     return jnp.stack([w[0] * w[1], w[0] ** 2])
        >>> w = jnp.array([2.0, 5.0])
        >>> jaxgrad.curvature.jacobian_product(fun, w, jnp.array([1.0, 1.0])).tolist()
        [7.0, 4.0]
        >>> jaxgrad.curvature.jacobian_product(fun, w, jnp.array([1.0, 1.0]), transpose=True).tolist()
        [9.0, 2.0]

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., sections 3.1 and 3.2.
    """
    subset = _tree.restrict(_with_floats(fun, has_aux), params, wrt, data, axis_name, has_aux)
    _check.differentiable(params=subset.active)
    if not transpose:
        point, vectors = _vectors.checked(subset, params, vector, data, axis_name, chunk)
        linear = linear_map(lambda x: subset.pair(x, *data), point)
        product = vectors.each(linear.push)
    else:
        linear = linear_map(lambda x: subset.pair(x, *data), subset.active)
        vectors = _cotangents(linear.outputs, vector, axis_name, chunk)
        product = vectors.each(lambda cotangent: subset.embed(linear.pull(cotangent)))
    return (product, linear.aux) if has_aux else product


def _cotangents(outputs: Tree, vector: Tree, axis_name: AxisName, chunk: int | None) -> _vectors.Vectors:
    """Return the vectors of results, checked against a result, and of its type over the axes of a mesh."""
    count = _vectors.count_of(outputs, vector, "vector", "the result of fun")
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    vector = _sharding.replicated(vector, axis_name)

    def like(one: Tree) -> Tree:
        return jax.tree.map(_sharding.like, one, outputs)

    return _vectors.Vectors(like(vector) if count is None else jax.vmap(like)(vector), count, chunk)


def _with_floats(fun: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """Return ``fun`` with its result, or the first of its pair, refused unless its leaves are floating-point arrays."""

    def checked(params: Tree, *data: Any) -> Any:
        value = fun(params, *data)
        value, *aux = _check.pair(value, "fun") if has_aux else (value,)
        out = jax.tree.map(jnp.asarray, value)
        _check.floating(**{"the result of fun": out})
        return (out, *aux) if has_aux else out

    return checked
