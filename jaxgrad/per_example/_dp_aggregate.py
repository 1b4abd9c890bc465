"""Private gradients as an optax transformation: clip, sum over one call or several, add noise."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _static, _tree
from jaxgrad._deprecated import renamed
from jaxgrad._types import Array, AxisName, Key, LossFn, Params, Tree, Wrt
from jaxgrad._uses._batch import OLD_MODES
from jaxgrad.per_example._clipped_sum import accumulated_sum, parts_of

__all__ = ["Gathered", "PrivateState", "dp_aggregate"]


class Gathered(NamedTuple):
    """The sums of a step over its calls so far, without noise: not private."""

    total: Params
    """The sum of the clipped gradients, in float32 at the least."""
    loss: Array
    """The sum of the losses, without padding."""
    clipped: Array
    """How many examples were scaled down."""
    examples: Array
    """How many examples there were, without padding."""
    calls: Array
    """How many calls there were."""


class PrivateState(NamedTuple):
    """The state of `dp_aggregate`; ``mean_loss``, ``fraction_clipped`` and ``gathered`` are not private."""

    key: Key
    """The key of the next step's noise."""
    mean_loss: Array
    """The mean loss of the last step's examples, without padding, as float32; it is not private."""
    fraction_clipped: Array
    """The fraction of them that was scaled down, as float32; it is not private."""
    clip_norm: Array | None
    """The norm of the next step where it adapts, as private as the updates; otherwise ``None``."""
    gathered: Gathered | None
    """The sums of a step that is not complete, not private; ``None`` where a step is one call."""
    optimizer: optax.OptState
    """The state of ``optimizer``."""


