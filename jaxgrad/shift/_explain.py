"""What becomes of every leaf under shifts of low rank, as a table."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import _check, _leaves, _static, _tree
from jaxgrad._types import Function, T, Ts, Wrt
from jaxgrad._uses import _layout
from jaxgrad._uses._moving import ThinLeaf
from jaxgrad._uses._table import lines_of
from jaxgrad.shift._samples import low_rank_leaves

__all__ = ["Explanation", "LeafExplanation", "explain"]


class LeafExplanation(NamedTuple):
    """How one leaf is shifted."""

    leaf: str
    """Its path."""
    shape: tuple[int, ...]
    method: str
    """``low rank`` or ``dense``."""
    matrices: tuple[int, int, int] | None
    """How many matrices it holds, their rows and their columns; ``None`` where its shift is dense."""
    thin_uses: int
    """Uses where two thin products are added."""
    dense_uses: int
    """Uses where the shifted leaf is formed."""
    numbers: int
    """Random numbers for one shift."""
    why: str


class Explanation(NamedTuple):
    """What becomes of the leaves of a loss; prints as a table."""

    leaves: tuple[LeafExplanation, ...]
    rank: int
    numbers: int
    """Random numbers for one shift of all leaves."""
    full: int
    """How many a shift of full rank has."""

    def __str__(self) -> str:
        """Return a line a leaf, and a line for the whole."""
        head = ("leaf", "shape", "method", "matrices", "thin uses", "dense uses", "numbers", "why")
        lines = [
            (x.leaf, str(x.shape), x.method, _matrices(x.matrices), *map(str, x[4:6]), f"{x.numbers:,}", x.why)
            for x in self.leaves
        ]
        whole = f"a shift of rank {self.rank} has {self.numbers:,} random numbers, one of full rank {self.full:,}"
        return "\n".join([*lines_of(head, *lines), whole])


def _matrices(sizes: tuple[int, int, int] | None) -> str:
    """Return the matrices of a leaf for a table."""
    return "" if sizes is None else f"{sizes[0]} of {sizes[1]}x{sizes[2]}"


def explain(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    rank: int,
    per_example: bool = False,
    wrt: Wrt = None,
) -> Explanation:
    r"""Say of every leaf whether a shift of low rank adds thin products, and why not. Nothing is computed.

    A leaf goes through the loss as a sum that is not carried out, as long as it is only transposed, reshaped, cast, or
    sliced into the iterations of a scan. At a product, a lookup or a convolution its shift costs two thin products; at
    any other operation, and where a second use splits its axes in another way, the sum is formed.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, or a pair of that and an aux. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, or of their shapes.
        *data: Pytrees handed on to ``loss_fn``, or their shapes.
        rank: The rank of the shifts.
        per_example: Whether ``loss_fn`` takes ONE example, and ``data`` have them along their leading axis.
        wrt: Which leaves are shifted: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for
            all.

    Returns:
        An `Explanation`; print it.

    Raises:
        ValueError: If ``rank`` is not positive, the loss is no scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that is shifted is no real floating-point array.

    Cost:
        One trace of the loss.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return jnp.sum(jnp.tanh(x @ params["w"] + params["b"][None]))
        >>> plan = jaxgrad.shift.explain(loss, {"w": jnp.ones((8, 4)), "b": jnp.ones(4)}, jnp.ones((16, 8)), rank=1)
        >>> [(leaf.leaf, leaf.method, leaf.why) for leaf in plan.leaves]
        [('b', 'dense', 'enters add'), ('w', 'low rank', '')]
        >>> plan.numbers, plan.full
        (16, 36)

    References:
        Sarkar et al. (2025), Evolution strategies at the hyperscale, arXiv:2511.16652, section 4.
    """
    # a compiled function has looked at its arguments already
    _static.refuse_no_function(loss_fn, "loss_fn", {"params": params})
    rows: Any = data
    _leaves.explain("explain", {"params": params} | {f"data[{i}]": tree for i, tree in enumerate(rows)})
    _check.floating(params=_tree.held(loss_fn, params, wrt).active)
    rank = _check.count(rank, "rank", least=1)
    if per_example:
        _check.batch(rows)
        rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    found, paths = low_rank_leaves(loss_fn, params, rows, wrt, rank), _tree.leaf_paths(params)
    leaves = jax.tree.leaves(params)
    table = tuple(_row(paths[i], tuple(jnp.shape(leaves[i])), leaf, rank) for i, leaf in found.items())
    return Explanation(table, rank, sum(x.numbers for x in table), sum(math.prod(x.shape) for x in table))


def _row(path: str, shape: tuple[int, ...], leaf: ThinLeaf, rank: int) -> LeafExplanation:
    """Return the line of one leaf."""
    uses = leaf.thin_uses, leaf.dense_uses
    if leaf.split is None:
        return LeafExplanation(path, shape, "dense", None, *uses, math.prod(shape), leaf.why)
    groups, rows, columns = map(_layout.size, leaf.split)
    numbers = groups * (rows + columns) * rank
    return LeafExplanation(path, shape, "low rank", (groups, rows, columns), *uses, numbers, leaf.why)
