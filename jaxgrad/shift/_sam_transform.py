"""SAM as an optax transformation around another one, which sees the gradients at the worst points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, Params, Tree, Wrt
from jaxgrad.shift._ascent import climb, sizes

__all__ = ["SAMTransformState", "sam_transform"]


class SAMTransformState(NamedTuple):
    """The state of `sam_transform`."""

    step: Array
    """How many steps there were, an integer."""
    base: Any
    """The state of the wrapped transformation: the one that it has after a run on the gradients that it was given."""


class _Options(NamedTuple):
    """The arguments of `sam_transform`, but for the wrapped transformation."""

    radius: ArrayLike
    every: int
    adaptive: bool
    offset: ArrayLike
    scaled: Wrt
    num_steps: int
    wrt: Wrt


def sam_transform(
    base: Any,
    *,
    radius: ArrayLike,
    every: int = 1,
    adaptive: bool = False,
    offset: ArrayLike = 0.01,
    scaled: Wrt = None,
    num_steps: int = 1,
    wrt: Wrt = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Wrap an optax transformation in SAM or ASAM: it is given the gradients at the worst points nearby.

    .. math:: u = \text{base}\bigl(\nabla L(w + a)\bigr), \quad a \text{ from } \nabla L(w) \text{ as in `sam_gradient`}

    Call ``update(gradient, state, params, grad_fn=grad_fn)`` with the gradient at ``params``, which was computed with
    the loss and the statistics of a BatchNorm, and the function ``grad_fn(params) -> gradient`` that gives it; it is
    asked once more, at the moved parameters. Weight decay and whatever else sits in ``base`` stays out of the shift.

    *Inside of optax.* In an ``optax.chain`` it is best the whole chain that is wrapped,
    ``sam_transform(optax.chain(...))``: what stands before it would change the direction, and clip the gradient at
    ``params`` but not the one at the moved parameters; behind ``optax.identity()`` wrapped at the head of a chain the
    rest sees the moved gradients too. ``optax.apply_if_finite(base, 5)`` is wrapped as well: it looks at what it is
    given, so that an overflow at the moved parameters skips the step, and leaves the moments whole.
    ``optax.MultiSteps(base, k)`` is wrapped where every micro-batch is to have a shift of its own, which is SAM with
    ``k`` groups. Around ``sam_transform`` it hands on the mean of the gradients of all micro-batches, and ``grad_fn``
    must then give that mean too, of all of them. ``optax.masked`` and ``optax.partition`` hide leaves of ``params``
    from what they hold, but ``grad_fn`` needs all: pass ``whole=params`` beside it.

    Args:
        base: The optax transformation, or ``optax.MultiSteps``, that is given the gradients.
        radius: The length of the shift, zero or more; may be traced.
        every: At how many steps there is one of SAM, the first one too; a Python integer. The others hand on the plain
            gradient and do not call ``grad_fn``.
        adaptive: ``False`` for SAM, ``True`` for ASAM.
        offset: What ASAM adds to the magnitude of each weight.
        scaled: Which leaves ASAM scales by their magnitude, written as ``wrt`` is.
        num_steps: How many steps of ``radius / num_steps`` lead up.
        wrt: Which leaves are moved: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The gradient of the others is the one beside the moved leaves. More in ``help(jaxgrad)``.

    Returns:
        The transformation. Its state is a `SAMTransformState` with ``step`` and ``base``.

    Raises:
        ValueError: If ``radius`` or ``offset`` is negative, ``every`` or ``num_steps`` below 1; and in ``update`` if
            ``params`` is missing, hides leaves and there is no ``whole``, or the gradients are not like it.
        TypeError: If ``base`` is no transformation, or ``every`` or ``num_steps`` no Python integer; and in ``update``
            if ``grad_fn`` is no function, or the state is another's.

    Cost:
        ``num_steps`` calls of ``grad_fn`` at a step of SAM, beside the gradient that is given.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(w**2)
        >>> sam = jaxgrad.shift.sam_transform(optax.sgd(1.0), radius=0.5)
        >>> w, grad_fn = jnp.array([3.0, 4.0]), jax.grad(loss)
        >>> update, state = sam.update(grad_fn(w), sam.init(w), w, grad_fn=grad_fn)
        >>> [round(x, 4) for x in update.tolist()], state.step.item()
        ([-3.3, -4.4], 1)

    References:
        Foret et al. (2021), Sharpness-aware minimization for efficiently improving generalization, ICLR, algorithm 1.
    """
    for name, value in (("radius", radius), ("offset", offset)):
        _check.number(value, name)
        _check.non_negative(value, name)
    counts = _check.count(every, "every", least=1), _check.count(num_steps, "num_steps", least=1)
    options = _Options(radius, counts[0], adaptive, offset, scaled, counts[1], wrt)
    inner = optax.with_extra_args_support(_check.optimizer(base, "base"))

    def init(params: Params) -> SAMTransformState:
        return SAMTransformState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: Any,
        state: SAMTransformState,
        params: Any = None,
        *,
        grad_fn: Any = None,
        whole: Any = None,
        **extra: Any,
    ) -> tuple[Any, SAMTransformState]:
        _refuse_misuse(updates, state, params, grad_fn, whole)
        slope = _slope(options, updates, state.step, params, _of_all(grad_fn, whole))
        found, base_state = inner.update(slope, state.base, params, **extra)
        return found, SAMTransformState(state.step + 1, base_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _slope(options: _Options, slope: Params, step: Array, params: Params, slope_at: Callable[[Tree], Tree]) -> Params:
    """Return the gradient at the worst point, or at every other step the one that there is."""

    def sharp(slope: Params) -> Params:
        found = slope_at(_worst(options, slope, params, slope_at))
        return jax.tree.map(lambda g, like: g.astype(jnp.result_type(like)), found, slope)

    if options.every == 1:
        return sharp(slope)
    # the two branches must differ over the same axes of a mesh
    axes = _sharding.varying(jax.eval_shape(sharp, slope)) | _sharding.varying(slope)
    branches = [lambda given, branch=branch: _sharding.vary(branch(given), axes) for branch in (sharp, lambda s: s)]
    return lax.cond(step % options.every == 0, *branches, slope)


def _worst(options: _Options, slope: Params, params: Params, slope_at: Callable[[Tree], Tree]) -> Params:
    """Return the moved parameters, those of 16 bits in float32."""
    moved = _tree.held(lambda p: p, params, options.wrt)
    start = _tree.widened(moved.active)

    def of_moved(point: Tree) -> Tree:
        return lax.stop_gradient(moved.pick(slope_at(moved.embed(point, lambda leaf: leaf))))

    metric = None
    if options.adaptive:
        by_size = jax.tree.unflatten(jax.tree.structure(params), _tree.selected(params, options.scaled, "scaled"))
        metric = sizes(options.offset, jax.tree.leaves(moved.pick(by_size)), moved.active)
    shift = climb(of_moved, start, moved.pick(slope), metric, options.radius, options.num_steps)
    return moved.embed(_tree.add(start, shift), lambda leaf: leaf)


def _is_hidden(node: Any) -> bool:
    """Say whether a node stands for what optax hides."""
    return isinstance(node, optax.MaskedNode)


def _of_all(grad_fn: Callable[[Any], Any], whole: Any) -> Callable[[Tree], Tree]:
    """Return ``grad_fn`` as a function of the leaves that are not hidden, after a look at what it returns."""

    def slope_at(point: Tree) -> Tree:
        at = point if whole is None else jax.tree.map(_seen, point, whole, is_leaf=_is_hidden)
        found = grad_fn(at)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.float32), at)
        got = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.float32), found)
        _check.mirrors(**{"params": like, "the result of grad_fn": got})
        if whole is None:
            return found
        return jax.tree.map(lambda p, g: p if _is_hidden(p) else g, point, found, is_leaf=_is_hidden)

    return slope_at


