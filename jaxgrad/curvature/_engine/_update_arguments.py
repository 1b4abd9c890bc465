"""What an optax transformation that computes its own step is given, and what of it would be lost."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import optax

from jaxgrad import _check

__all__ = ["refuse_misuse"]


def refuse_misuse(
    residual_fn: Callable[..., Any], kind: type, updates: Any, state: Any, params: Any, batch: Any, extra: Any
) -> None:
    """Refuse arguments of ``update`` that would be lost, or that are not there.

    Gradients are never used, and who hands them in means something: `optax.MultiSteps` above all, which would average
    them over batches and pass on the last batch alone. They are told from ``params`` by identity.

    Raises:
        ValueError: If ``params`` is missing, some leaves are masked, or there are gradients.
        TypeError: If the batch is no tuple or not what the function takes, or the state is another's.
    """
    if params is None:
        message = "params must be given, since update computes the residuals: update(params, state, params, batch=...)"
        raise ValueError(message)
    _refuse_masks(params)
    _check.state(state, kind, "init(params)")
    if updates is not None and not _check.same_arrays(updates, params):
        message = (
            "updates must be None, or params where a wrapper insists on a tree: gauss_newton computes its step from"
            " residual_fn and batch=, and gradients given here would be lost; it cannot stand inside of"
            " optax.MultiSteps, where all batches but the last would be lost: join them into one"
        )
        raise ValueError(message)
    if not isinstance(batch, tuple | list):
        message = (
            f"batch must be a tuple of what follows params in residual_fn; got {_check.describe(batch)}: batch=(x,)"
        )
        raise TypeError(message)
    _refuse_unfit(residual_fn, params, batch, extra)


def _refuse_masks(params: Any) -> None:
    """Refuse parameters of which optax hides some.

    Raises:
        ValueError: If some leaves are masked.
    """
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    if any(isinstance(leaf, optax.MaskedNode) for leaf in leaves):
        message = (
            "params has masked leaves, but residual_fn needs all of them: do not wrap gauss_newton in optax.masked or"
            " optax.partition; choose the leaves that move with gauss_newton(..., wrt=...)"
        )
        raise ValueError(message)


def _refuse_unfit(residual_fn: Callable[..., Any], params: Any, batch: Any, extra: dict[str, Any]) -> None:
    """Refuse a batch that the function cannot be called with.

    Raises:
        TypeError: With what the function takes, and the names that optax hands on and nobody reads.
    """
    try:
        signature = inspect.signature(residual_fn)
    except ValueError:  # some functions written in C have none
        return
    try:
        signature.bind(params, *batch)
    except TypeError:
        unread = f"; {', '.join(extra)} is read by nobody here" if extra else ""
        message = (
            f"batch must be a tuple of what follows params in residual_fn({', '.join(signature.parameters)}), as in"
            f" update(params, state, params, batch=(x, y)); got {len(batch) or 'no'} arguments{unread}"
        )
        raise TypeError(message) from None
