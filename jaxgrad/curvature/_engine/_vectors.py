"""The vectors that a matrix is multiplied by: one, or several along a leading axis."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Tree
from jaxgrad._uses._batch import one_of
from jaxgrad.curvature._engine._loops import convolves, in_a_loop

__all__ = ["Vectors", "apart", "checked", "count_of"]


class Vectors(NamedTuple):
    """One vector, or several."""

    tree: Tree
    """The vector; several have one more leading axis on every leaf."""
    number: int | None
    """How many there are along that axis; ``None`` for one vector without it."""
    chunk: int | None
    """How many are multiplied at once; ``None`` for as many as are fast."""

    def each(self, times: Callable[[Tree], Tree]) -> Tree:
        """Apply a map of one vector to each, ``chunk`` at once; the last ones that are fewer by themselves."""
        if self.number is None:
            return times(self.tree)
        chunk = self.chunk
        if chunk is None:
            # XLA for CPUs is slower at the convolutions of many vectors together than at one after another
            chunk = 1 if jax.default_backend() == "cpu" and convolves(times, one_of(self.tree)) else self.number
        if chunk >= self.number:
            return jax.vmap(times)(self.tree)
        whole = self.number // chunk
        parts = jax.tree.map(lambda leaf: leaf[: whole * chunk].reshape(whole, chunk, *leaf.shape[1:]), self.tree)
        done = lax.map(in_a_loop(jax.vmap(times)), parts)
        done = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), done)
        if whole * chunk == self.number:
            return done
        rest = jax.vmap(times)(jax.tree.map(lambda leaf: leaf[whole * chunk :], self.tree))
        return jax.tree.map(lambda *halves: jnp.concatenate(halves), done, rest)


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
        if fits and lengths == {0}:
            message = f"{name} holds no vector: its leading axis has length 0; leave the call out"
            raise ValueError(message)
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