def _seen(leaf: Any, whole: Any) -> Any:
    """Return what is behind a leaf: its part of the whole tree where it is hidden."""
    return whole if _is_hidden(leaf) else leaf


def _refuse_misuse(updates: Any, state: Any, params: Any, grad_fn: Any, whole: Any) -> None:
    """Refuse arguments of ``update`` that are missing, or do not belong together.

    Raises:
        ValueError: If ``params`` is missing or hides leaves, or the gradients are not like it.
        TypeError: If ``grad_fn`` is no function, or the state is another's.
    """
    if params is None:
        message = "params must be given, since they are moved: update(gradient, state, params, grad_fn=grad_fn)"
        raise ValueError(message)
    if not callable(grad_fn):
        message = (
            "grad_fn must be the function of params whose gradient is given, such as grad_fn=jax.grad(lambda p:"
            f" loss(p, x, y)); got {'nothing' if grad_fn is None else _check.describe(grad_fn)}"
        )
        raise TypeError(message)
    _check.state(state, SAMTransformState, "init(params)")
    if whole is None and any(map(_is_hidden, jax.tree.leaves(params, is_leaf=_is_hidden))):
        message = (
            "params has leaves that optax.masked or optax.partition hides, and grad_fn needs all of them: pass the"
            " whole tree too, update(gradient, state, params, grad_fn=grad_fn, whole=params), or wrap the mask instead,"
            " sam_transform(optax.masked(base, mask))"
        )
        raise ValueError(message)
    _check.mirrors(params=_tree.widened(params), updates=_tree.widened(updates))
