"""The mean of the gradients at several shifts."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Key, T, Tree, Ts, Wrt
from jaxgrad.shift import _wide
from jaxgrad.shift._averages import Estimate, chunk_of, mean_and_error, over_chunks
from jaxgrad.shift._samples import Draws, Samples, at_multiples, given_or_drawn, shifted, times

__all__ = ["expected_gradient"]


@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
    rank: int | None = None,
    antithetic: bool = False,
    per_example: bool = False,
    chunk: int | None = None,
    unroll: bool = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...


@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
    rank: int | None = None,
    antithetic: bool = False,
    per_example: bool = False,
    chunk: int | None = None,
    unroll: bool = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...


@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[False] = False,
    key: Key | None = None,
    num_samples: int | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
    rank: int | None = None,
    antithetic: bool = False,
    per_example: bool = False,
    chunk: int | None = None,
    unroll: bool = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Estimate[T]: ...


@overload
def expected_gradient(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: Literal[True],
    key: Key | None = None,
    num_samples: int | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
    rank: int | None = None,
    antithetic: bool = False,
    per_example: bool = False,
    chunk: int | None = None,
    unroll: bool = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Estimate[T], Aux]: ...


@jit(
    "loss_fn",
    "has_aux",
    "num_samples",
    "distribution",
    "rank",
    "antithetic",
    "per_example",
    "chunk",
    "unroll",
    "full_output",
    "wrt",
    "axis_name",
    non_negative=("scale",),
)
def expected_gradient(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    shifts: Tree,
    *data: *Ts,
    has_aux: bool = False,
    key: Key | None = None,
    num_samples: int | None = None,
    distribution: Literal["normal", "uniform"] = "normal",
    scale: ArrayLike | Tree = 1.0,
    rank: int | None = None,
    antithetic: bool = False,
    per_example: bool = False,
    chunk: int | None = None,
    unroll: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Average the gradients of a loss at several shifted parameters.

    .. math:: g = \frac{1}{K} \sum_{k=1}^K \nabla L(w + a_k) \approx \mathbb E_a\, \nabla L(w + a)

    The shifts are given, or drawn where they are used, so that never more of them than ``chunk`` are in memory. With
    ``rank`` a weight matrix is shifted by :math:`\sigma A B^\top / \sqrt r`: at every use of it (a product, a lookup, a
    convolution, in a loop or not) two thin products are added to what the weight gives, and neither the shift nor the
    shifted weight is formed. The loss is not edited for that; `explain` says what becomes of each leaf.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, ``w``.
        shifts: The shifts, along a new leading axis of length ``K`` of every leaf, for example from `random_shifts` or
            `low_rank_shifts`. Keys of dictionaries may be absent and leaves or whole nodes ``None``; what is left out
            is not moved. ``None``: they are drawn by ``key``.
        *data: Pytrees handed on to ``loss_fn``, the same at every shift; not differentiated. With ``per_example`` their
            leaves have the examples along the leading axis.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        key: Random key that draws the shifts, of the leaves that count; the k-th has the numbers of `random_shifts`
            with ``num_shifts=1`` for the k-th key of ``jax.random.split(key, K)``.
        num_samples: How many are drawn, ``K``; with ``per_example`` the batch says it.
        distribution: Of what is drawn: ``"normal"`` or ``"uniform"``.
        scale: The standard deviation (normal) or the largest magnitude (uniform) of what is drawn, a number or a traced
            scalar; or, without ``rank``, a tree like ``params`` with one for every entry.
        rank: The rank of normal shifts that are drawn; ``None``: full.
        antithetic: Whether each shift is taken both ways, at ``w + a`` and ``w - a``: ``2 K`` gradients, whose mean has
            no error of odd order in the shift. Any ``K`` does, an odd one too.
        per_example: Whether every example sees a shift of its own: ``loss_fn`` takes ONE example, ``K`` is the length
            of the batch, and the result is the exact mean over (example, shift) pairs. Inside of `jax.shard_map` with
            ``axis_name`` the batch is that of all devices; without it, give every device a key of its own.
        chunk: How many shifts are taken at once. ``None``: all where shifts are of low rank, otherwise one by one.
        unroll: Write the chunks one after the other into the program instead of a loop. Worth it for a convolutional
            network on a CPU, where XLA is several times slower inside a loop; the program, and what it may hold at one
            time, then grow with their number.
        full_output: Whether to return an `Estimate`, with a standard error and the mean loss; each gradient is then
            formed, one shift after the other.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others get zeros; shifts that are given move them too, shifts that are drawn do not.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The mean gradient, with the structure, shapes and dtypes of ``params``; it is summed in float32 at the least.
        With ``full_output`` an `Estimate`, whose error is that of a mean over shifts (with ``antithetic``, over pairs;
        with ``per_example`` it holds the spread of the examples too). With ``has_aux``, ``(result, aux)``: each leaf of
        the aux stacked along a leading axis of shifts, with ``antithetic`` ``w + a`` and ``w - a`` in turns, not
        differentiated; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``shifts`` has no leaf, or one that ``params`` has not, or not with a leading axis of the same
            length in front of that shape; both or none of ``shifts`` and ``key`` are given, ``scale`` beside
            ``shifts``, or ``num_samples`` too many times; ``rank`` meets another distribution or a tree of scales;
            ``full_output`` has one shift, or a ``chunk``; the loss is no scalar, ``wrt`` selects nothing, or
            ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        ``K`` gradients (``2 K`` with ``antithetic``) in the memory of ``chunk`` of them, beside the shifts that are
        given, and a running sum. Of low rank, ``chunk`` shifts have the memory of that many forward passes, and of one
        tree of weights; with ``per_example`` the whole batch has that of its own forward pass.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return w**3
        >>> jaxgrad.shift.expected_gradient(loss, jnp.array(1.0), jnp.array([-1.0, 1.0])).item()
        6.0
        >>> jaxgrad.shift.expected_gradient(loss, jnp.array(1.0), jnp.array([1.0]), antithetic=True).item()
        6.0

    References:
        Graves (2011), Practical variational inference for neural networks, NeurIPS;
        Duchi, Bartlett and Wainwright (2012), Randomized smoothing for stochastic optimization, SIAM J. Optim. 22;
        Wen et al. (2018), Flipout: efficient pseudo-independent weight perturbations on mini-batches, ICLR;
        Sarkar et al. (2025), Evolution strategies at the hyperscale, arXiv:2511.16652 (shifts of low rank).
    """
    _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
    # one that was given is an array here, a traced one too
    if shifts is not None and not isinstance(scale, float):
        message = "shifts are given, and taken as they are: leave out scale, or multiply the shifts by it"
        raise ValueError(message)
    count = _check.batch(data) if per_example else None
    one = tuple(_tree.take(data, 0)) if per_example else data
    draws = Draws(key, num_samples, distribution, scale, rank, axis_name if per_example else None)
    samples = given_or_drawn(loss_fn, params, shifts, one, draws, wrt, count)
    subset = _tree.restrict(shifted(loss_fn, has_aux), params, wrt, (samples.first, *one), axis_name, has_aux)
    problem = _Problem(subset, samples, data, per_example, (1, -1) if antithetic else (1,))
    if full_output:
        gradient, error, value, aux = problem.estimate(chunk)
    else:
        gradient, aux = problem.mean(chunk_of(samples, chunk), unroll)
    cast = subset.embed(_wide.cast(gradient, subset.active))
    result = Estimate(cast, subset.embed(error, _zeros), value) if full_output else cast
    return (result, aux) if has_aux else result


