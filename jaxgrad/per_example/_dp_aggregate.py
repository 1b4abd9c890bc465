"""Private gradients as an optax transformation: clip, sum, add noise."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Key, LossFn, Params, Wrt
from jaxgrad.per_example._clipped_sum import ClippedInfo, accumulated_sum

__all__ = ["PrivateState", "dp_aggregate"]


class PrivateState(NamedTuple):
    """The state of `dp_aggregate`."""

    key: Key
    """The key of the next step's noise."""
    mean_loss: Array
    """The mean loss of the last step's examples, without padding, as float32; it is not private."""
    fraction_clipped: Array
    """The fraction of them that was scaled down, as float32; it is not private."""


def dp_aggregate(
    loss_fn: LossFn,
    *,
    clip_norm: float,
    noise_multiplier: float,
    expected_batch_size: float,
    key: Key,
    mode: str = "auto",
    microbatch: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build an optax transformation whose updates are private gradients of a batch.

    .. math:: \tilde g = \frac{1}{L} \Bigl( \sum_i \min\bigl(1, C / \lVert g_i \rVert\bigr)\, g_i
              + \mathcal N(0, \sigma^2 C^2 I) \Bigr)

    It computes the gradients itself: call ``update(None, state, params, batch=(x, y))``, alone or at the head of an
    ``optax.chain``, with ``is_padding=`` where a sampled batch is filled up to a fixed length. An empty batch, which
    Poisson sampling may give, gives the noise alone. The sum is divided by
    the *expected* batch size ``L``, so that the sensitivity does not depend on the data. Accounting is left to a
    library such as ``dp-accounting``; it must match how the batches are sampled.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Pass a named function.
        clip_norm: The largest norm ``C``, one number; infinite only without noise.
        noise_multiplier: The noise ``sigma`` in multiples of ``C``; 0 adds none.
        expected_batch_size: The ``L`` of the mean: the sampling rate times the number of examples.
        key: Random key; every step takes a new one from it.
        mode: As for `clipped_sum`.
        microbatch: As for `clipped_sum`.
        wrt: Which leaves count, as for `clipped_sum`; the others get zero and no noise.
        axis_name: As for `clipped_sum`: the updates are those of the whole batch, with one draw of noise for all
            devices, whose key must be the same. Without it every device draws for its own sum.

    Returns:
        The transformation.

    Raises:
        ValueError: If a number is negative, ``expected_batch_size`` is zero, or ``clip_norm`` is infinite and there is
            noise; from ``update`` where ``optax.masked`` or ``optax.partition`` hid some leaves, and inside of
            ``optax.MultiSteps``, which would drop all micro-batches but the last.
        TypeError: If one of the numbers is none; from ``update`` if ``batch`` is no tuple.

    Cost:
        That of `clipped_sum`, and a normal number for every parameter.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return w @ x
        >>> private = dp_aggregate(
        ...     loss, clip_norm=1.0, noise_multiplier=0.0, expected_batch_size=2.0, key=jax.random.key(0)
        ... )
        >>> w, batch = jnp.ones(2), (jnp.array([[0.6, 0.8], [0.0, 5.0]]),)
        >>> update, _ = private.update(None, private.init(w), w, batch=batch)
        >>> [round(float(u), 4) for u in update]
        [0.3, 0.9]

    References:
        Abadi et al. (2016), Deep learning with differential privacy, arXiv:1607.00133, algorithm 1.
    """
    numbers = {
        "clip_norm": clip_norm,
        "noise_multiplier": noise_multiplier,
        "expected_batch_size": expected_batch_size,
    }
    for name, value in numbers.items():
        _check.number(value, name)
        _check.non_negative(value, name)
    if _is_known(clip_norm, np.inf) and not isinstance(noise_multiplier, jax.Array) and noise_multiplier > 0:
        message = f"clip_norm must be finite where noise_multiplier is positive; got {clip_norm!r}"
        raise ValueError(message)
    if _is_known(expected_batch_size, 0):
        message = f"expected_batch_size must be positive; got {expected_batch_size!r}"
        raise ValueError(message)

    def init(params: Params) -> PrivateState:
        # in shard_map each device reports its own examples, from the first step on: a loop keeps its types
        axes = frozenset() if axis_name else _sharding.varying(params)
        none = _sharding.vary(jnp.zeros((), jnp.float32), axes)
        return PrivateState(key, none, none)

    def update(
        updates: Any,
        state: PrivateState,
        params: Params = None,
        *,
        batch: tuple[Any, ...],
        is_padding: Array | None = None,
        **extra: Any,
    ) -> tuple[Params, PrivateState]:
        del updates, extra
        _refuse_wrappers(params)
        if params is None:
            message = (
                "params must be given, since update computes the gradients: update(None, state, params, batch=...)"
            )
            raise ValueError(message)
        if not isinstance(batch, tuple | list):
            message = (
                f"batch must be a tuple of what follows params in loss_fn; got {_check.describe(batch)}: batch=(x,)"
            )
            raise TypeError(message)
        total, info = _private_sum(
            loss_fn,
            params,
            tuple(batch),
            clip_norm=clip_norm,
            is_padding=is_padding,
            mode=mode,
            microbatch=microbatch,
            wrt=wrt,
            axis_name=axis_name,
        )
        following, now = jax.random.split(state.key)
        # without noise the norm may be infinite, and zero times infinity is NaN
        deviation = noise_multiplier * jnp.where(jnp.asarray(noise_multiplier) == 0, 0.0, clip_norm)
        noisy = total if _is_known(noise_multiplier, 0) else _add_noise(total, now, deviation, wrt)
        # the noise is added before the sum is rounded: in 16 bits it would have some hundred values, and no tail
        mean = jax.tree.map(
            lambda g, like: (g / jnp.asarray(expected_batch_size, g.dtype)).astype(jnp.result_type(like)), noisy, params
        )
        return mean, PrivateState(
            following, _mean_loss(info, is_padding, axis_name), info.fraction_clipped.astype(jnp.float32)
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _refuse_wrappers(params: Params) -> None:
    """Refuse optax wrappers that would hand on something else than one step's parameters and batch.

    Raises:
        ValueError: If some leaves are masked, or the caller accumulates updates over several calls.
    """
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    if any(isinstance(leaf, optax.MaskedNode) for leaf in leaves):
        message = (
            "dp_aggregate was given params with masked leaves, but its loss needs all of them: do not wrap it in"
            " optax.masked or optax.partition; choose the leaves with dp_aggregate(..., wrt=...)"
        )
        raise ValueError(message)
    if _in_multi_steps():
        message = (
            "dp_aggregate cannot stand inside of optax.MultiSteps: it computes the gradients from batch=, and all but"
            " the last micro-batch would be lost; give it the whole batch, with microbatch= to bound the memory"
        )
        raise ValueError(message)


def _in_multi_steps() -> bool:
    """Say whether the caller is ``optax.MultiSteps``: it accumulates what it was given, and hands on the last batch."""
    frame = inspect.currentframe()
    while frame := frame and frame.f_back:
        if isinstance(frame.f_locals.get("self"), optax.MultiSteps):
            return True
    return False


def _private_sum(loss_fn: LossFn, params: Params, batch: tuple[Any, ...], **options: Any) -> tuple[Params, ClippedInfo]:
    """Return the clipped sum in float32 at the least; zero for an empty batch, which Poisson sampling may give."""
    if not batch or _check.batch(batch, allow_empty=True):
        return accumulated_sum(loss_fn, params, *batch, **options)
    none = jnp.zeros(0, jnp.float32)
    total = jax.tree.map(lambda w: jnp.zeros(w.shape, _tree.accumulator(w.dtype)), params)
    return total, ClippedInfo(none, none, jnp.zeros((), jnp.float32), jnp.asarray(options["clip_norm"], jnp.float32))


def _is_known(value: Any, number: float) -> bool:
    """Say whether a value that no trace holds is a certain number."""
    return not isinstance(value, jax.Array) and bool(value == number)


def _mean_loss(info: ClippedInfo, is_padding: Any, axis_name: AxisName) -> Array:
    """Return the mean of the losses, of which those of padding are zero."""
    padded = 0 if is_padding is None else jnp.sum(jnp.asarray(is_padding))
    sums = jnp.sum(info.losses.astype(jnp.float32)), jnp.asarray(info.losses.size - padded, jnp.float32)
    total, count = _sharding.sum_over(sums, axis_name)
    return total / jnp.maximum(count, 1)


def _add_noise(total: Params, key: Key, deviation: Any, wrt: Wrt) -> Params:
    """Add normal noise to the leaves that count, drawn in the dtype of the sum."""
    leaves, structure = jax.tree.flatten(total)
    treedef: Any = structure
    keys, chosen = jax.random.split(key, len(leaves)), _tree.selected(total, wrt)

    def noisy(x: Array, k: Key) -> Array:
        kept = _tree.accumulator(x.dtype)
        noise = jnp.asarray(deviation, kept) * jax.random.normal(k, x.shape, kept)
        return x.astype(kept) + _sharding.like(noise, x)

    return treedef.unflatten([noisy(x, k) if c else x for x, k, c in zip(leaves, keys, chosen, strict=True)])
