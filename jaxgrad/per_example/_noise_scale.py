"""The gradient noise scale of a batch."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _sharding, _tree
from jaxgrad._deprecated import renamed
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad._uses._batch import OLD_MODES, Mode, clip_and_sum, problem_of, together
from jaxgrad._uses._explicit import laid_out

__all__ = ["NoiseScale", "noise_scale"]


class NoiseScale(NamedTuple):
    """Estimates from one batch; the first is the ratio of the others."""

    noise_scale: Array
    """The batch size at which noise and signal are of one size; infinite or negative where a batch is too small."""
    trace: Array
    """Unbiased estimate of the trace of the gradients' covariance."""
    squared_mean: Array
    """Unbiased estimate of the squared norm of the expected gradient; may be negative."""


@overload
def noise_scale(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> NoiseScale: ...
@overload
def noise_scale(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[NoiseScale, Aux]: ...
@renamed(mode=OLD_MODES)
@jit("loss_fn", "mode", "microbatch", "has_aux", "wrt", "axis_name")
@laid_out(lambda at: at.single)
def noise_scale(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Estimate the simple gradient noise scale from the per-example norms of one batch.

    .. math:: \mathcal B = \frac{\operatorname{tr} \Sigma}{\lVert G \rVert^2}, \qquad
              \operatorname{tr} \hat\Sigma = \frac{B}{B - 1} \Bigl( \frac1B \sum_i \lVert g_i \rVert^2
              - \lVert \bar g \rVert^2 \Bigr), \qquad
              \widehat{\lVert G \rVert^2} = \lVert \bar g \rVert^2 - \frac1B \operatorname{tr} \hat\Sigma

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``, at least 2.
        mode: ``"auto"``, ``"book-keeping"``, ``"ghost"`` or ``"vmap"``.
        microbatch: How many examples are taken at once, the last chunk padded; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the noise scale is that of all examples; ``None``: the
            device's own.

    Returns:
        The `NoiseScale`. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of length ``B``,
        from the same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If there are fewer than two examples, the leading axes differ, the loss is no scalar, or ``wrt``
            selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        That of `clipped_sum`: about one gradient of the batch.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w * x
        >>> [round(float(v), 4) for v in jaxgrad.per_example.noise_scale(loss, jnp.array(1.0), jnp.array([1.0, 3.0]))]
        [0.6667, 2.0, 3.0]

    References:
        McCandlish et al. (2018), An empirical model of large-batch training, arXiv:1812.06162, eq. 2.9 and appendix A.
    """
    problem = problem_of(loss_fn, params, batch, wrt, mode, axis_name=axis_name, has_aux=has_aux)
    size, own = _check.batch(batch) * _sharding.device_count(axis_name), _check.batch(batch)
    if size < 2:
        message = f"the noise scale needs at least two examples; got {size}"
        raise ValueError(message)

    def keep_all(norms: list[Array], _: Any) -> tuple[list[Array], Array]:
        return [jnp.ones_like(norms[0])], norms[0]

    groups = together(problem)
    total, _, norms, aux = clip_and_sum(problem, batch, jnp.ones(own, bool), groups, keep_all, mode, microbatch)
    # the squares of the norms may be out of range where their ratio is not
    unit = _tree.power_of_two(_sharding.largest(jnp.max(norms), axis_name))
    # in this unit no entry of the sum exceeds twice the size, and what its square loses is nothing beside the trace
    scaled = _sharding.sum_over(jax.tree.map(lambda leaf: leaf.astype(norms.dtype) * (1 / unit), total), axis_name)
    mean_square = _tree.dot(scaled, scaled) / size**2
    trace = (_sharding.mean_over(jnp.mean(jnp.square(norms / unit)), axis_name) - mean_square) * size / (size - 1)
    signal = mean_square - trace / size
    result = NoiseScale(trace / signal, trace * unit * unit, signal * unit * unit)
    return (result, aux) if has_aux else result
