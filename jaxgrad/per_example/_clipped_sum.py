"""The sum of per-example gradients, each clipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _sharding, _tree
from jaxgrad._deprecated import renamed
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, LossFn, Params, T, Tree, Ts, Wrt
from jaxgrad._uses._batch import OLD_MODES, Mode, Problem, clip_and_sum, measure, problem_of, together
from jaxgrad._uses._explicit import laid_out

__all__ = ["ClippedInfo", "clipped_sum"]


class ClippedInfo(NamedTuple):
    """What was measured while a batch of gradients was clipped; padding counts as zero."""

    losses: Array
    """The loss of every example, of shape ``(B,)``."""
    norms: Tree
    """The norm of every example's gradient before clipping, of shape ``(B,)``: one for each entry of ``clip_norm``."""
    fraction_clipped: Array
    """The fraction of examples of which some part was scaled down; padding does not count."""
    sensitivity: Array
    """The most that one example can add to the sum, in Euclidean norm; infinite for a function that does not say."""


@overload
def clipped_sum(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    clip_norm: Any,
    is_padding: ArrayLike | None = None,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, ClippedInfo]: ...
@overload
def clipped_sum(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    clip_norm: Any,
    is_padding: ArrayLike | None = None,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[tuple[T, ClippedInfo], Aux]: ...
@renamed(mode=OLD_MODES)
@jit(
    "loss_fn",
    "mode",
    "microbatch",
    "wrt",
    "axis_name",
    "has_aux",
    non_negative=("clip_norm",),
    static_functions=("clip_norm",),
)
@laid_out(lambda at: (at.weights, ClippedInfo(at.rows, at.rows, at.single, at.single)))
def clipped_sum(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    clip_norm: Any,
    is_padding: ArrayLike | None = None,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Sum the gradients of the examples, each scaled down to a norm of at most ``clip_norm``.

    .. math:: \sum_i \min\!\left(1, \frac{C}{\lVert g_i \rVert}\right) g_i, \qquad
              g_i = \nabla_\theta\, \ell(\theta, x_i)

    In ``mode="book-keeping"`` one backward pass leaves the inputs and cotangents of every weight; they give the norms
    as in `norms`, and then the sum. In ``"ghost"`` a second backward pass gives the sum; in ``"vmap"`` the
    gradients are formed by ``vmap(grad)``. Norms, scales and the sum are kept in float32 at the least, and the sum is
    rounded once. A loss that computes in 16 bits, or in float32 for float64 parameters, would round scaled cotangents
    anew in a second pass, and some rules cannot be transposed over a batch: there ``"ghost"`` keeps books. The results
    agree to rounding.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        clip_norm: The largest norm: a number or a traced scalar; a prefix of ``params`` of such numbers, which clips
            each part by its own norm; or a function that turns the ``(B,)`` norms into ``(B,)`` scales (static), such
            as ``lambda n: 1 / (n + 0.01)``, automatic clipping. It gets NaN as the norm of padding and of an example
            whose norm is not finite, and the scale of these is zero whatever it returns: summarise the others with
            ``jnp.nanmean`` or ``jnp.nanmedian``. A function may say its bound in an attribute ``sensitivity``.
        is_padding: Booleans of shape ``(B,)``: examples that add nothing and are not counted.
        mode: ``"auto"``, ``"book-keeping"``, ``"ghost"`` or ``"vmap"``.
        microbatch: How many examples are taken at once, the last chunk padded; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros, and do not enter the norms.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the sum and the fraction are over all examples, and a function gets the norms of all of
            them; ``None``: the device's own.

    Returns:
        The clipped sum, a tree like ``params`` (a sum, never a mean), and a `ClippedInfo`. An example whose loss or
        gradient is not finite adds nothing, and counts as clipped. With ``has_aux`` the pair of this and ``aux``,
        stacked along a leading axis of length ``B``, from the same forward; inside of `jax.shard_map` it is the
        device's own. That of padding is what the loss returned for it.

    Raises:
        ValueError: If ``clip_norm`` is negative or no prefix of ``params``, the leading axes differ or are empty, the
            loss is no scalar, ``mode`` or ``microbatch`` is unknown, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        About one gradient of the batch in time, and the cotangents of the weights' outputs in memory; with
        ``"ghost"`` up to 5/3 gradients and no more memory than one.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return params["w"] @ x
        >>> batch = jnp.array([[3.0, 4.0], [0.0, 0.5]])
        >>> total, info = jaxgrad.per_example.clipped_sum(loss, {"w": jnp.ones(2)}, batch, clip_norm=1.0)
        >>> [round(float(x), 4) for x in total["w"]], info.norms.tolist(), float(info.fraction_clipped)
        ([0.6, 1.3], [5.0, 0.5], 0.5)

    References:
        Abadi et al. (2016), Deep learning with differential privacy, arXiv:1607.00133, algorithm 1.
        Bu et al. (2023), Differentially private optimization on large model at small cost, arXiv:2210.00038
        (book-keeping).
    """
    (total, info), aux = summed_with_aux(
        loss_fn,
        params,
        *batch,
        clip_norm=clip_norm,
        is_padding=is_padding,
        mode=mode,
        microbatch=microbatch,
        wrt=wrt,
        axis_name=axis_name,
        has_aux=has_aux,
    )
    result = jax.tree.map(lambda g, like: g.astype(like.dtype), total, params), info
    return (result, aux) if has_aux else result


@jit("loss_fn", "mode", "microbatch", "wrt", "axis_name", non_negative=("clip_norm",), static_functions=("clip_norm",))
@laid_out(lambda at: (at.weights, ClippedInfo(at.rows, at.rows, at.single, at.single)))
def accumulated_sum(
    loss_fn: LossFn,
    params: Params,
    *batch: Any,
    clip_norm: Any,
    is_padding: Array | None,
    mode: str,
    microbatch: int | None,
    wrt: Wrt,
    axis_name: AxisName,
) -> tuple[Params, ClippedInfo]:
    """Return the sum of `clipped_sum` as it is accumulated, in float32 at the least, and the information."""
    result, _ = summed_with_aux(
        loss_fn,
        params,
        *batch,
        clip_norm=clip_norm,
        is_padding=is_padding,
        mode=mode,
        microbatch=microbatch,
        wrt=wrt,
        axis_name=axis_name,
        has_aux=False,
    )
    return result


def summed_with_aux(
    loss_fn: LossFn,
    params: Params,
    *batch: Any,
    clip_norm: Any,
    is_padding: ArrayLike | None,
    mode: str,
    microbatch: int | None,
    wrt: Wrt,
    axis_name: AxisName,
    has_aux: bool,
) -> tuple[tuple[Params, ClippedInfo], Tree]:
    """Return what `accumulated_sum` does, and aux."""
    problem = problem_of(loss_fn, params, batch, wrt, mode, axis_name=axis_name, has_aux=has_aux)
    size = jax.tree.leaves(batch)[0].shape[0]
    real = jnp.ones(size, bool) if is_padding is None else ~_mask(is_padding, size)
    if callable(clip_norm):
        return _scaled_by_function(problem, batch, real, clip_norm, mode, microbatch, axis_name)
    limits, owner_of, like = parts_of(params, clip_norm)
    owners = problem.pick(owner_of)
    groups = [[i for i, owner in enumerate(owners) if owner == k] for k in range(len(limits))]

    def scale(norms: list[Array], _: Any) -> tuple[list[Array], Tree]:
        pairs = [_clip(n, jnp.asarray(c, n.dtype)) for n, c in zip(norms, limits, strict=True)]
        scales, clipped = zip(*pairs, strict=True)
        return list(scales), (norms, jnp.any(jnp.stack(clipped), axis=0))

    total, losses, (norms, clipped), aux = clip_and_sum(problem, batch, real, groups, scale, mode, microbatch)
    counted = [jnp.asarray(limits[k], norms[0].dtype) for k in sorted(set(owners))]
    total = problem.embed(_sharding.sum_over(total, axis_name))
    return (total, _info(losses, like(norms), clipped, _tree.scaled_norm(counted), real, axis_name)), aux


def _clip(norms: Array, limit: Array) -> tuple[Array, Array]:
    """Return the scales that bring norms down to a limit, and whether each is scaled down."""
    # at the limit and below nothing is scaled, and no 0/0 is formed; a NaN counts as clipped
    kept = norms <= limit
    return jnp.where(kept, 1, limit / jnp.where(kept, 1, norms)), ~kept


def parts_of(params: Params, clip_norm: Any) -> tuple[list[Any], Tree, Callable[..., Tree]]:
    """Return the limits, a tree that says which of them holds for each leaf, and a function that shapes like them.

    Raises:
        ValueError: If ``clip_norm`` is no prefix of ``params``.
    """
    limits, structure = jax.tree.flatten(clip_norm)
    treedef: Any = structure
    wrong = [limit for limit in limits if jnp.ndim(limit)]
    try:
        owners: Tree = jax.tree.broadcast(treedef.unflatten(range(len(limits))), params)
    except ValueError as error:
        wrong = [error]
    if wrong or not limits:
        message = (
            "clip_norm must be a number, a prefix of params with a number for each part, or a function of the norms;"
            f" got {structure} for params {jax.tree.structure(params)}"
        )
        raise ValueError(message)
    return limits, owners, treedef.unflatten


def _mask(is_padding: Any, size: int) -> Array:
    """Check a padding mask.

    Raises:
        ValueError: If it is not one boolean an example.
    """
    mask = jnp.asarray(is_padding)
    if mask.shape != (size,) or mask.dtype != jnp.bool_:
        message = f"is_padding must be {size} booleans, one an example; got {mask.aval}"
        raise ValueError(message)
    return mask


def _scaled_by_function(
    problem: Problem,
    batch: tuple[Any, ...],
    real: Array,
    scale_fn: Any,
    mode: str,
    microbatch: int | None,
    axis_name: AxisName,
) -> tuple[tuple[Params, ClippedInfo], Tree]:
    """Scale by a function of the norms of the whole batch: two passes where the batch comes in chunks."""
    size = real.shape[0]

    def scales_of(norms: Array) -> Array:
        counts = real & jnp.isfinite(norms)
        given = _sharding.rows_of_all(jnp.where(counts, norms, jnp.nan), axis_name)
        scales = jnp.asarray(scale_fn(given), norms.dtype)
        if scales.shape != given.shape:
            message = f"clip_norm must turn norms of shape {given.shape} into as many scales; got {scales.shape}"
            raise ValueError(message)
        scales = _sharding.own_rows(scales, size, axis_name)
        return jnp.where(counts, scales, jnp.zeros_like(scales))

    def scale(norms: list[Array], given: tuple[Array, ...]) -> tuple[list[Array], Tree]:
        (scales,) = given or (scales_of(norms[0]),)
        return [scales], (norms[0], scales)

    groups = together(problem)
    given: tuple[Array, ...] = ()
    if microbatch is None or microbatch >= size:
        microbatch = size
    else:
        (norms,), _ = measure(problem, batch, microbatch, groups)
        given = (scales_of(norms),)
    total, losses, (norms, scales), aux = clip_and_sum(problem, batch, real, groups, scale, mode, microbatch, given)
    bound = jnp.asarray(getattr(scale_fn, "sensitivity", jnp.inf), norms.dtype)
    total = problem.embed(_sharding.sum_over(total, axis_name))
    return (total, _info(losses, norms, ~(scales >= 1), bound, real, axis_name)), aux


def _info(
    losses: Array, norms: Tree, clipped: Array, sensitivity: Array, real: Array, axis_name: AxisName
) -> ClippedInfo:
    """Gather what was measured, without the padding."""
    counts = jnp.sum(real).astype(sensitivity.dtype), jnp.sum((clipped & real).astype(sensitivity.dtype))
    count, scaled = _sharding.sum_over(counts, axis_name)
    fraction = scaled / jnp.maximum(count, 1)
    losses, norms = jax.tree.map(lambda rows: jnp.where(real, rows, jnp.zeros_like(rows)), (losses, norms))
    return ClippedInfo(losses, norms, fraction, sensitivity)