def _zeros(leaf: Any) -> Array:
    """Return zeros for a leaf that does not count, in the dtype of standard errors."""
    return jnp.zeros(jnp.shape(leaf), _tree.accumulator(leaf.dtype) if _check.is_real_float(leaf) else jnp.float32)


class _Problem(NamedTuple):
    """A loss on the leaves that count, and where it is differentiated."""

    subset: _tree.Subset
    samples: Samples
    data: tuple[Any, ...]
    per_example: bool
    signs: tuple[int, ...]
    """Of the multiples of every shift."""

    @property
    def rows(self) -> tuple[Any, ...]:
        """What belongs to each shift: its source, and its example where it has one."""
        return (self.samples.source, *(self.data if self.per_example else ()))

    def losses(self, active: Tree, row: Any) -> tuple[Array, Any]:
        """Return the losses at the multiples of one shift, and their aux."""
        source, *example = row
        data = example or self.data
        return at_multiples(lambda shift: self.subset.pair(active, shift, *data), self.samples.draw(source), self.signs)

    def slope(self, row: Any) -> tuple[tuple[Tree, Array], Any]:
        """Return the sum of the gradients at the multiples of one shift and of the losses, in turns; and aux."""
        source, *example = row
        shift, data = self.samples.draw(source), example or self.data
        grad = jax.value_and_grad(self.subset.pair, has_aux=True)

        def at(shift: Tree) -> tuple[tuple[Tree, Array], Any]:
            (value, aux), slope = grad(self.subset.active, shift, *data)
            # sums are kept in float32 at the least, and a mean of losses is one
            return jax.tree.map(lambda x: x.astype(_tree.accumulator(x.dtype)), (slope, value)), aux

        if len(self.signs) == 1:
            total, aux = at(shift)
            return total, jax.tree.map(lambda x: x[None], aux)

        def step(sign: Any, _: Array) -> tuple[Tree, Any]:
            total, aux = at(times(shift, sign[0]))
            return total, jax.tree.map(lambda x: x[None], aux)

        return over_chunks(step, jnp.array(self.signs), len(self.signs), 1)

    def mean(self, chunk: int, unroll: bool) -> tuple[Tree, Any]:
        """Return the mean of the gradients, and aux."""

        def step(rows: Any, real: Array) -> tuple[Tree, Any]:
            if chunk == 1:
                (slope, _), aux = self.slope(_tree.take(rows, 0))
                return slope, jax.tree.map(lambda x: x[None], aux)

            def total(active: Tree) -> tuple[Array, Any]:
                losses, aux = jax.vmap(lambda row: self.losses(active, row))(rows)
                kept = losses.astype(_tree.accumulator(losses.dtype))
                return jnp.sum(jnp.where(real[:, None], kept, jnp.zeros_like(kept))), aux

            slope, aux = jax.grad(total, has_aux=True)(self.subset.active)
            return jax.tree.map(lambda g: g.astype(_tree.accumulator(g.dtype)), slope), aux

        total, aux = over_chunks(step, self.rows, self.samples.number, chunk, unroll)
        count = self.samples.number * len(self.signs)
        return jax.tree.map(lambda t: t / count, total), self.joined(aux)

    def estimate(self, chunk: int | None) -> tuple[Tree, Tree, Array, Any]:
        """Return the mean of the gradients, its standard error, the mean loss, and aux."""
        if chunk is not None:
            message = "full_output=True forms the gradient at every shift, one after the other: leave out chunk"
            raise ValueError(message)
        if self.samples.number < 2:
            message = "full_output=True has a standard error, for which there must be two shifts or more; got 1"
            raise ValueError(message)

        def term(row: Any) -> tuple[Tree, Any]:
            total, aux = self.slope(row)
            return jax.tree.map(lambda t: t / len(self.signs), total), aux

        (slope, value), (error, _), aux = mean_and_error(term, self.rows, self.samples.number)
        return slope, error, value, self.joined(aux)

    def joined(self, aux: Any) -> Any:
        """Return aux with one axis of shifts, their multiples in turns."""
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aux)
