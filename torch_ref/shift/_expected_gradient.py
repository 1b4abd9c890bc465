"""The mean of the gradients at several shifts, by a loop."""

from typing import Any

from torch.utils import _pytree as pytree

from torch_ref.shift._gradient import gradient


def expected_gradient(loss_fn: Any, params: Any, shifts: Any, *data: Any) -> Any:
    """Take the gradient at one shift after the other, and average."""
    count = len(pytree.tree_leaves(shifts)[0])
    rows = [gradient(loss_fn, params, _row(shifts, k), *data) for k in range(count)]
    return pytree.tree_map(lambda *slopes: sum(slopes) / count, *rows)


def _row(shifts: Any, k: int) -> Any:
    """Return the k-th shift; what is ``None`` stays so."""
    return pytree.tree_map(lambda leaf: None if leaf is None else leaf[k], shifts)
