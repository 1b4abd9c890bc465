"""What a function of several losses may return."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from jaxgrad import _check
from jaxgrad._types import Tree

__all__ = ["L", "checked", "is_array", "is_like", "keys"]

L = TypeVar("L")
"""The type of the losses: an array, or a tree of scalars."""


def is_array(losses: Tree) -> bool:
    """Say whether the losses are one array rather than a tree of scalars."""
    return jtu.all_leaves([losses])


def keys(losses: Tree) -> list[Any]:
    """Return the key of each loss of a dictionary, in the order of the rows, and none where the losses have no keys.

    The order is that of JAX: sorted, but as it was filled for an ``OrderedDict``. Several losses below one key have it
    several times.
    """
    if not isinstance(losses, Mapping):
        return []
    paths: list[Any] = [path for path, _ in jtu.tree_leaves_with_path(losses)]
    return [path[0].key for path in paths]


def is_like(tree: Tree, losses: Tree) -> bool:
    """Say whether a tree names its entries as the losses are named; a list will do where none has a key."""
    if isinstance(tree, list | tuple) and not isinstance(losses, Mapping):
        return True
    return not is_array(losses) and str(jax.tree.structure(tree)) == str(jax.tree.structure(losses))


def checked(losses_fn: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """Return ``losses_fn`` with its result refused unless it is a ``(K,)`` array or a tree of scalars.

    The function returns a pair, of the losses and of what stands beside them: ``None`` without ``has_aux``.
    """

    def fun(params: Any, *data: Any) -> tuple[Tree, Tree]:
        out = losses_fn(params, *data)
        losses, aux = _check.pair(out, "losses_fn") if has_aux else (out, None)
        try:
            (_check_array if is_array(losses) else _check_scalars)(losses)
        except (TypeError, ValueError) as error:
            if has_aux or (isinstance(losses, tuple) and len(losses) == 2):
                error.add_note("With has_aux=True losses_fn returns the pair (losses, aux), and without it the losses.")
            raise
        return jax.tree.map(jnp.asarray, losses), aux

    return fun


def _check_array(losses: Any) -> None:
    """Refuse an array that is not one axis of real losses.

    Raises:
        ValueError: If it has no axis, several, or length 0.
        TypeError: If it is no real floating-point array.
    """
    if not hasattr(losses, "dtype") or not jnp.issubdtype(losses.dtype, jnp.floating):
        message = (
            "losses_fn must return a real floating-point array of shape (K,), or a tuple, list or dict of scalars;"
            f" got {_check.describe(losses)}"
        )
        raise TypeError(message)
    if losses.ndim != 1 or losses.size == 0:
        advice = "; for one loss use gradient.parameter_gradient" if losses.ndim == 0 else ""
        message = (
            "losses_fn must return at least one loss, as an array of shape (K,) or a tuple, list or dict of scalars;"
            f" got {_check.describe(losses)}{advice}"
        )
        raise ValueError(message)


def _check_scalars(losses: Tree) -> None:
    """Refuse losses that are no real scalars.

    Raises:
        ValueError: If there is no loss, or one has axes.
        TypeError: If one is no real floating-point number.
    """
    named = [
        (f"{_check.locate('loss', path)}: got {_check.describe(leaf)}", leaf)
        for path, leaf in jtu.tree_leaves_with_path(losses)
    ]
    if not named:
        message = f"losses_fn must return at least one loss; got {losses!r}"
        raise ValueError(message)
    no_numbers = [told for told, loss in named if not _is_real(loss)]
    _check.complain(TypeError, "losses_fn must return real floating-point scalars; every loss must be one:", no_numbers)
    with_axes = [told for told, loss in named if jnp.shape(loss) != ()]
    _check.complain(ValueError, "every loss must be a scalar; reduce it with .mean() or .sum():", with_axes)


def _is_real(loss: Any) -> bool:
    """Say whether a loss is a real floating-point array or number."""
    if hasattr(loss, "dtype"):
        return bool(jnp.issubdtype(loss.dtype, jnp.floating))
    return isinstance(loss, float)
