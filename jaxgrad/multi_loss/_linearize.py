"""One forward, linearised: what every backward starts from.

The derivative of the losses at the parameters is a linear program, traced once. The gradient of a loss is the
transpose of the part of that program which the loss needs, so a backward does no work for the other losses, their
NaN does not reach it, and the leaves that the part does not read are those that the loss does not touch.
"""

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._jaxpr import ClosedJaxpr, Jaxpr
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._entry import entry

__all__ = ["Linearized", "Slope", "linearize", "start_at", "transposed"]

Slope = Array | None
"""A gradient by one leaf; ``None`` where the loss does not touch it."""


@dataclass(frozen=True)
class Linearized:
    """The losses at some parameters, and their derivative."""

    losses: Tree
    """The losses, as the user's function returned them."""
    aux: Tree
    """What it returned beside them."""
    leaves: list[Array]
    """The leaves of the parameters."""
    linear: ClosedJaxpr
    """Maps tangents of the leaves to those of the losses: a scalar for each, or an array that was computed as a whole
    for several."""
    cast: list[frozenset[Hashable]]
    """The mesh axes over which each leaf was cast to differ, so that its gradient is the device's own."""
    axis_name: AxisName
    """Where the losses and the gradients are means over devices."""

    @property
    def sizes(self) -> list[int]:
        """Return how many losses each result of the program holds."""
        return [aval.size for aval in self.linear.out_avals]

    @property
    def starts(self) -> list[int]:
        """Return the first loss of each result."""
        return [0, *itertools.accumulate(self.sizes)][:-1]

    @property
    def count(self) -> int:
        """Return the number of losses."""
        return sum(self.sizes)

    @property
    def names(self) -> list[str]:
        """Return what to call each loss in a message."""
        if _losses.is_array(self.losses):
            return [f"losses[{k}]" for k in range(self.count)]
        return [_check.locate("losses", path) for path, _ in jtu.tree_leaves_with_path(self.losses)]

    def is_whole(self, result: int) -> bool:
        """Say whether a result holds the entries of an array that is computed as a whole."""
        return self.linear.out_avals[result].shape != ()

    def own(self, result: int) -> frozenset[Hashable]:
        """Return the mesh axes over which a result differs from device to device."""
        return _sharding.varying(self.linear.out_avals[result])

    def loss(self, k: int) -> Array:
        """Return the value of loss ``k``."""
        return self.losses[k] if _losses.is_array(self.losses) else jax.tree.leaves(self.losses)[k]

    def touches(self, k: int) -> list[bool]:
        """Say of every leaf whether loss ``k`` depends on it, judged by the program and not by numbers."""
        return self._part(self._place(k)[0])[1]

    def row(self, k: int) -> list[Array]:
        """Return the gradient of loss ``k`` by leaf; zeros where the loss does not touch a leaf."""
        slopes = enumerate(self.slopes(k))
        return [self.untouched(k, i) if slope is None else slope for i, slope in slopes]

    def slopes(self, k: int) -> list[Slope]:
        """Return the gradient of loss ``k`` by leaf."""
        result, place = self._place(k)
        if self.is_whole(result):
            return self.over_devices(result, self.pull_back_entry(result, place))
        return self.over_devices(result, self.pull_back([result], [jnp.ones((), self.linear.out_avals[result].dtype)]))

    def untouched(self, k: int, i: int) -> Array:
        """Return the zeros of leaf ``i`` in the row of loss ``k``."""
        zeros: list[Slope] = [jnp.zeros_like(leaf) if i == j else None for j, leaf in enumerate(self.leaves)]
        (found,) = [slope for slope in self.over_devices(self._place(k)[0], zeros) if slope is not None]
        return found

    def combined(self, weights: Array) -> list[Array]:
        """Return the gradient of the weighted sum of the losses by leaf: one backward."""
        groups: dict[Any, list[int]] = {}
        for result in range(len(self.sizes)):
            groups.setdefault(self.own(result), []).append(result)
        unit = self._unit(weights)
        seeds = weights if unit is None else weights / unit
        found = [
            self.over_devices(results[0], self.pull_back(results, self._seeds(results, seeds)))
            for results in groups.values()
        ]
        if unit is not None:
            found = [[None if slope is None else _tree.scale(slope, unit) for slope in slopes] for slopes in found]
        return [
            sum(slopes[1:], slopes[0]) if (slopes := [s for s in column if s is not None]) else self.untouched(0, i)
            for i, column in enumerate(zip(*found, strict=True))
        ]

    def over_devices(self, result: int, slopes: Sequence[Slope]) -> list[Slope]:
        """Sum over the devices that share a loss, where the user has reduced it, and take the mean asked for."""

        def whole(slope: Array, cast: frozenset[Hashable]) -> Array:
            shared: Any = tuple(cast - self.own(result))
            return _sharding.mean_over(_sharding.sum_over(slope, shared), self.axis_name)

        pairs = zip(slopes, self.cast, strict=True)
        return [None if slope is None else whole(slope, cast) for slope, cast in pairs]

    def pull_back(self, results: Sequence[int], seeds: Sequence[Array]) -> list[Slope]:
        """Transpose the part of some results, which vary over the same axes."""
        seeds = [_sharding.vary(seed, self.own(results[0])) for seed in seeds]
        jaxpr = self.linear.jaxpr
        part = _jaxpr.restricted(jaxpr, [jaxpr.outvars[result] for result in results])
        return transposed(part, self.linear.consts, self.leaves, seeds)

    def pull_back_entry(self, result: int, place: Any) -> list[Slope]:
        """Transpose what one entry of an array needs; ``place`` may be traced."""
        seed = _sharding.vary(jnp.ones((), self.linear.out_avals[result].dtype), self.own(result))
        part, used = self._part(result)

        def one(*tangents: Array) -> list[Array]:
            return [entry(part, self.linear.consts, tangents, place)]

        return _transposed(one, used, self.leaves, [seed])

    def _place(self, k: int) -> tuple[int, int]:
        """Return which result holds loss ``k``, and where."""
        result = max(r for r, start in enumerate(self.starts) if start <= k)
        return result, k - self.starts[result]

    def _part(self, result: int) -> tuple[Jaxpr, list[bool]]:
        """Return what a result needs of the linear program, and which leaves that reads."""
        return _jaxpr.needed(self.linear.jaxpr, [i == result for i in range(len(self.sizes))])

    def _unit(self, weights: Array) -> Array | None:
        """Return the power of two next to the largest weight where a loss is of float16, which holds none above 65504.

        ``None`` where every loss has a dtype with the range of float32: there the weights are taken as they are.
        """
        if all(jnp.finfo(aval.dtype).maxexp >= jnp.finfo(jnp.float32).maxexp for aval in self.linear.out_avals):
            return None
        return _tree.power_of_two(jnp.max(jnp.abs(weights)))

    def _seeds(self, results: Sequence[int], weights: Array) -> list[Array]:
        """Return the weights of the losses in some results, in the dtypes of the losses."""
        pairs = [(self.starts[result], self.linear.out_avals[result]) for result in results]
        return [weights[k : k + aval.size].reshape(aval.shape).astype(aval.dtype) for k, aval in pairs]


