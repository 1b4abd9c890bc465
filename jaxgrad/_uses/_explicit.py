"""Functions of the family on meshes with Explicit axes: the engine leaves the layout of what it makes to XLA."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
from jax.sharding import PartitionSpec

from jaxgrad import _sharding

__all__ = ["Layout", "laid_out"]

F = TypeVar("F", bound=Callable[..., Any])


class Layout(NamedTuple):
    """How results are laid out over a mesh."""

    rows: Any
    """Of an array with something for every example along its leading axis."""
    weights: Any
    """Of a tree like the parameters."""
    single: Any
    """Of what is one for the batch: every device has it."""


def laid_out(results: Callable[[Layout], Any]) -> Callable[[F], F]:
    """Run a function of ``(loss_fn, params, *batch, **options)`` with the Explicit axes of a mesh as Auto ones.

    Args:
        results: Picks the layout of the results, a prefix of their tree. It is not asked where no axis is Explicit.
            With ``has_aux=True`` they come in a pair with aux, which belongs to the examples.

    Returns:
        A decorator.
    """

    def decorate(fun: F) -> F:
        @functools.wraps(fun)
        def called(*args: Any, **options: Any) -> Any:
            loss_fn, *trees = args
            arrays = {name: value for name, value in options.items() if _sharding.is_laid_out(value)}
            if not _sharding.is_laid_out((trees, arrays)):
                return fun(*args, **options)

            def body(trees: Any, arrays: Any) -> Any:
                return fun(loss_fn, *trees, **{**options, **arrays})

            weights = jax.tree.map(_sharding.spec_of, trees[0])
            at = Layout(_rows(trees[-1]), weights, PartitionSpec())
            layout = (results(at), at.rows) if options.get("has_aux") else results(at)
            return jax.sharding.auto_axes(body, out_sharding=layout)(trees, arrays)

        return cast(F, called)

    return decorate


def _rows(batch: Any) -> PartitionSpec:
    """Return the layout of an array with one number an example."""
    specs = [_sharding.spec_of(leaf) for leaf in jax.tree.leaves(batch)]
    return PartitionSpec(*specs[0][:1]) if specs else PartitionSpec()
