"""What `kfac` and `ekfac` return: a curvature, leaf by leaf, that is multiplied, inverted and drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad._uses._table import lines_of
from jaxgrad.curvature._engine._factor_sums import LeafForm
from jaxgrad.curvature._engine._leaf_curvature import damped_values, eigen_of, multiplied, normalised, transformed

__all__ = ["About", "DampingStyle", "KroneckerEigen", "KroneckerFactors", "KroneckerPair"]

DampingStyle = Literal["identity", "pi"]
"""``"identity"``: the number is added to the whole block; ``"pi"``: to both factors, by the ratio of their traces."""

STYLES = ("identity", "pi")


class KroneckerPair(NamedTuple):
    """The two factors of one leaf, whose Kronecker product is its block; ``(groups, d, d)``, or diagonals."""

    inputs: Array
    """Of what enters the uses of the leaf: a mean over examples and terms."""
    cotangents: Array
    """Of the cotangents of what leaves them: a mean over examples, a sum over terms."""


class About(NamedTuple):
    """What is known of a curvature when it is traced."""

    structure: Any
    """The structure of ``params``."""
    shapes: tuple[tuple[int, ...], ...]
    """The shapes of all leaves of ``params``."""
    chosen: tuple[bool, ...]
    """Which of them count."""
    leaves: tuple[LeafForm, ...]
    """Those that count."""

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

    def pick(self, vector: Tree) -> list[Any]:
        """Return the leaves of a vector that count, after refusing one that does not mirror ``params``.

        Raises:
            ValueError: With every leaf that is missing, not expected or of another shape.
        """
        places = self.structure.unflatten(range(len(self.shapes)))
        wanted = {path: self.shapes[i] for path, i in jax.tree_util.tree_leaves_with_path(places)}
        found = dict(jax.tree_util.tree_leaves_with_path(vector))
        wrong = [
            f"{_check.locate('vector', path)}: got {_check.describe(found[path]) if path in found else 'nothing'},"
            f" expected the shape {shape}"
            for path, shape in wanted.items()
            if path not in found or jnp.shape(found[path]) != shape
        ]
        wrong += [f"{_check.locate('vector', path)}: not expected" for path in found if path not in wanted]
        if wrong:
            message = "\n  ".join(["vector must have the structure and shapes of the params of the factors:", *wrong])
            raise ValueError(message)
        return [leaf for leaf, keep in zip(jax.tree.leaves(vector), self.chosen, strict=True) if keep]

    def each(self, vector: Tree, times: Callable[[Tree], Tree]) -> Tree:
        """Apply a map of one vector to it, or to each of several, with one more leading axis on every leaf."""
        leaves, structure = jax.tree.flatten(vector)
        shapes = [jnp.shape(leaf) for leaf in leaves]
        several = bool(shapes) and structure == self.structure and all(shapes)
        several = several and all(shape[1:] == own for shape, own in zip(shapes, self.shapes, strict=True))
        return jax.vmap(times)(vector) if several and len({shape[0] for shape in shapes}) == 1 else times(vector)

    def embed(self, parts: list[Array]) -> Tree:
        """Return a tree like ``params``, zero on the leaves that do not count."""
        source = iter(parts)
        pairs = zip(self.chosen, self.shapes, strict=True)
        return self.structure.unflatten([next(source) if keep else jnp.zeros(s, parts[0].dtype) for keep, s in pairs])

    def table(self) -> str:
        """Return a line a leaf: what it gets, and why."""
        head = ("leaf", "shape", "held as", "factors", "why")
        lines = [(x.path, str(x.shape), x.form, _sizes(x), x.why) for x in self.leaves]
        return "\n".join(lines_of(head, *lines))


def _sizes(form: LeafForm) -> str:
    """Return the sizes of the arrays that are held of a leaf."""
    if form.form != "kronecker":
        return ""
    groups, *sides = form.sizes
    shown = [f"{n} x {n}" if whole else f"{n}" for n, whole in zip(sides, form.whole, strict=True)]
    return f"{groups} groups of " * (groups > 1) + ", ".join(shown)


class _Curvature:
    """What the two kinds of curvature share."""

    about: About

    def eigen(self) -> KroneckerEigen:
        """Return the eigenvalues and eigenvectors."""
        raise NotImplementedError

    def explain(self) -> str:
        """Return a table of the leaves: which has Kronecker factors, a block or a diagonal, and why."""
        return self.about.table()

    @jit("damping_style", non_negative=("damping",))
    def inverse_product(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I)^-1 vector``, or several, as `product`; not finite where it is singular."""
        eigen = self.eigen()
        return self.about.each(vector, lambda v: _apply(eigen, v, damping, damping_style, jnp.reciprocal))

    @jit("damping_style", non_negative=("damping",))
    def inverse_square_root(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I)^(-1/2) vector``, with the symmetric root, or several, as `product`."""
        eigen = self.eigen()
        return self.about.each(vector, lambda v: _apply(eigen, v, damping, damping_style, lax.rsqrt))

    @jit("damping_style", non_negative=("damping",))
    def log_determinant(self, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> Array:
        """Return the logarithm of the determinant of ``K + damping I`` over all entries of the leaves that count."""
        values = _values(self.eigen(), damping, damping_style)
        return sum((jnp.sum(jnp.log(v)) for v in values), start=jnp.zeros((), values[0].dtype))

    @jit("damping_style", non_negative=("damping",))
    def sample(self, key: Key, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> Tree:
        """Draw a tree like ``params`` from the normal distribution of mean 0 and covariance ``(K + damping I)^-1``.

        It is the inverse square root of standard normal numbers, zero on the leaves that do not count.
        """
        _check.key(key, "key")
        forms, keys = self.about.leaves, jax.random.split(key, len(self.about.leaves))
        probes = [jax.random.normal(k, f.shape, _tree.accumulator(f.dtype)) for k, f in zip(keys, forms, strict=True)]
        drawn = _apply(self.eigen(), self.about.embed(probes), damping, damping_style, lax.rsqrt)
        parts = self.about.pick(drawn)
        return self.about.embed([part.astype(form.dtype) for part, form in zip(parts, forms, strict=True)])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KroneckerFactors(_Curvature):
    r"""A Kronecker-factored curvature: for a leaf seen as a matrix the block :math:`A \otimes G`; see `kfac`.

    A pytree, of sums over examples: two of one loss and one network add up with ``+`` to that of both batches, exactly
    for uneven ones too. `product` multiplies by it, one vector or several. What needs eigenvalues
    finds them at every call, so take `eigen` once where there are several.
    """

    sums: tuple[Any, ...]
    """For every leaf that counts its sums over the examples."""
    weight: Array
    """The sum of the weights: the number of examples where none were given."""
    about: About = dataclasses.field(metadata={"static": True})

    def __add__(self, other: KroneckerFactors) -> KroneckerFactors:
        """Return the factors of both batches.

        Raises:
            ValueError: If they are not those of one network.
        """
        if not isinstance(other, KroneckerFactors) or other.about != self.about:
            message = (
                "factors add up where they are those of one network, with the same kind of examples, wrt and"
                f" approximation; got\n{self.about.table()}\nand\n"
                f"{other.about.table() if isinstance(other, KroneckerFactors) else _check.describe(other)}"
            )
            raise ValueError(message)
        return jax.tree.map(jnp.add, self, other)

    def held(self) -> list[Any]:
        """Return, for every leaf that counts, its factors, block or diagonal."""
        return [normalised(form, sums, self.weight) for form, sums in zip(self.about.leaves, self.sums, strict=True)]

    def pair(self, path: str) -> KroneckerPair:
        """Return the two factors of a leaf by its path, such as ``"Dense_0/kernel"``.

        Of one that is used both ways round (a tied embedding) they are those of its rows and columns.

        Raises:
            ValueError: If it has none.
        """
        place = self.about.form(path)
        form, held = self.about.leaves[place], normalised(self.about.leaves[place], self.sums[place], self.weight)
        if form.form != "kronecker":
            message = f"path={path!r} is held as a {form.form}, without factors: {form.why}; write block({path!r})"
            raise ValueError(message)
        return KroneckerPair(*(reversed(held) if form.swapped[0] else held))

    def block(self, path: str) -> Array:
        """Return the block of a leaf, ``(P, P)``, or its diagonal, of the shape of the leaf.

        Raises:
            ValueError: If it has Kronecker factors.
        """
        place = self.about.form(path)
        form = self.about.leaves[place]
        if form.form == "kronecker":
            message = f"path={path!r} has Kronecker factors, and no block of its own; write pair({path!r})"
            raise ValueError(message)
        return normalised(form, self.sums[place], self.weight)

    @jit("damping_style", non_negative=("damping",))
    def product(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I) vector``: two products of matrices for a leaf with factors.

        Of several vectors, along one more leading axis of the same length on every leaf, the product of each.
        """
        _check.choice(damping_style, "damping_style", STYLES)
        forms, every = self.about.leaves, self.held()

        def times(vector: Tree) -> Tree:
            rows = zip(forms, every, self.about.pick(vector), strict=True)
            return self.about.embed(
                [multiplied(f, h, _as(h, part), damping, damping_style).astype(part.dtype) for f, h, part in rows]
            )

        return self.about.each(vector, times)

    @jit()
    def eigen(self) -> KroneckerEigen:
        """Return the eigenvalues and eigenvectors of every factor and block: one decomposition each."""
        leaves = [eigen_of(form, held) for form, held in zip(self.about.leaves, self.held(), strict=True)]
        return KroneckerEigen(tuple(leaves), self.about)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KroneckerEigen(_Curvature):
    r"""A curvature in the eigenbases of its Kronecker factors, with products of their eigenvalues, or corrected ones.

    A pytree, from `KroneckerFactors.eigen` or `ekfac`. Nothing is decomposed again.
    """

    leaves: tuple[Any, ...]
    """For every leaf that counts its eigenvectors and eigenvalues."""
    about: About = dataclasses.field(metadata={"static": True})

    @jit("damping_style", non_negative=("damping",))
    def product(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I) vector``, or several, as that of `KroneckerFactors`."""
        return self.about.each(vector, lambda v: _apply(self, v, damping, damping_style, lambda values: values))

    def eigen(self) -> KroneckerEigen:
        """Return itself."""
        return self


def _as(held: Any, part: Array) -> Array:
    """Return a vector in the dtype of what it is multiplied by."""
    return part.astype(jax.tree.leaves(held)[0].dtype)


def _values(eigen: KroneckerEigen, damping: Any, style: str) -> list[Array]:
    """Return the damped eigenvalues of every leaf.

    Raises:
        ValueError: If pi damping is asked of corrected eigenvalues.
    """
    _check.choice(style, "damping_style", STYLES)
    if style == "pi" and any(getattr(leaf, "corrected", None) is not None for leaf in eigen.leaves):
        message = (
            'damping_style="pi" adds to both factors, and corrected eigenvalues are those of no two factors;'
            ' write damping_style="identity", or take the factors of kfac'
        )
        raise ValueError(message)
    pairs = zip(eigen.about.leaves, eigen.leaves, strict=True)
    return [damped_values(form, leaf, damping, style) for form, leaf in pairs]


def _apply(eigen: KroneckerEigen, vector: Any, damping: Any, style: str, function: Any) -> Any:
    """Return a function of the damped curvature times a vector."""
    about, parts = eigen.about, eigen.about.pick(vector)
    rows = zip(about.leaves, eigen.leaves, _values(eigen, damping, style), parts, strict=True)
    out = [
        transformed(form, leaf, values, part.astype(values.dtype), function).astype(part.dtype)
        for form, leaf, values, part in rows
    ]
    return about.embed(out)
