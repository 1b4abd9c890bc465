"""The mean over groups of a batch, each of which has a shift of its own: m-sharpness."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Tree

__all__ = ["mean_over_groups"]


def mean_over_groups(
    one: Callable[..., tuple[tuple[Array, Any], Tree]],
    data: tuple[Any, ...],
    groups: Any,
    batched: Sequence[int] | None,
    axis_name: AxisName,
) -> tuple[tuple[Array, Any], Tree]:
    """Average ``one(*data) -> ((loss, aux), gradient)`` over groups of neighbours in the batch, one after the other.

    With ``axis_name`` a device has its part of all groups, and the mean is over those of all devices.

    Returns:
        The means of the losses and of the gradients, and every aux along a leading axis of the device's own groups.
    """
    own = _own_groups(groups, axis_name)
    chosen = _chosen(batched, len(data))
    rows = [_split(data[i], i, own) for i in chosen]

    def at(parts: list[Any]) -> tuple[tuple[Array, Any], Tree]:
        whole = dict(enumerate(data)) | dict(zip(chosen, parts, strict=True))
        return one(*(whole[i] for i in range(len(data))))

    def add_one(total: Tree, parts: list[Any]) -> tuple[Tree, Any]:
        (loss, aux), slope = at(parts)
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, (loss, slope)), aux

    # the sum of many groups is kept in float32 at the least
    (loss, _), slope = jax.eval_shape(at, _tree.take(rows, 0))
    start = jax.tree.map(lambda leaf: _sharding.zeros(leaf).astype(_tree.accumulator(leaf.dtype)), (loss, slope))
    start = _sharding.settled(lambda *args: add_one(*args)[0], start, _tree.take(rows, 0))
    total, aux = lax.scan(add_one, start, rows)
    means = jax.tree.map(lambda t, like: (t / own).astype(like.dtype), total, (loss, slope))
    loss, slope = _sharding.mean_over(means, axis_name)
    return (loss, aux), slope


def _own_groups(groups: Any, axis_name: AxisName) -> int:
    """Return how many of the groups are the device's own.

    Raises:
        ValueError: If they cannot be given to the devices in equal numbers.
    """
    count, devices = _check.count(groups, "groups", least=1), _sharding.device_count(axis_name)
    if count % devices:
        message = (
            f"groups={count} must be a multiple of the {devices} devices along axis_name={axis_name!r}: a group's"
            f" examples lie on one device. Write groups={devices * -(-count // devices)}, or groups=None for one shift"
            " of the whole batch"
        )
        raise ValueError(message)
    return count // devices


def _chosen(batched: Sequence[int] | None, count: int) -> list[int]:
    """Return the positions of the data that are split.

    Raises:
        ValueError: If there is no such position, or one twice.
    """
    chosen = list(range(count)) if batched is None else [_check.count(i, "batched", least=0) for i in batched]
    if count == 0:
        message = "groups splits the batch among the arguments that follow params, and there are none: leave it out"
        raise ValueError(message)
    if not chosen or len(set(chosen)) < len(chosen) or max(chosen) >= count:
        message = f"batched={batched!r} must name some of the {count} arguments that follow params, each once, from 0"
        raise ValueError(message)
    return chosen


def _split(tree: Any, position: int, groups: int) -> Any:
    """Give every leaf a leading axis of groups.

    Raises:
        ValueError: If the leaves have no common leading axis, or one that the groups do not divide.
    """
    name = f"data[{position}]"
    try:
        size = _check.same_leading(**{name: tree})
    except ValueError as error:
        message = f"groups splits the leading axis of the data, but {error}; name with batched= what is split"
        raise ValueError(message) from None
    if not size or size % groups:
        message = (
            f"groups must divide the batch into equal parts; the leading axis of {name} has length {size}"
            f"{' here' if _sharding.in_shard_map() else ''}, to be split into {groups}"
        )
        raise ValueError(message)

    def split(leaf: Any) -> Any:
        # a group may lie on several devices of a mesh with Explicit axes, of which JAX splits no axis
        return _sharding.gathered(leaf).reshape(groups, size // groups, *jnp.shape(leaf)[1:])

    return jax.tree.map(split, tree)
