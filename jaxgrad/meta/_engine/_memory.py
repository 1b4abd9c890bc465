"""The loop over the inner steps, and what it keeps of them for the way back.

Every mode gives the same number. With K steps, P the bytes of the weights and of the optimizer's state, and A those of
the intermediate values of one inner gradient, they keep

========== ============================= ========================
mode       bytes                         gradients (FLOPs) a step
========== ============================= ========================
unrolled   K (P + 2 A)                   3
checkpoint K P + 2 A                     4
mixed-mode K (P + gradient) + A          3.7
nested     2 sqrt(K) (P + gradient) + A  4.7
========== ============================= ========================

for a perceptron. Where the optimizer's step is linear, as that of gradient descent, mixed mode and nested keep the
weights alone. Mixed mode writes and reads the least, which is what takes the time of wide batches.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check
from jaxgrad._types import Tree
from jaxgrad.meta._engine._inner import KEPT

__all__ = ["LIMIT", "MODES", "Memory", "bytes_of", "check_memory", "loop"]

Memory = Literal["unrolled", "checkpoint", "nested", "mixed-mode"] | None
"""How the inner steps are kept for the way back; ``None``: by the rule of the function."""

MODES = ("unrolled", "checkpoint", "nested", "mixed-mode")

LIMIT = 2**30
"""Bytes that ``memory=None`` lets the kept steps take before it nests them: 1 GiB, a small part of any machine."""


def check_memory(memory: Any) -> None:
    """Refuse another mode.

    Raises:
        ValueError: With the modes.
    """
    if memory is not None:
        _check.choice(memory, "memory", MODES)


def bytes_of(tree: Tree) -> int:
    """Return the bytes of a tree's arrays, or shapes."""
    return sum(math.prod(jnp.shape(leaf)) * jnp.result_type(leaf).itemsize for leaf in jax.tree.leaves(tree))


def loop(
    step: Callable[..., Any], carry: Tree, rows: Tree, length: int, memory: Memory, *, bare: bool = False
) -> tuple[Tree, Tree]:
    """Return the last carry, and what the steps return beside it along a leading axis: a scan, in one of the modes.

    A step that is computed again keeps what is named `KEPT`; a ``bare`` one keeps so little that it is not.
    """
    keeps = jax.checkpoint_policies.save_only_these_names(KEPT)
    # inside of a scan nothing can merge the two computations of a step
    once: Any = step if bare or memory == "unrolled" else jax.checkpoint(step, prevent_cse=False, policy=keeps)
    if length == 1:
        # no carry of a loop: what the tasks share, as the weights that they all start from, is not copied for each
        carry, results = once(carry, jax.tree.map(lambda leaf: leaf[0], rows))
        return carry, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], results)
    if memory == "unrolled":
        return lax.scan(step, carry, rows, length)
    if memory != "nested" or length < 4:
        return lax.scan(once, carry, rows, length)
    # segments of about sqrt(K) steps: only their first carries are kept, and the steps of one segment at a time
    size = _segment(length)
    count, rest = divmod(length, size)

    def segment(carry: Tree, rows: Tree) -> tuple[Tree, Tree]:
        return lax.scan(once, carry, rows, size)

    whole = jax.tree.map(lambda leaf: leaf[: count * size].reshape(count, size, *leaf.shape[1:]), rows)
    carry, results = lax.scan(jax.checkpoint(segment, prevent_cse=False), carry, whole, count)
    results = jax.tree.map(lambda leaf: leaf.reshape(count * size, *leaf.shape[2:]), results)
    if rest:
        carry, more = lax.scan(once, carry, jax.tree.map(lambda leaf: leaf[-rest:], rows), rest)
        results = jax.tree.map(lambda *parts: jnp.concatenate(parts), results, more)
    return carry, results


def _segment(length: int) -> int:
    """Return a length of segments near the root of ``length``: a divisor, where one lies between half and twice it.

    Steps that are left over are one more loop, to be compiled apart. Segments of one step would nest nothing.
    """
    root = math.isqrt(length)
    near = [size for size in range(max(2, (root + 1) // 2), 2 * root + 1) if length % size == 0]
    return min(near, key=lambda size: size + length // size, default=root)
