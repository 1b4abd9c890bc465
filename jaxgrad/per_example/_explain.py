"""The plan of the family's functions, as a table."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from jaxgrad import _check, _tree
from jaxgrad._deprecated import renamed
from jaxgrad._types import Function, T, Ts, Wrt
from jaxgrad._uses._batch import OLD_MODES, Mode, chunk_length, problem_of
from jaxgrad._uses._plan import LeafPlan
from jaxgrad._uses._table import lines_of

__all__ = ["Explanation", "LeafExplanation", "explain"]


class LeafExplanation(NamedTuple):
    """How one leaf is held."""

    leaf: str
    """Its path."""
    shape: tuple[int, ...]
    method: str
    """``ghost`` (as factors), ``instantiate`` (formed from factors), ``tap`` (by the backward pass) or ``unused``."""
    rows: int
    """The outer products that make up the gradient of one example; 0 where it is not known to be a sum of such."""
    why: str
    bytes_held: int
    """Bytes that an example takes for this leaf, beside its activations."""
    bytes_saved: int
    """Bytes that it would take more as a gradient."""


class Explanation(NamedTuple):
    """The plan for a loss and a batch; prints as a table."""

    leaves: tuple[LeafExplanation, ...]
    microbatch: int
    """How many examples are taken at once."""
    bytes_held: int
    """What one chunk holds, activations and all: a forecast of the program's temporaries."""

    def __str__(self) -> str:
        """Return a line a leaf, and a line for the whole."""
        head = ("leaf", "shape", "method", "rows", "bytes held", "bytes saved", "why")
        lines = [
            (x.leaf, str(x.shape), x.method, str(x.rows), f"{x.bytes_held:,}", f"{x.bytes_saved:,}", x.why)
            for x in self.leaves
        ]
        return "\n".join(
            [*lines_of(head, *lines), f"{self.microbatch} examples at once hold {self.bytes_held:,} bytes"]
        )


@renamed(mode=OLD_MODES)
def explain(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
) -> Explanation:
    r"""Say how the per-example gradients of every leaf are held, and why. Nothing is computed.

    A leaf costs :math:`T^2 (d + p)` operations as a Gram matrix of its ``T`` outer products, or :math:`d p` entries of
    traffic as a gradient; the smaller wins. A leaf that enters an operation without a rule is tapped: its gradient
    comes out of the backward pass, exactly.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, or of their shapes.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``, or their shapes.
        mode: As for `clipped_sum`.
        microbatch: As for `clipped_sum`.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` does not change the plan.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.

    Returns:
        An `Explanation`; print it.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, or ``mode`` is unknown.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One trace of the loss.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return jnp.sum(jnp.tanh(x @ params["w"] + params["b"]))
        >>> plan = jaxgrad.per_example.explain(loss, {"w": jnp.ones((8, 4)), "b": jnp.ones(4)}, jnp.ones((16, 8)))
        >>> [(leaf.leaf, leaf.method, leaf.rows) for leaf in plan.leaves]
        [('b', 'tap', 0), ('w', 'ghost', 1)]

    References:
        Bu et al. (2022), Scalable and efficient training of large convolutional neural networks with differential
        privacy, arXiv:2205.10683, section 4 (the choice layer by layer).
    """
    problem = problem_of(loss_fn, params, batch, wrt, mode, has_aux=has_aux)
    chosen = _tree.selected(params, wrt)
    paths = [path for path, keep in zip(_tree.leaf_paths(params), chosen, strict=True) if keep]
    size = _check.batch(batch)
    length = chunk_length(problem, microbatch, size)
    rows = tuple(_row(path, leaf) for path, leaf in zip(paths, problem.plan.leaves, strict=True))
    return Explanation(rows, length, length * problem.plan.bytes_of_example)


def _row(path: str, leaf: LeafPlan) -> LeafExplanation:
    """Return the line of one leaf."""
    full = math.prod(leaf.shape) * leaf.itemsize
    return LeafExplanation(path, leaf.shape, leaf.method, leaf.rows, leaf.why, leaf.bytes_held, full - leaf.bytes_held)
