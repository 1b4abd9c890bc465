"""What is known of a factorised curvature when it is traced: its leaves, and how each is held."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Params, Tree, Wrt
from jaxgrad._uses._table import lines_of
from jaxgrad.curvature._engine import _vectors
from jaxgrad.curvature._engine._factor_sums import LeafForm

__all__ = ["About", "about_of"]

PARAMS = "the params of the factors"
"""What a vector is held against, in messages."""


class About(NamedTuple):
    """What is known of a curvature when it is traced."""

    structure: Any
    """The structure of ``params``."""
    kinds: tuple[tuple[tuple[int, ...], Any], ...]
    """The shapes and dtypes of all leaves of ``params``."""
    chosen: tuple[bool, ...]
    """Which of them count."""
    leaves: tuple[LeafForm, ...]
    """Those that count."""
    approximation: str
    """``expand`` or ``reduce``."""

    def form(self, path: str) -> int:
        """Return the place of a leaf.

        Raises:
            ValueError: If there is none of that path.
        """
        paths = [leaf.path for leaf in self.leaves]
        if path not in paths:
            message = f"path={path!r} is no leaf that counts; they are {', '.join(paths)}"
            raise ValueError(message)
        return paths.index(path)

    def pick(self, tree: Tree) -> list[Any]:
        """Return the leaves that count of a tree like ``params``, after refusing one that does not mirror them.

        Raises:
            ValueError: With every leaf that is missing, not expected or of another shape or dtype.
        """
        _check.mirrors(**{PARAMS: self._params(), "params": tree})
        return self._counting(tree)

    def each(self, vector: Tree, times: Callable[[list[Array]], list[Array]]) -> Tree:
        """Apply a map of the leaves that count to a vector, or to each of several; see `_vectors`.

        Raises:
            ValueError: If ``vector`` mirrors ``params`` neither way.
        """
        number = _vectors.count_of(self._params(), vector, of=PARAMS)
        return _vectors.Vectors(vector, number, number).each(lambda one: self.embed(times(self._counting(one))))

    def _counting(self, tree: Tree) -> list[Any]:
        """Return the leaves that count of a tree that mirrors ``params``."""
        return [leaf for leaf, keep in zip(jax.tree.leaves(tree), self.chosen, strict=True) if keep]

    def _params(self) -> Tree:
        """Return the shapes and dtypes of ``params``."""
        return self.structure.unflatten([jax.ShapeDtypeStruct(*kind) for kind in self.kinds])

    def embed(self, parts: list[Array]) -> Tree:
        """Return a tree like ``params``, zero on the leaves that do not count."""
        source = iter(parts)
        pairs = zip(self.chosen, self.kinds, strict=True)
        return self.structure.unflatten([next(source) if keep else jnp.zeros(*kind) for keep, kind in pairs])

    def table(self) -> str:
        """Return a line a leaf: what it gets, and why."""
        head = ("leaf", "shape", "held as", "factors", "why")
        lines = [(x.path, str(x.shape), x.form, _sizes(x), x.why) for x in self.leaves]
        return "\n".join(lines_of(head, *lines))

    def differences(self, other: "About") -> list[str]:
        """Say, a line each, why sums over examples do not add up to those of one curvature; nothing where they do.

        How many terms an example has may differ from batch to batch: a mean over all terms is one over those of both.
        """
        mine, others = ({leaf.path: _bare(leaf) for leaf in about.leaves} for about in (self, other))
        lines = [
            f"{path}: {_described(mine.get(path))} and {_described(others.get(path))}"
            for path in dict.fromkeys((*mine, *others))
            if mine.get(path) != others.get(path)
        ]
        if self.approximation != other.approximation:
            lines.append(f'approximation: "{self.approximation}" and "{other.approximation}"')
        if not lines and self[:3] != other[:3]:
            lines.append("the leaves of params that do not count")
        return lines

    def joined(self, other: "About") -> "About":
        """Return what is known of the sum with another curvature, which may differ in its numbers of terms."""
        pairs = zip(self.leaves, other.leaves, strict=True)
        return self._replace(leaves=tuple(one if one == two else _of_any_number(one) for one, two in pairs))


def about_of(params: Params, wrt: Wrt, leaves: tuple[LeafForm, ...], approximation: str) -> About:
    """Return what is known of the curvature of some parameters."""
    every, structure = jax.tree.flatten(params)
    kinds = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in every)
    return About(structure, kinds, tuple(_tree.selected(params, wrt)), leaves, approximation)


def _sizes(form: LeafForm) -> str:
    """Return the sizes of the arrays that are held of a leaf."""
    if form.form != "kronecker":
        return ""
    groups, *sides = form.sizes
    shown = [f"{n} x {n}" if whole else f"{n}" for n, whole in zip(sides, form.whole, strict=True)]
    return f"{groups} groups of " * (groups > 1) + ", ".join(shown)


def _bare(form: LeafForm) -> LeafForm:
    """Return the form of a leaf without its number of terms."""
    return form._replace(terms=None, why="")


def _of_any_number(form: LeafForm) -> LeafForm:
    """Return the form of a leaf whose examples have different numbers of terms."""
    _, sign, rest = form.why.partition(";")
    return _bare(form)._replace(why="uses and terms that differ from batch to batch" + sign + rest)


def _described(form: LeafForm | None) -> str:
    """Return a leaf as a message shows it, without its path."""
    if form is None:
        return "nothing"
    ways = " used both ways round" * (len(form.swapped) == 2) + " with its columns entering" * (form.swapped == (True,))
    return f"{_check.describe(form)} as {form.form} {_sizes(form)}{ways}".rstrip()