@renamed(mode=OLD_MODES)
def dp_aggregate(
    loss_fn: LossFn,
    *,
    clip_norm: Any,
    noise_multiplier: ArrayLike,
    expected_batch_size: ArrayLike,
    key: Key,
    target_quantile: ArrayLike | None = None,
    clip_learning_rate: ArrayLike = 0.2,
    count_noise: ArrayLike | None = None,
    accumulate_every: ArrayLike | None = None,
    optimizer: optax.GradientTransformation | None = None,
    mode: str = "auto",
    microbatch: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build an optax transformation whose updates are private gradients of a batch.

    .. math:: \tilde g = \frac{1}{L} \Bigl( \sum_i \min\bigl(1, C / \lVert g_i \rVert\bigr)\, g_i
              + \mathcal N(0, \sigma^2 C^2 I) \Bigr)

    It computes the gradients itself: call ``update(params, state, params, batch=(x, y))``, with ``params`` in the place
    of gradients (``None`` will do where no wrapper wants a tree), alone or at the head of an ``optax.chain``, with
    ``is_padding=`` where a sampled batch is filled up to a fixed length. An empty batch, which Poisson sampling may
    give, gives the noise alone. The sum is divided by the *expected* batch size ``L``, so that the sensitivity does not
    depend on the data.

    *What is private:* the updates, and ``state.clip_norm``, when one example is added to the data or removed from
    them. ``mean_loss``, ``fraction_clipped`` and ``gathered`` of the state are *not*: they are for debugging, and a
    state that is published must not hold them. Accounting is left to a library such as ``dp-accounting``: a step is a
    Gaussian mechanism of ``noise_multiplier``, sampled as the batches are.

    *Several calls a step.* With ``accumulate_every=k`` the clipped sums of ``k`` calls are added up, and the ``k``-th
    adds noise once, divides once by ``L``, the size expected of all ``k`` batches together, and lets ``optimizer``
    take its step; the other calls return zeros. ``optax.MultiSteps`` would drop the other batches, and is refused.

    *A norm that adapts.* With ``target_quantile`` the norm moves towards this quantile of the gradients' norms,
    by the fraction :math:`b` of examples that were left whole, counted with noise :math:`\sigma_b`:

    .. math:: C \leftarrow C \exp\bigl(-\eta\,(\tilde b - \gamma)\bigr), \qquad
              \tilde b = \frac12 + \frac1L \Bigl(\sum_i \bigl(b_i - \tfrac12\bigr) + \mathcal N(0, \sigma_b^2)\Bigr)

    The count is paid for: the gradients get the noise :math:`z_\Delta = (z^{-2} - (2\sigma_b)^{-2})^{-1/2}` in place
    of :math:`z` = ``noise_multiplier``, so that both together are one mechanism of ``noise_multiplier``.

    *Inside of optax.* ``optax.apply_if_finite``, ``nnx.Optimizer`` and others that insist on a tree, such as a type
    checker that reads optax's annotations, get ``params`` in the place of ``None``. ``optax.masked`` and
    ``optax.partition`` hide leaves from the loss, and are refused: ``wrt`` chooses leaves. In
    ``optax.inject_hyperparams`` name the functions and counts as static, and give ``hyperparam_dtype=jnp.float32``, so
    that the noise is not rounded to the 16 bits of parameters:
    ``inject_hyperparams(dp_aggregate, static_args=("loss_fn", "microbatch"), hyperparam_dtype=jnp.float32)``.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Pass a named function. More in
            ``help(jaxgrad)``.
        clip_norm: As for `clipped_sum`: the largest norm ``C``; a prefix of ``params`` of such norms, one for each
            part, together of the norm ``C``; or a function of the norms, which scales each example by its own norm
            alone, and says in an attribute ``sensitivity`` the most ``C`` that one example can add; it is held to it.
            Infinite only without noise. Where the norm adapts, one positive number, the first one.
        noise_multiplier: The noise in multiples of ``C``; 0 adds none, nor to a count.
        expected_batch_size: The ``L`` of the mean: the sampling rate times the number of examples.
        key: Random key; every step takes a new one from it.
        target_quantile: The :math:`\gamma` from 0 to 1, such as 0.5, the median; ``None``: the norm stays.
        clip_learning_rate: The :math:`\eta` of the norm.
        count_noise: The :math:`\sigma_b` of the count, in examples, more than half of ``noise_multiplier``; ``None``:
            ``expected_batch_size / 20``, as in the paper.
        accumulate_every: The calls ``k`` that make a step; ``None``: every call is one. A batch that has fewer parts
            is filled up with padding.
        optimizer: The transformation that takes the private gradients once a step. Needed where a step is several
            calls: in a chain behind this one, momentum and decay would move the parameters at every call.
        mode: As for `clipped_sum`.
        microbatch: As for `clipped_sum`.
        wrt: Which leaves count, as for `clipped_sum`; the others get zero and no noise.
        axis_name: As for `clipped_sum`: the updates are those of the whole batch, with one draw of noise for all
            devices, whose key must be the same. Without it every device draws for its own sum.

    Returns:
        The transformation. All numbers may be traced; their values are then not checked, and a ``count_noise`` that is
        too small gives NaN.

    Raises:
        ValueError: If a number is negative or out of its range, ``clip_norm`` is infinite or a function without a
            ``sensitivity`` and there is noise, or ``count_noise`` is too small; from ``update`` if it is handed
            gradients, as inside of ``optax.MultiSteps``, or masked leaves.
        TypeError: If one of the numbers is none, or ``key`` no key; from ``update`` if ``batch`` is no tuple.

    Cost:
        That of `clipped_sum`, and a normal number for every parameter and step; where a step is several calls, a
        copy of the parameters, in float32 at the least.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w @ x
        >>> private = jaxgrad.per_example.dp_aggregate(
        ...     loss, clip_norm=1.0, noise_multiplier=0.0, expected_batch_size=2.0, key=jax.random.key(0)
        ... )
        >>> w, batch = jnp.ones(2), (jnp.array([[0.6, 0.8], [0.0, 5.0]]),)
        >>> update, _ = private.update(w, private.init(w), w, batch=batch)
        >>> [round(float(u), 4) for u in update]
        [0.3, 0.9]

    References:
        Abadi et al. (2016), Deep learning with differential privacy, arXiv:1607.00133, algorithm 1.
        Andrew et al. (2021), Differentially private learning with adaptive clipping, arXiv:1905.03871, algorithm 1
        and theorem 1.
    """
    rule = _checked(
        _Rule(clip_norm, noise_multiplier, expected_batch_size, target_quantile, clip_learning_rate, count_noise, wrt)
    )
    _static.refuse_no_function(loss_fn, "dp_aggregate: loss_fn", {})
    _check.key(key, "key")
    _check_accumulation(accumulate_every, optimizer)
    if callable(clip_norm):
        clip_norm = _bounded(clip_norm)
    step_is_a_call = accumulate_every is None or _is_known(accumulate_every, 1)
    inner = optax.with_extra_args_support(_check.optimizer(optax.identity() if optimizer is None else optimizer))

    def init(params: Params) -> PrivateState:
        _refuse_masks(params)
        nothing, norm = _nothing_seen(params, axis_name), None
        if target_quantile is not None:
            norm = _sharding.like(jnp.array(clip_norm, _kept(params)), nothing.loss)
        gathered = None if step_is_a_call else _nothing_seen(params, axis_name)
        return PrivateState(key, nothing.loss, nothing.clipped, norm, gathered, inner.init(params))

    def update(
        updates: Any,
        state: PrivateState,
        params: Params = None,
        *misplaced: Any,
        batch: tuple[Any, ...] | None = None,
        is_padding: Array | None = None,
        **extra: Any,
    ) -> tuple[Params, PrivateState]:
        _refuse_misuse(updates, state, params, batch, misplaced)
        _refuse_misspelt(extra)
        if (state.gathered is None, state.clip_norm is None) != (step_is_a_call, target_quantile is None):
            message = "state must come from init of this dp_aggregate; its options were others when it was made"
            raise ValueError(message)
        now = rule._replace(clip_norm=clip_norm if state.clip_norm is None else state.clip_norm)
        seen = _gather(
            loss_fn,
            params,
            tuple(batch or ()),
            clip_norm=now.clip_norm,
            is_padding=is_padding,
            mode=mode,
            microbatch=microbatch,
            wrt=wrt,
            axis_name=axis_name,
        )

        def finish(seen: Gathered, state: PrivateState) -> tuple[Params, PrivateState]:
            following, for_sum, for_count = jax.random.split(state.key, 3)
            mean = _private_mean(now, seen.total, params, for_sum)
            given, inner_state = inner.update(mean, state.optimizer, params, **extra)
            count = jnp.maximum(seen.examples, 1)
            norm = None if state.clip_norm is None else _next_norm(now, seen, for_count)
            gathered = None if state.gathered is None else jax.tree.map(_zeros_like, seen)
            return given, PrivateState(following, seen.loss / count, seen.clipped / count, norm, gathered, inner_state)

        def wait(seen: Gathered, state: PrivateState) -> tuple[Params, PrivateState]:
            given, after = jax.eval_shape(finish, seen, state)
            zeros = jax.tree.map(lambda kind, g: _sharding.like(_sharding.zeros(kind), g), given, seen.total)
            # the branches of a conditional must agree on what differs from device to device
            cast = jax.tree.map(
                lambda leaf, kind: _sharding.vary(leaf, _sharding.varying(kind)), state._replace(gathered=seen), after
            )
            return zeros, cast

        if state.gathered is None:
            return finish(seen, state)
        seen = _tree.add(state.gathered, seen)
        # the noise is drawn where it is needed alone: it may cost as much as the gradients of a small batch
        return lax.cond(seen.calls >= jnp.asarray(accumulate_every, jnp.int32), finish, wait, seen, state)

    return optax.GradientTransformationExtraArgs(init, update)


class _Rule(NamedTuple):
    """The numbers of `dp_aggregate`."""

    clip_norm: Any
    noise_multiplier: Any
    expected_batch_size: Any
    target_quantile: Any
    clip_learning_rate: Any
    count_noise: Any
    wrt: Wrt


def _checked(rule: _Rule) -> _Rule:
    """Refuse numbers that make no private step, as far as they are known; fill in the noise of the count.

    Raises:
        ValueError: If a number is out of its range, or the noise has no bound to be a multiple of.
    """
    for name, value in rule._asdict().items():
        may_be_absent = value is None and name in ("target_quantile", "count_noise")
        if name not in ("wrt", "clip_norm") and not may_be_absent:
            _check.number(value, name)
            _check.non_negative(value, name)
            if name in ("noise_multiplier", "count_noise") and jnp.result_type(value).itemsize < 4:
                message = (
                    f"{name} must have 32 bits or more, since the accounting does not know how it was rounded; got"
                    f" {_check.describe(value)}: in optax.inject_hyperparams write hyperparam_dtype=jnp.float32"
                )
                raise ValueError(message)
    if _is_known(rule.expected_batch_size, 0):
        message = f"expected_batch_size must be positive; got {rule.expected_batch_size!r}"
        raise ValueError(message)
    if not callable(rule.clip_norm):
        for path, limit in jax.tree_util.tree_leaves_with_path(rule.clip_norm):
            _check.number(limit, _check.locate("clip_norm", path))
        _check.non_negative(rule.clip_norm, "clip_norm")
    noisy = not isinstance(rule.noise_multiplier, jax.Array) and rule.noise_multiplier > 0
    if noisy and callable(rule.clip_norm) and not hasattr(rule.clip_norm, "sensitivity"):
        message = (
            "clip_norm is a function that does not say how much one example can add, which the noise is a multiple"
            " of: set its attribute, as in `scale.sensitivity = 1.0` for 1 / (norm + 0.01)"
        )
        raise ValueError(message)
    bounds = [rule.clip_norm.sensitivity] if callable(rule.clip_norm) and noisy else jax.tree.leaves(rule.clip_norm)
    if noisy and any(_is_known(bound, np.inf) for bound in bounds):
        message = f"clip_norm must be finite where noise_multiplier is positive; got {rule.clip_norm!r}"
        raise ValueError(message)
    if rule.target_quantile is None:
        return rule
    count_noise = rule.expected_batch_size / 20 if rule.count_noise is None else rule.count_noise
    rule = rule._replace(count_noise=count_noise)
    _check_quantile(rule)
    return rule


def _check_quantile(rule: _Rule) -> None:
    """Refuse a norm that cannot adapt, and a count that takes more of the privacy than there is.

    Raises:
        ValueError: With what to write instead.
    """
    quantile, norm = rule.target_quantile, rule.clip_norm
    if not isinstance(quantile, jax.Array) and quantile > 1:
        message = f"target_quantile must be from 0 to 1, such as 0.5 for the median; got {quantile!r}"
        raise ValueError(message)
    if callable(norm) or not jax.tree_util.all_leaves([norm]):
        message = f"target_quantile adapts one clip_norm: give one number; got {_check.describe(norm)}"
        raise ValueError(message)
    if _is_known(norm, 0) or _is_known(norm, np.inf):
        message = f"clip_norm must be positive and finite where target_quantile is given; got {norm!r}"
        raise ValueError(message)
    known = not isinstance(rule.noise_multiplier, jax.Array) and not isinstance(rule.count_noise, jax.Array)
    if known and rule.noise_multiplier > 0 and 2 * rule.count_noise <= rule.noise_multiplier:
        message = (
            f"count_noise must be more than noise_multiplier / 2, or nothing is left for the gradients; got"
            f" {rule.count_noise!r} for noise_multiplier={rule.noise_multiplier!r} (where none is given it is"
            " expected_batch_size / 20)"
        )
        raise ValueError(message)


def _check_accumulation(every: Any, optimizer: Any) -> None:
    """Refuse a number of calls that is none, and an optimizer that would be left in a chain.

    Raises:
        TypeError: If the number is no integer.
        ValueError: If it is no single one, or there is no optimizer to step with it.
    """
    if every is None:
        return
    if isinstance(every, jax.Array):
        if not jnp.issubdtype(every.dtype, jnp.integer) or every.shape:
            message = f"accumulate_every must be one integer; got {_check.describe(every)}"
            raise TypeError(message)
    else:
        _check.count(every, "accumulate_every", least=1)
    if optimizer is None and not _is_known(every, 1):
        message = (
            f"accumulate_every={every} needs optimizer=, such as optax.adam(1e-3), which steps once in {every} calls;"
            " behind dp_aggregate in an optax.chain it would step at every call, with zeros"
        )
        raise ValueError(message)


def _refuse_misuse(updates: Any, state: Any, params: Params, batch: Any, misplaced: tuple[Any, ...]) -> None:
    """Refuse arguments of ``update`` that would be lost, or that are not there.

    Gradients handed in are never used, and who hands them in means something: accumulation by ``optax.MultiSteps``
    above all, which averages what it is given and passes on the last batch alone. Such wrappers are told from those
    that pass things on by identity, since values are not known in a trace: what they have computed is not ``params``.
    What comes into a compiled ``update`` from outside cannot be told from ``params``, and is taken for it.

    Raises:
        ValueError: If ``params`` or the batch is missing, some leaves are masked, or there are gradients.
        TypeError: If the batch is no tuple or comes without its name, or the state is another's.
    """
    if misplaced:
        message = "batch must be given by name: update(params, state, params, batch=(x, y))"
        raise TypeError(message)
    if params is None:
        message = "params must be given, since update computes the gradients: update(params, state, params, batch=...)"
        raise ValueError(message)
    _refuse_masks(params)
    _check.state(state, PrivateState, "init(params)")
    if updates is not None and not _check.same_arrays(updates, params):
        message = (
            "updates must be None, or params where a wrapper insists on a tree: dp_aggregate computes the gradients"
            " from batch=, and gradients given here would be lost; it cannot stand inside of optax.MultiSteps, where"
            " all micro-batches but the last would be lost, but accumulates itself with accumulate_every="
        )
        raise ValueError(message)
    if batch is None:
        message = (
            "batch must be given, since update computes the gradients: update(params, state, params, batch=(x, y))"
        )
        raise ValueError(message)
    if not isinstance(batch, tuple | list):
        message = f"batch must be a tuple of what follows params in loss_fn; got {_check.describe(batch)}: batch=(x,)"
        raise TypeError(message)


def _refuse_misspelt(extra: dict[str, Any]) -> None:
    """Refuse a name that is nearly one of ours: optax hands every name on, so that it would be lost without a word.

    Raises:
        TypeError: With the name that was meant.
    """
    for name in extra:
        near = difflib.get_close_matches(name, ["is_padding", "batch"], 1, 0.7)
        if near:
            message = f"{name} is no argument of update; did you mean {near[0]}?"
            raise TypeError(message)


def _refuse_masks(params: Params) -> None:
    """Refuse parameters of which optax hides some.

    Raises:
        ValueError: If some leaves are masked.
    """
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    if any(isinstance(leaf, optax.MaskedNode) for leaf in leaves):
        message = (
            "dp_aggregate was given params with masked leaves, but its loss needs all of them: do not wrap it in"
            " optax.masked or optax.partition; choose the leaves with dp_aggregate(..., wrt=...)"
        )
        raise ValueError(message)


def _gather(
    loss_fn: LossFn, params: Params, batch: tuple[Any, ...], *, is_padding: Any, axis_name: AxisName, **options: Any
) -> Gathered:
    """Return the sums of one call; those of an empty batch, which Poisson sampling may give, are zero."""
    if batch and not _check.batch(batch, allow_empty=True):
        return _nothing_seen(params, axis_name)._replace(calls=jnp.ones((), jnp.int32))
    total, info = accumulated_sum(loss_fn, params, *batch, is_padding=is_padding, axis_name=axis_name, **options)
    padded = 0 if is_padding is None else jnp.sum(jnp.asarray(is_padding))
    sums = jnp.sum(info.losses.astype(jnp.float32)), jnp.asarray(info.losses.size - padded, jnp.float32)
    loss, count = _sharding.sum_over(sums, axis_name)
    # the fraction is a ratio of whole numbers: rounded, one example changes the count by one
    clipped = jnp.round(info.fraction_clipped.astype(jnp.float32) * count)
    return Gathered(total, loss, clipped, count, jnp.ones((), jnp.int32))


def _private_mean(rule: _Rule, total: Params, params: Params, key: Key) -> Params:
    """Add noise to a sum, and divide it by the expected number of examples."""
    noisy = total
    if not _is_known(rule.noise_multiplier, 0):
        kept = _kept(params)
        noisy = _add_noise(total, key, _noise_of_sum(rule, kept) * _sensitivity(rule, params, kept), rule.wrt)
    # the noise is added before the sum is rounded: in 16 bits it would have some hundred values, and no tail
    return jax.tree.map(
        lambda g, w: (g / jnp.asarray(rule.expected_batch_size, g.dtype)).astype(jnp.result_type(w)), noisy, params
    )


def _noise_of_sum(rule: _Rule, kept: Any) -> Array:
    """Return the noise multiplier of the gradients: more than the whole one's where a count has its part."""
    whole = jnp.asarray(rule.noise_multiplier, kept)
    if rule.target_quantile is None:
        return whole
    # (z^-2 - (2 s)^-2)^(-1/2) without infinities where z is zero; NaN, and not too little, where s is too small
    part = jnp.where(whole == 0, 0, whole / (2 * jnp.asarray(rule.count_noise, kept)))
    return jnp.where(part < 1, whole / jnp.sqrt(jnp.where(part < 1, 1 - part**2, 1)), jnp.nan)


def _sensitivity(rule: _Rule, params: Params, kept: Any) -> Array:
    """Return the most that one example adds to the sum; zero without noise, where it may be infinite."""
    if callable(rule.clip_norm):
        bound = jnp.asarray(getattr(rule.clip_norm, "sensitivity", jnp.inf), kept)
    else:
        limits, owners, _ = parts_of(params, rule.clip_norm)
        chosen = zip(jax.tree.leaves(owners), _tree.selected(params, rule.wrt), strict=True)
        bound = _tree.scaled_norm([jnp.asarray(limits[k], kept) for k in sorted({k for k, c in chosen if c})])
    return jnp.where(jnp.asarray(rule.noise_multiplier) == 0, jnp.zeros_like(bound), bound)


def _next_norm(rule: _Rule, seen: Gathered, key: Key) -> Array:
    """Move the norm towards the quantile, by a noisy count of the examples that were left whole.

    Counted is half of what was left whole less half of what was clipped: one example changes that by a half, not by
    one, and the noise may be half as large.
    """
    norm = rule.clip_norm
    noise = jnp.asarray(rule.count_noise, norm.dtype) * jax.random.normal(key, (), norm.dtype)
    # without noise on the gradients there is none on the count: what one compares with is exact
    noise = jnp.where(jnp.asarray(rule.noise_multiplier) == 0, jnp.zeros_like(noise), noise)
    centred = (seen.examples / 2 - seen.clipped).astype(norm.dtype) + noise
    fraction = 0.5 + centred / jnp.asarray(rule.expected_batch_size, norm.dtype)
    distance = fraction - jnp.asarray(rule.target_quantile, norm.dtype)
    return norm * jnp.exp(-jnp.asarray(rule.clip_learning_rate, norm.dtype) * distance)


def _bounded(scale_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Hold a function of the norms to the sensitivity that it claims."""
    bound = getattr(scale_fn, "sensitivity", np.inf)

    def bounded(norms: Array) -> Array:
        most = bound / norms
        return jnp.clip(jnp.asarray(scale_fn(norms), norms.dtype), -most, most)

    bounded.sensitivity = bound  # type: ignore[attr-defined]
    return bounded


def _is_known(value: Any, number: float) -> bool:
    """Say whether a value that no trace holds is a certain number."""
    return not isinstance(value, jax.Array) and bool(value == number)


def _kept(tree: Tree) -> jnp.dtype:
    """Return the dtype in which sums of gradients of parameters are kept."""
    return _tree.accumulator(*(jnp.result_type(w) for w in jax.tree.leaves(tree)))


def _zeros_like(leaf: Array, dtype: Any = None) -> Array:
    """Return zeros that lie where an array lies."""
    return _sharding.like(jnp.zeros(jnp.shape(leaf), dtype or leaf.dtype), leaf)


def _nothing_seen(params: Params, axis_name: AxisName) -> Gathered:
    """Return the sums over no call, each an array of its own: a state may be donated, and no buffer twice."""
    # in shard_map each device reports its own examples, from the first step on: a loop keeps its types
    axes = frozenset() if axis_name else _sharding.varying(params)
    loss, clipped, examples = (_sharding.vary(jnp.zeros((), jnp.float32), axes) for _ in range(3))
    total = jax.tree.map(lambda w: _zeros_like(w, _kept(w)), params)
    return Gathered(total, loss, clipped, examples, jnp.zeros((), jnp.int32))


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
