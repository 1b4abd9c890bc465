"""The vectors that a matrix is multiplied by: one, or several along a leading axis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._types import Tree

__all__ = ["Vectors", "apart", "checked", "count_of"]

UNROLLED = 16
"""Up to how many turns of a loop over chunks are written out where there are convolutions in it.

XLA for CPUs is several times slower at a convolution inside of a loop, and a program grows with every turn.
"""


class Vectors(NamedTuple):
    """One vector, or several."""

    tree: Tree
    """The vector; several have one more leading axis on every leaf."""
    count: int | None
    """How many there are along that axis; ``None`` for one vector without it."""
    chunk: int | None
    """How many are multiplied at once; ``None`` for all."""

    def each(self, times: Callable[[Tree], Tree]) -> Tree:
        """Apply a map of one vector to each, ``chunk`` at once."""
        if self.count is None:
            return times(self.tree)
        if self.chunk is None or self.chunk >= self.count:
            return jax.vmap(times)(self.tree)
        turns = -(-self.count // self.chunk)
        if turns <= UNROLLED and _convolves(times, _tree.take(self.tree, 0)):
            return self._one_after_another(times)
        return lax.map(times, self.tree, batch_size=self.chunk)

    def _one_after_another(self, times: Callable[[Tree], Tree]) -> Tree:
        """Write the turns out; each waits for the one before, so that no two hold their memory at one time."""
        assert self.count is not None, "several vectors"
        assert self.chunk is not None, "in chunks"
        done: list[Tree] = []
        for start in range(0, self.count, self.chunk):
            part = jax.tree.map(lambda leaf, start=start: leaf[start : start + self.chunk], self.tree)
            if done:
                part, done[-1] = lax.optimization_barrier((part, done[-1]))
            done.append(jax.vmap(times)(part))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *done)


def _convolves(times: Callable[[Tree], Tree], vector: Tree) -> bool:
    """Say whether there is a convolution in a function."""
    program = jax.make_jaxpr(times)(vector)
    return _jaxpr.contains(program.jaxpr, lambda eqn: eqn.primitive.name == "conv_general_dilated")


def apart(point: Tree, direction: Tree, cache: bool) -> tuple[Tree, Tree]:
    """Return a point and a vector; without ``cache`` XLA may compute nothing of the one before it has the other.

    Inside of a loop over vectors XLA would else compute what depends on the point alone once, in front of the loop, and
    hold it all the time.
    """
    return (point, direction) if cache else lax.optimization_barrier((point, direction))


def count_of(params: Tree, vector: Tree, name: str = "vector", of: str = "params") -> int | None:
    """Return how many vectors there are; ``None`` where ``vector`` mirrors ``params`` as it is.

    Raises:
        ValueError: If it does neither mirror ``params`` nor hold several trees that do; with every leaf that differs.
    """
    wanted = dict(jtu.tree_leaves_with_path(params))
    found = dict(jtu.tree_leaves_with_path(vector))
    if set(wanted) == set(found) and wanted and all(jnp.ndim(found[p]) == jnp.ndim(x) + 1 for p, x in wanted.items()):
        lengths = {jnp.shape(leaf)[0] for leaf in found.values()}
        rows = {path: jnp.shape(leaf)[1:] for path, leaf in found.items()}
        fits = all(
            rows[path] == jnp.shape(leaf) and jnp.result_type(found[path]) == jnp.result_type(leaf)
            for path, leaf in wanted.items()
        )
        if fits and len(lengths) == 1:
            return lengths.pop()
        if fits:
            lines = [f"{_check.locate(name, path)}: got {_check.describe(leaf)}" for path, leaf in found.items()]
            message = "\n  ".join(
                [f"{name} holds several vectors, whose leading axis must have one length on every leaf:", *lines]
            )
            raise ValueError(message)
    _check.mirrors(**{of: params, name: vector})
    return None


def checked(
    subset: _tree.Subset, params: Tree, vector: Tree, data: tuple[Any, ...], axis_name: Any, chunk: int | None
) -> tuple[Tree, Vectors]:
    """Check the vector or vectors against ``params``, and return the point and them, typed and laid out alike.

    Raises:
        ValueError: If ``vector`` fits neither way, or ``chunk`` is below 1.
        TypeError: If ``chunk`` is no Python integer.
    """
    count = count_of(params, vector)
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    tree = subset.pick(_sharding.replicated(vector, axis_name))
    if count is None:
        point, direction = _sharding.along(subset.fun, subset.active, tree, *data)
        return point, Vectors(direction, None, None)
    point, first = _sharding.along(subset.fun, subset.active, _tree.take(tree, 0), *data)
    laid_out = jax.vmap(lambda one: jax.tree.map(_sharding.like, one, first))(tree)
    return point, Vectors(laid_out, count, chunk)
