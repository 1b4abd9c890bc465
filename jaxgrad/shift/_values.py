"""Estimates of a gradient from the values of a loss at many shifts: what is not differentiated."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, LossFn, Params, Tree, Wrt
from jaxgrad.shift._averages import Estimate, chunk_of, mean_and_error, over_chunks, sum_of_shifts, weighted_sum
from jaxgrad.shift._samples import Draws, Samples, at_multiples, given_or_drawn, shifted, times

__all__ = ["Values"]


class Values(NamedTuple):
    """A loss, and the shifts at which it is evaluated."""

    subset: _tree.Subset
    params: Params
    samples: Samples
    data: tuple[Any, ...]
    signs: tuple[int, ...]
    """Of the multiples of every shift."""
    counts: tuple[bool, ...]
    """Which leaves of ``params`` count."""
    has_aux: bool

    @classmethod
    def of(
        cls,
        loss_fn: LossFn,
        params: Params,
        shifts: Tree,
        data: tuple[Any, ...],
        draws: Draws,
        wrt: Wrt,
        axis_name: AxisName,
        has_aux: bool,
        signs: tuple[int, ...],
    ) -> Values:
        """Check the arguments that the estimators share."""
        _check.differentiable(params=_tree.held(loss_fn, params, wrt).active)
        # where the loss is that of all devices, so are the shifts that it weighs
        shifts = _sharding.replicated(shifts, axis_name)
        draws = draws._replace(key=_of_all(draws.key, axis_name))
        samples = given_or_drawn(loss_fn, params, shifts, data, draws, wrt, None)
        moved = shifted(loss_fn, has_aux, wide_loss=True)
        subset = _tree.restrict(moved, params, wrt, (samples.first, *data), axis_name, has_aux)
        return cls(subset, params, samples, data, signs, tuple(_tree.selected(params, wrt)), has_aux)

    def losses(self, chunk: int | None) -> tuple[Array, Any]:
        """Return the losses, a row for each shift, in float32 at the least; and aux, likewise."""

        def at(shift: Tree) -> tuple[Array, Any]:
            value, aux = self.subset.pair(self.subset.active, shift, *self.data)
            return value.astype(_tree.accumulator(value.dtype)), aux

        def of_one(source: Any) -> Any:
            return at_multiples(at, self.samples.draw(source), self.signs)

        size = self.chunk(chunk)

        def step(sources: Any, _: Array) -> tuple[Tree, Any]:
            if size == 1:
                # not a batch of one: along axes that are Explicit a choice within a batch has no layout
                return (), jax.tree.map(lambda x: x[None], of_one(_tree.take(sources, 0)))
            return (), jax.vmap(of_one)(sources)

        return over_chunks(step, self.samples.source, self.samples.number, size)[1]

    def chunk(self, chunk: int | None) -> int:
        """Return how many shifts are taken at once."""
        return chunk_of(self.samples, chunk)

    def clean(self) -> Array:
        """Return the loss where nothing is shifted."""
        still = times(self.samples.first, 0)
        return self.subset.fun(self.subset.active, still, *self.data)

    def result(self, weights: Array, losses: Array, aux: Any, chunk: int | None, full_output: bool) -> Any:
        """Return the mean of the shifts times their weights as an estimate, with aux beside it where there is one."""
        number = self.samples.number
        if not full_output:
            found: Any = self.like_params(weighted_sum(self.samples, weights / number, self.chunk(chunk)))
        elif number < 2:
            message = "full_output=True has a standard error, for which there must be two shifts or more; got 1"
            raise ValueError(message)
        else:
            mean, error, _ = mean_and_error(self.term, (self.samples.source, weights), number)
            found = Estimate(self.like_params(mean), self.like_params(error, narrow=False), jnp.mean(losses))
        joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), aux)
        return (found, joined) if self.has_aux else found

    def term(self, row: Any) -> tuple[Tree, Any]:
        """Return one shift times its weight."""
        source, weight = row
        stack = jax.tree.map(lambda x: x[None], self.samples.draw(source))
        return sum_of_shifts(stack, weight[None]), ()

    def like_params(self, tree: Tree, narrow: bool = True) -> Tree:
        """Give what is known of some leaves the form of ``params``: zeros elsewhere, and where none counts."""
        known = dict(jtu.tree_leaves_with_path(tree))
        leaves, treedef = jtu.tree_flatten_with_path(self.params)
        structure: Any = treedef

        def of(path: Any, leaf: Any, counts: bool) -> Any:
            floats = _check.is_real_float(leaf)
            dtype = leaf.dtype if narrow or not floats else _tree.accumulator(leaf.dtype)
            return known[path].astype(dtype) if counts and path in known else jnp.zeros(leaf.shape, dtype)

        return structure.unflatten([of(*leaf, counts) for leaf, counts in zip(leaves, self.counts, strict=True)])


def _of_all(key: Any, axis_name: AxisName) -> Any:
    """Take the first device's random key for all along ``axis_name``."""
    if key is None or axis_name is None:
        return key
    _check.key(key, "key")
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return _sharding.replicated(key, axis_name)
    words = _sharding.replicated(jax.random.key_data(key), axis_name)
    return jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))
