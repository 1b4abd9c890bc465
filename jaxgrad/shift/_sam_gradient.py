"""The gradient of sharpness-aware minimisation."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import AxisName, LossFn, Params, Wrt
from jaxgrad.gradient import global_norm

__all__ = ["sam_gradient"]


@jit("loss_fn", "adaptive", "wrt", "axis_name", non_negative=("radius", "offset"))
def sam_gradient(
    loss_fn: LossFn,
    params: Params,
    *data: Any,
    radius: Any,
    adaptive: bool = False,
    offset: Any = 0.01,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Params:
    r"""Differentiate a loss at its worst point nearby, to first order: SAM and ASAM.

    .. math:: g = \nabla L(w + a), \qquad
              a = \rho\, \frac{T^2 \nabla L(w)}{\lVert T \nabla L(w) \rVert_2}, \qquad
              T = I \ \text{(SAM)}, \quad T = \operatorname{diag}(|w|) + \eta I \ \text{(ASAM)}

    The shift is a constant for differentiation, as in the paper: its own derivative with respect to the parameters
    is left out of the gradient. It is left out, too, when the result is differentiated once more (``data`` does not
    reach the shift then either; ``radius`` does). Where the gradient at ``w`` is exactly zero there is no direction:
    the shift is zero, and the result is the plain gradient, never NaN.

    ASAM's authors take ``T = I`` for biases; here every leaf that counts is treated alike. With ``offset=0`` a weight
    that is exactly zero is not moved.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, ``w``.
        *data: Pytrees handed on to ``loss_fn``, the same for both gradients; not differentiated.
        radius: The length of the shift :math:`\rho` (for ASAM in units of ``T``), a number of shape ``()``, zero or
            more; may be traced. Common: 0.05 for SAM, 0.5 to 2 for ASAM.
        adaptive: ``False`` for SAM, ``True`` for ASAM, whose shift scales with each weight.
        offset: What ASAM adds to the magnitude of each weight, :math:`\eta`. SAM has no use for it.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are not moved and get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both gradients are those of the mean of
            the devices' losses, with one shift for all; ``None``: the device's own loss and shift.

    Returns:
        The gradient at the shifted parameters, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If ``radius`` or ``offset`` is a negative Python number or NaN, or has axes, the loss is no
            scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        Two gradients, one after the other.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> [round(x, 4) for x in sam_gradient(loss, jnp.array([3.0, 4.0]), radius=0.5).tolist()]
        [3.3, 4.4]

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1;
        Kwon et al. (2021), ASAM: adaptive sharpness-aware minimization, ICML, equation 8.
    """
    _check.number(radius, "radius")
    _check.number(offset, "offset")
    radius, offset = _sharding.replicated((radius, offset), axis_name)
    subset = _tree.restrict(_check.scalar_loss(loss_fn), params, wrt, data, axis_name)
    _check.differentiable(params=subset.active)
    slope = jax.grad(subset.fun)
    ascent = slope(subset.active, *data)
    if adaptive:
        sizes = jax.tree.map(lambda w: jnp.abs(w) + jnp.asarray(offset, w.dtype), subset.active)
        scaled = jax.tree.map(jnp.multiply, sizes, ascent)
        ascent = jax.tree.map(jnp.multiply, sizes, _unit(scaled))
    else:
        ascent = _unit(ascent)
    worst = _tree.add(subset.active, _tree.scale(jax.lax.stop_gradient(ascent), radius))
    return subset.embed(slope(worst, *data))


def _unit(tree: Params) -> Params:
    """Scale a tree to norm 1; a zero tree stays zero."""
    norm = global_norm(tree)
    regular = norm >= jnp.finfo(norm.dtype).tiny  # the inverse of a smaller norm overflows
    return _tree.scale(tree, 1 / jnp.where(regular, norm, jnp.ones_like(norm)))
