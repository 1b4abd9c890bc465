"""The contract of the family: functions of ONE example, mapped over the leading axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.tree_util as jtu

from jaxgrad import _check, _leaves, _sharding, _static, _tree
from jaxgrad._types import AxisName, LossFn, Params, Wrt

__all__ = ["one_example", "subset_of"]


def one_example(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun`` with a note on its errors that shows the one example it was given."""

    def called(params: Params, *example: Any) -> Any:
        try:
            return fun(params, *example)
        except Exception as error:
            leaves = jtu.tree_leaves_with_path(example)
            shown = ", ".join(f"{_check.locate('batch', path)}: {_check.describe(leaf)}" for path, leaf in leaves)
            if isinstance(error, NameError):
                error.add_note(
                    "Examples do not see each other here: a layer with axis_name=, such as BatchNorm, has no batch to"
                    " take a mean over; leave axis_name out, and use running averages or another norm."
                )
            error.add_note(
                "The function takes ONE example, without the leading axis of the batch; it was given"
                f" {shown}. A model that wants a batch axis can be applied to x[None], its result read with [0]."
            )
            raise

    return called


def subset_of(
    loss_fn: LossFn,
    params: Params,
    batch: tuple[Any, ...],
    wrt: Wrt,
    axis_name: AxisName = None,
    has_aux: bool = False,
) -> _tree.Subset:
    """Check the arguments that the whole family shares, and restrict the loss to the leaves that count.

    Inside of `jax.shard_map` these leaves vary as the losses do, so that a gradient is that of one example.
    """
    # a compiled function has looked at its arguments already, `explain` has not
    _static.refuse_no_function(loss_fn, "loss_fn", {"params": params})
    _leaves.explain("explain", {"params": params} | {f"batch[{i}]": tree for i, tree in enumerate(batch)})
    if _check.batch(batch, allow_empty=True) == 0:
        message = (
            "the batch is empty: its leading axis has length 0, and there is no example to differentiate; leave the"
            " call out (per_example.dp_aggregate takes such a batch, and gives the noise alone)"
        )
        raise ValueError(message)
    params = _sharding.replicated(params, axis_name)
    subset = _tree.held(one_example(_check.scalar_loss(loss_fn, has_aux=has_aux)), params, wrt, has_aux)
    _check.differentiable(params=subset.active)

    def losses(active: Params, *rows: Any) -> Any:
        return map_examples(subset.fun, active, rows)

    return subset._replace(active=_sharding.own(losses, subset.active, *batch))


def map_examples(fun: Callable[..., Any], params: Params, batch: tuple[Any, ...]) -> Any:
    """Apply ``fun(params, *example)`` to every example at once."""
    return jax.vmap(fun, in_axes=(None,) + (0,) * len(batch))(params, *batch)
