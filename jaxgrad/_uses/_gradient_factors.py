"""What one backward pass of a batch leaves: enough of every gradient for norms, and for any weighted sum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad._types import Array, Tree
from jaxgrad._uses import _algebra
from jaxgrad._uses._factors import Factors, in_one_dtype, wide
from jaxgrad._uses._plan import LeafPlan, Plan
from jaxgrad._uses._rules import outer_factors
from jaxgrad._uses._taps import Tapped, run

__all__ = ["GradientFactors", "entry_of", "gradient_factors", "weighted_sum"]


class GradientFactors(NamedTuple):
    """The losses of a batch, aux and, for every leaf, its gradients in the form that the plan chose."""

    losses: Array
    aux: Tree
    """What the loss returns beside its value, stacked over the examples."""
    entries: tuple[Any, ...]
    """A list of `Factors`, a stack of gradients, or ``None`` where the loss does not depend on the leaf."""


def gradient_factors(plan: Plan, leaves: Sequence[Array], batch: Any) -> GradientFactors:
    """Run a batch forward and backward once."""
    if plan.program is None:
        # everything is materialised, by JAX's own transposition
        both = jax.value_and_grad(plan.fun, has_aux=True)
        (losses, aux), rows = jax.vmap(both, in_axes=(None,) + (0,) * len(batch))(leaves, *batch)
        return GradientFactors(losses, aux, tuple(rows))
    program = plan.program

    def one(*example: Any) -> tuple[Array, Tree, tuple[Any, ...]]:
        tapped = run(program, plan.sites, plan.tapped, leaves, jax.tree.leaves(example))
        return tapped.loss, tapped.aux, tuple(entry_of(plan, i, tapped) for i in range(len(leaves)))

    losses, aux, entries = jax.vmap(one)(*batch)
    return GradientFactors(
        losses,
        aux,
        tuple(
            _algebra.form(leaf, entry) if leaf.method == "instantiate" else entry
            for leaf, entry in zip(plan.leaves, entries, strict=True)
        ),
    )


def entry_of(plan: Plan, index: int, tapped: Tapped) -> Any:
    """Return what one example adds to what is held of one leaf."""
    leaf = plan.leaves[index]
    if leaf.method in {"tap", "unused"}:
        return tapped.gradients.get(index)
    factors = []
    for use in leaf.uses:
        site = plan.sites[use.path]
        left, right = outer_factors(site, use.piece, tapped.operands[use.path], tapped.cotangents[use.path])
        factors.append(Factors(right, left) if use.swapped else Factors(left, right))
    return in_one_dtype(factors, leaf.dtype)


def weighted_sum(plan: Plan, factors: GradientFactors, scales: Sequence[Array]) -> list[Array]:
    """Return the sum over the examples of each leaf's gradients, scaled by ``scales[leaf]`` of shape ``(B,)``.

    The sums come in float32 at the least. A scale of zero cuts an example out, whatever its entries are: zero times
    NaN would be NaN.
    """
    return [
        _leaf_sum(leaf, entry, scale) for leaf, entry, scale in zip(plan.leaves, factors.entries, scales, strict=True)
    ]


def _leaf_sum(leaf: LeafPlan, entry: Any, scales: Array) -> Array:
    """Return the weighted sum of the gradients of one leaf."""
    if entry is None:
        return jnp.zeros(leaf.shape, wide(scales.dtype))
    if leaf.method == "ghost":
        return _algebra.gradient_of_sum(leaf, entry, scales)
    total = _algebra.sum_of(entry, scales)
    return _algebra.leaf_of(leaf, total) if leaf.method == "instantiate" else total
