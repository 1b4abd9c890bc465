"""The gradient of a loss at moved parameters."""

from typing import Any

import jax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.shift import _partial

__all__ = ["gradient", "value_and_gradient"]


@jit("loss_fn", "wrt", "axis_name")
def gradient(
    loss_fn: LossFn, params: Params, shift: Tree, *data: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> Params:
    r"""Differentiate a loss at shifted parameters.

    .. math:: g = \nabla_w L(w + a) = \left.\nabla L\right|_{w + a} = \nabla_a L(w + a)

    The model is not edited: it is applied to ``w + a``. A zero shift gives the plain gradient.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``: leaves with the paths, shapes and dtypes of those of ``params``. Keys of dictionaries
            may be absent and leaves or whole nodes ``None``; what is left out is not moved.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        wrt: Which leaves count: glob patterns on their paths (``"*/kernel"``, ``"trunk"``), a predicate
            ``wrt(path, leaf)``, or ``None`` for all. The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient, and one copy of the leaves that are moved.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params):
        ...     return jnp.sum(params["w"] ** 2) + params["b"]
        >>> params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
        >>> gradient(loss, params, {"w": jnp.array([0.5, 0.0])})["w"].tolist()
        [3.0, 4.0]

    References:
        Graves (2011), Practical variational inference for neural networks, NeurIPS (a random shift);
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3 (a shift along the gradient).
    """
    return value_and_gradient(loss_fn, params, shift, *data, wrt=wrt, axis_name=axis_name)[1]


@jit("loss_fn", "wrt", "axis_name")
def value_and_gradient(
    loss_fn: LossFn, params: Params, shift: Tree, *data: Any, wrt: Wrt = None, axis_name: AxisName = None
) -> tuple[Array, Params]:
    r"""Evaluate and differentiate a loss at shifted parameters.

    .. math:: \left(L(w + a),\ \nabla_w L(w + a)\right)

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, ``w``.
        shift: The shift ``a``, as in `gradient`: it may leave leaves out.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are moved too, but get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The loss at the shifted parameters, of shape ``()``, and the gradient, a tree like ``params``.

    Raises:
        ValueError: If ``shift`` has a leaf that ``params`` has not, or not in that shape and dtype, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient, and one copy of the leaves that are moved.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w):
        ...     return jnp.sum(w**2)
        >>> value, slope = value_and_gradient(loss, jnp.array([1.0, 2.0]), jnp.array([1.0, -2.0]))
        >>> value.item(), slope.tolist()
        (4.0, [4.0, 0.0])

    References:
        Foret et al. (2021), Sharpness-aware minimization, ICLR, equation 3.
    """
    _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
    _partial.check(params, shift)
    subset = _tree.restrict(_partial.shifted(loss_fn), params, wrt, (shift, *data), axis_name)
    value, slopes = jax.value_and_grad(subset.fun)(subset.active, shift, *data)
    return value, subset.embed(slopes)