def transposed(jaxpr: Jaxpr, consts: Sequence[Any], like: Sequence[Any], seeds: Sequence[Array]) -> list[Slope]:
    """Pull cotangents of the results of a linear program back to its arguments.

    Args:
        jaxpr: The open program.
        consts: Its constants.
        like: Arrays, or types, of what the arguments are.
        seeds: The cotangents.

    Returns:
        The cotangents of the arguments; ``None`` for those that the program does not read.
    """
    part, used = _jaxpr.needed(jaxpr, [True] * len(jaxpr.outvars))
    return _transposed(lambda *tangents: jax.core.eval_jaxpr(part, consts, *tangents), used, like, seeds)


def _transposed(
    linear: Callable[..., list[Array]], used: Sequence[bool], like: Sequence[Any], seeds: Sequence[Array]
) -> list[Slope]:
    """Transpose a linear function of those arguments that are used."""
    read = [kind for kind, hit in zip(like, used, strict=True) if hit]
    found = iter(jax.linear_transpose(linear, *read)(list(seeds)) if read else ())
    return [next(found) if hit else None for hit in used]


def linearize(
    losses_fn: Callable[..., Any], params: Params, *data: Any, axis_name: AxisName = None, has_aux: bool = False
) -> Linearized:
    """Evaluate the losses once, and keep their derivative with respect to ``params``."""
    fun = _losses.checked(losses_fn, has_aux)
    given, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    leaves = jax.tree.leaves(_sharding.own(lambda *args: fun(*args)[0], params, *data))
    cast = [_sharding.varying(leaf) - _sharding.varying(start) for leaf, start in zip(leaves, given, strict=True)]
    losses, push, aux = jax.linearize(lambda *xs: fun(structure.unflatten(xs), *data), *leaves, has_aux=True)
    linear = jax.make_jaxpr(lambda *ts: jax.tree.leaves(push(*ts)))(*leaves)
    _jaxpr.refuse_refs(linear.jaxpr, "losses_fn")
    # a call would hide from the losses what they share, and what each has for itself
    linear = jax.make_jaxpr(lambda *ts: _inlined(linear, ts))(*leaves)
    if _losses.is_array(losses):
        linear = _unstacked(linear, leaves)
    return Linearized(_sharding.mean_over(losses, axis_name), aux, leaves, linear, cast, axis_name)


def start_at(
    losses_fn: Callable[..., Any], params: Params, data: tuple[Any, ...], wrt: Wrt, axis_name: AxisName, has_aux: bool
) -> tuple[_tree.Subset, Linearized]:
    """Linearise at the leaves that count, after refusing those that cannot be differentiated."""
    subset = _tree.held(losses_fn, _sharding.replicated(params, axis_name), wrt)
    _check.differentiable(params=subset.active)
    return subset, linearize(subset.fun, subset.active, *data, axis_name=axis_name, has_aux=has_aux)


def _inlined(linear: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """Evaluate a program with the bodies of its calls in their places."""

    def operate(eqn: _jaxpr.JaxprEqn, values: list[Any]) -> list[Any]:
        body = _jaxpr.call(eqn)
        return _jaxpr.bind(eqn, *values) if body is None else _inlined(body, values)

    return _jaxpr.evaluate(linear.jaxpr, linear.consts, args, operate)


def _unstacked(linear: ClosedJaxpr, leaves: list[Array]) -> ClosedJaxpr:
    """Return a program of one array with the parts that the array is joined from for results: scalars where they are.

    Where the array is not joined from parts it is the only result, as before.
    """
    (out,) = linear.jaxpr.outvars
    made = [eqn for eqn in linear.jaxpr.eqns if any(var is out for var in eqn.outvars)]
    if not made or made[0].primitive.name not in ("stack", "concatenate"):
        return linear
    parts = _jaxpr.ClosedJaxpr(_jaxpr.restricted(linear.jaxpr, made[0].invars), linear.consts)

    def apart(*tangents: Array) -> list[Array]:
        found = jax.core.eval_jaxpr(parts.jaxpr, parts.consts, *tangents)
        return [x.reshape(()) if x.size == 1 else x for x in found if x.size]

    return jax.make_jaxpr(apart)(*leaves)
