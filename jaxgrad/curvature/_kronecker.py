"""What `kfac` and `ekfac` return: a curvature, leaf by leaf, that is multiplied, inverted and drawn from."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad.curvature._engine._about import About
from jaxgrad.curvature._engine._factor_sums import LeafForm
from jaxgrad.curvature._engine._leaf_curvature import damped_values, eigen_of, multiplied, normalised, transformed

__all__ = ["DampingStyle", "KroneckerEigen", "KroneckerFactors", "KroneckerPair"]

DampingStyle = Literal["identity", "pi"]
"""``"identity"``: the number is added to the whole block; ``"pi"``: to both factors, by the ratio of their traces."""

STYLES = ("identity", "pi")


class KroneckerPair(NamedTuple):
    """The two factors of one leaf, whose Kronecker product is its block; ``(groups, d, d)``, or diagonals."""

    inputs: Array
    """Of what enters the uses of the leaf: a mean over examples and terms."""
    cotangents: Array
    """Of the cotangents of what leaves them: a mean over examples, a sum over terms."""


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
        return self.about.each(vector, lambda parts: _apply(eigen, parts, damping, damping_style, jnp.reciprocal))

    @jit("damping_style", non_negative=("damping",))
    def inverse_square_root(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I)^(-1/2) vector``, with the symmetric root, or several, as `product`."""
        eigen = self.eigen()
        return self.about.each(vector, lambda parts: _apply(eigen, parts, damping, damping_style, lax.rsqrt))

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
        drawn = _apply(self.eigen(), probes, damping, damping_style, lax.rsqrt)
        return self.about.embed([part.astype(form.dtype) for part, form in zip(drawn, forms, strict=True)])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KroneckerFactors(_Curvature):
    r"""A Kronecker-factored curvature: for a leaf seen as a matrix the block :math:`A \otimes G`; see `kfac`.

    A pytree, of sums over examples: two of one loss and one network add up with ``+`` to that of both batches, exactly
    for uneven ones too, also of sequences or images of other sizes: ``"expand"`` takes the mean over the terms of both,
    each as often as its example weighs. `product` multiplies by it, one vector or several. What needs eigenvalues
    finds them at every call, so take `eigen` once where there are several.
    """

    sums: tuple[Any, ...]
    """For every leaf that counts its sums over the examples."""
    weight: Array
    """The sum of the weights: the number of examples where none were given."""
    terms: tuple[Array, ...]
    """For every leaf that counts the sum of the weights, each times the number of terms of its example."""
    about: About = dataclasses.field(metadata={"static": True})

    def __add__(self, other: KroneckerFactors) -> KroneckerFactors:
        """Return the factors of both batches.

        Raises:
            ValueError: If they are not those of one network, with a line for every difference.
            TypeError: If the other is no `KroneckerFactors`.
        """
        if not isinstance(other, KroneckerFactors):
            message = f"factors add up with factors of curvature.kfac; got {_check.describe(other)}"
            raise TypeError(message)
        lines = self.about.differences(other.about)
        if lines:
            headline = "factors add up where they are those of one network, wrt and approximation; these differ in"
            message = "\n  ".join([headline, *lines])
            raise ValueError(message)
        about = self.about.joined(other.about)
        return jax.tree.map(jnp.add, *(dataclasses.replace(factors, about=about) for factors in (self, other)))

    def held(self) -> list[Any]:
        """Return, for every leaf that counts, its factors, block or diagonal."""
        rows = zip(self.about.leaves, self.sums, self.terms, strict=True)
        return [normalised(form, sums, self.weight, terms) for form, sums, terms in rows]

    def pair(self, path: str) -> KroneckerPair:
        """Return the two factors of a leaf by its path, such as ``"Dense_0/kernel"``.

        Of one that is used both ways round (a tied embedding) they are those of its rows and columns.

        Raises:
            ValueError: If it has none.
        """
        form, held = self._one(path)
        if form.form != "kronecker":
            message = f"path={path!r} is held as a {form.form}, without factors: {form.why}; write block({path!r})"
            raise ValueError(message)
        return KroneckerPair(*(reversed(held) if form.swapped[0] else held))

    def block(self, path: str) -> Array:
        """Return the block of a leaf, ``(P, P)``, or its diagonal, of the shape of the leaf.

        Raises:
            ValueError: If it has Kronecker factors.
        """
        form, held = self._one(path)
        if form.form == "kronecker":
            message = f"path={path!r} has Kronecker factors, and no block of its own; write pair({path!r})"
            raise ValueError(message)
        return held

    def _one(self, path: str) -> tuple[LeafForm, Any]:
        """Return how a leaf is held, and its factors, block or diagonal."""
        place = self.about.form(path)
        form = self.about.leaves[place]
        return form, normalised(form, self.sums[place], self.weight, self.terms[place])

    @jit("damping_style", non_negative=("damping",))
    def product(self, vector: T, damping: Any = 0.0, *, damping_style: DampingStyle = "identity") -> T:
        """Return ``(K + damping I) vector``: two products of matrices for a leaf with factors.

        Of several vectors, along one more leading axis of the same length on every leaf, the product of each.
        """
        _check.choice(damping_style, "damping_style", STYLES)
        forms, every = self.about.leaves, self.held()

        def times(parts: list[Array]) -> list[Array]:
            rows = zip(forms, every, parts, strict=True)
            return [multiplied(f, h, _as(h, part), damping, damping_style).astype(part.dtype) for f, h, part in rows]

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
        return self.about.each(vector, lambda parts: _apply(self, parts, damping, damping_style, _same))

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


def _apply(eigen: KroneckerEigen, parts: list[Array], damping: Any, style: str, function: Any) -> list[Array]:
    """Return a function of the damped curvature times the leaves of a vector that count."""
    rows = zip(eigen.about.leaves, eigen.leaves, _values(eigen, damping, style), parts, strict=True)
    return [
        transformed(form, leaf, values, part.astype(values.dtype), function).astype(part.dtype)
        for form, leaf, values, part in rows
    ]


def _same(values: Array) -> Array:
    """Return the eigenvalues as they are: those of the product itself."""
    return values
