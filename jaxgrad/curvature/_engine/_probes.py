"""Random directions, and the mean of what is measured along them with its standard error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, Key, Params, Tree
from jaxgrad.curvature._engine._symmetric import over_floats

__all__ = ["Probes", "mapped", "probes_of"]


class Probes(NamedTuple):
    """Directions that were given, or keys that draw them one by one: they need not all be in memory."""

    source: Any
    """A stack of trees, or an array of keys."""
    draw: Callable[[Any], Tree]
    """Makes a tree like the parameters of one entry of the source."""
    number: int
    chunk: int | None
    """How many are taken at once; ``None`` for all."""

    def mean(self, sample: Callable[[Tree], Tree]) -> tuple[Tree, Tree]:
        """Return the mean of ``sample(probe)``, and its standard error: of independent samples, with ``n - 1``."""

        def of_some(source: Any) -> Tree:
            return jax.vmap(lambda one: sample(self.draw(one)))(source)

        if self.chunk is None or self.chunk >= self.number:
            samples = of_some(self.source)
            mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), samples)
            squares = jax.tree.map(lambda x, m: jnp.sum((x - m[None]) ** 2, axis=0), samples, mean)
        else:
            mean, squares = _in_chunks(of_some, self.source, self.number, self.chunk)
        freedom = self.number * (self.number - 1)
        return mean, jax.tree.map(lambda square: _tree.safe_sqrt(square / freedom), squares)

    def all(self) -> Tree:
        """Return all of them as a stack."""
        return jax.vmap(self.draw)(self.source)

    def parts(self, first: int) -> tuple["Probes", "Probes"]:
        """Return the first ones and the others."""
        sources = (jax.tree.map(lambda x: x[:first], self.source), jax.tree.map(lambda x: x[first:], self.source))
        head, tail = (self._replace(source=source) for source in sources)
        return head._replace(number=first), tail._replace(number=self.number - first)


def probes_of(
    params: Params,
    draw: Callable[[Key, Tree], Tree],
    key: Key | None,
    num_samples: int | None,
    probes: Tree | None,
    chunk: int | None,
    least: int,
) -> Probes:
    """Return the probes that were given, or that a key draws: the part of them that `over_floats` picks.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, there are fewer than ``least``, ``probes`` do
            not mirror ``params`` behind their leading axis, or ``chunk`` is below 1.
    """
    if (key is None) == (probes is None):
        message = "give probes=, the directions themselves, or key= and num_samples=, to draw them: one of the two"
        raise ValueError(message)
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    floats = over_floats(params)
    wide = _tree.widened(floats.active)
    if probes is not None:
        _check.mirrors(**{"params": params, "one of probes": jax.tree.map(lambda leaf: leaf[0], probes)})
        count = _check.count(_check.same_leading(probes=probes), "the number of probes", least=least)
        given = _tree.widened(floats.pick(probes))
        return Probes(given, lambda one: jax.tree.map(_sharding.like, one, wide), count, chunk)
    assert key is not None, "one of the two"
    _check.key(key, "key")
    count = _check.count(num_samples, "num_samples", least=least)
    return Probes(jax.random.split(key, count), lambda one: draw(one, wide), count, chunk)


def mapped(fun: Callable[[Tree], Tree], stack: Tree, chunk: int | None) -> Tree:
    """Apply a function to every tree of a stack, ``chunk`` at once."""
    if chunk == 1:
        # not a batch of one: along axes that are Explicit a choice within a batch has no layout
        return lax.map(fun, stack)
    return jax.vmap(fun)(stack) if chunk is None else lax.map(fun, stack, batch_size=chunk)


def _in_chunks(of_some: Callable[[Any], Tree], source: Any, count: int, chunk: int) -> tuple[Tree, Tree]:
    """Return the mean of samples and the sum of squares about it, from one chunk after another.

    Means are joined as Chan, Golub and LeVeque have it: nothing is cancelled where samples differ little.
    """
    turns = -(-count // chunk)
    # the last chunk is filled with what is there already, at weight zero
    order = (jnp.arange(turns * chunk) % count).reshape(turns, chunk)
    weights = (jnp.arange(turns * chunk) < count).reshape(turns, chunk)
    # only how they look is used, and XLA computes none of it: they lie over devices as samples do
    zeros = jax.tree.map(lambda x: jnp.zeros_like(x[0]), of_some(jax.tree.map(lambda x: x[:chunk], source)))

    def step(carry: tuple[Tree, Tree, Array], turn: tuple[Array, Array]) -> tuple[tuple[Tree, Tree, Array], None]:
        mean, squares, seen = carry
        here, weight = turn
        samples, there = of_some(jax.tree.map(lambda x: x[here], source)), jnp.sum(weight)

        def joined(m: Array, s: Array, x: Array) -> tuple[Array, Array]:
            w = weight.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
            own = jnp.sum(w * x, axis=0) / there.astype(x.dtype)
            apart, part = own - m, (there / (seen + there)).astype(x.dtype)
            inside = jnp.sum(w * (x - own[None]) ** 2, axis=0)
            return m + part * apart, s + inside + part * seen.astype(x.dtype) * apart**2

        pairs = jax.tree.map(joined, mean, squares, samples)
        mean, squares = jax.tree.transpose(jax.tree.structure(mean), jax.tree.structure((0, 0)), pairs)
        return (mean, squares, seen + there), None

    carry = zeros, zeros, jnp.zeros((), int)
    carry = _sharding.settled(lambda carry, turn: step(carry, turn)[0], carry, (order[0], weights[0]))
    (mean, squares, _), _ = lax.scan(step, carry, (order, weights))
    return mean, squares
