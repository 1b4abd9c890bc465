"""The state of a torch optimizer before its first step."""

from typing import Any

from torch.utils import _pytree as pytree


def init_states(optimizer: Any, params: Any) -> Any:
    """Return the ``state_dict`` of ``optimizer(leaves)``; torch keeps a state for each leaf by its place."""
    return optimizer([leaf.detach().clone() for leaf in pytree.tree_leaves(params)]).state_dict()
