"""Private gradients as an optax transformation: clip, sum, add noise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Key, LossFn, Params, Wrt
from jaxgrad.per_example._clipped_sum import ClippedInfo, clipped_sum

__all__ = ["PrivateState", "dp_aggregate"]


class PrivateState(NamedTuple):
    """The state of `dp_aggregate`."""

    key: Key
    """The key of the next step's noise."""
    info: ClippedInfo | None
    """What was measured in the last step; it is not private."""


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
) -> optax.GradientTransformationExtraArgs:
    r"""Build an optax transformation whose updates are private gradients of a batch.

    .. math:: \tilde g = \frac{1}{L} \Bigl( \sum_i \min\bigl(1, C / \lVert g_i \rVert\bigr)\, g_i
              + \mathcal N(0, \sigma^2 C^2 I) \Bigr)

    It computes the gradients itself: call ``update(None, state, params, batch=(x, y))``, alone or at the head of an
    ``optax.chain``, with ``is_padding=`` where a sampled batch is filled up to a fixed length. The sum is divided by
    the *expected* batch size ``L``, so that the sensitivity does not depend on the data. Accounting is left to a
    library such as ``dp-accounting``; it must match how the batches are sampled.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Pass a named function.
        clip_norm: The largest norm ``C``.
        noise_multiplier: The noise ``sigma`` in multiples of ``C``; 0 adds none.
        expected_batch_size: The ``L`` of the mean: the sampling rate times the number of examples.
        key: Random key; every step takes a new one from it.
        mode: As for `clipped_sum`.
        microbatch: As for `clipped_sum`.
        wrt: Which leaves count, as for `clipped_sum`; the others get zero and no noise.

    Returns:
        The transformation.

    Raises:
        ValueError: If a number is negative, or ``expected_batch_size`` is not positive.

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
    _check.non_negative(clip_norm, "clip_norm")
    _check.non_negative(noise_multiplier, "noise_multiplier")
    if not expected_batch_size > 0:
        message = f"expected_batch_size must be positive; got {expected_batch_size!r}"
        raise ValueError(message)

    def init(params: Params) -> PrivateState:
        del params
        return PrivateState(key, None)

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
        total, info = clipped_sum(
            loss_fn,
            params,
            *batch,
            clip_norm=clip_norm,
            is_padding=is_padding,
            mode=mode,
            microbatch=microbatch,
            wrt=wrt,
        )
        following, now = jax.random.split(state.key)
        deviation = noise_multiplier * clip_norm
        noisy = _add_noise(total, now, deviation, wrt)
        return jax.tree.map(lambda g: g / jnp.asarray(expected_batch_size, g.dtype), noisy), PrivateState(
            following, info
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _add_noise(total: Params, key: Key, deviation: Any, wrt: Wrt) -> Params:
    """Add normal noise to the leaves that count."""
    leaves, structure = jax.tree.flatten(total)
    treedef: Any = structure
    keys, chosen = jax.random.split(key, len(leaves)), _tree.selected(total, wrt)
    noise = [
        jnp.asarray(deviation, x.dtype) * jax.random.normal(k, x.shape, x.dtype) if keep else jnp.zeros_like(x)
        for k, x, keep in zip(keys, leaves, chosen, strict=True)
    ]
    return treedef.unflatten([x + n for x, n in zip(leaves, noise, strict=True)])
