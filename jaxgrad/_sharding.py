"""What a device of `jax.shard_map` calls its own: the axes over which values vary, and reductions over them.

In `shard_map` JAX keeps, for every value, the mesh axes over which it differs from device to device. The transpose of
the step from a value that is the same everywhere to one that varies is a sum over devices; the gradient of a replicated
parameter is therefore the sum of all devices' gradients. A function that is to speak of the device's own examples
casts its parameters to varying before it differentiates, and one that is to speak of all devices takes the mean of
their losses over ``axis_name``.
"""

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxgrad._types import AxisName, Tree

__all__ = [
    "alike",
    "along",
    "check_axis",
    "device_count",
    "gathered",
    "in_shard_map",
    "is_laid_out",
    "lacks_mesh",
    "largest",
    "like",
    "mean_of",
    "mean_over",
    "mesh_of",
    "own",
    "own_rows",
    "read",
    "refuse_shared",
    "replicated",
    "rows_of_all",
    "settled",
    "shape_like",
    "shared",
    "spec_of",
    "sum_over",
    "vary",
    "varying",
    "zeros",
]


def in_shard_map() -> bool:
    """Say whether a `jax.shard_map` is around."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def varying(tree: Tree) -> frozenset[Hashable]:
    """Return the mesh axes over which a leaf of a tree differs from device to device; leaves may be shapes or types."""
    return frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves(tree)))


def _axes(leaf: Any) -> frozenset[Hashable]:
    """Return the axes over which one array, or what has the shape of one, differs from device to device."""
    kind = leaf if hasattr(leaf, "manual_axis_type") else jax.typeof(leaf)
    # a shape has none where the checks of shard_map are off
    return frozenset() if kind.manual_axis_type is None else frozenset(kind.manual_axis_type.varying)


def vary(tree: Tree, axes: frozenset[Hashable]) -> Tree:
    """Cast every leaf to differ over ``axes`` too; its numbers stay."""
    if not axes:
        return tree

    def cast(leaf: Any) -> Any:
        missing = axes - _axes(leaf)
        return lax.pcast(jnp.asarray(leaf), tuple(sorted(missing, key=str)), to="varying") if missing else leaf

    return jax.tree.map(cast, tree)


def alike(tree: Tree, other: Tree) -> tuple[Tree, Tree]:
    """Cast two trees of one structure so that partners vary over the same axes, as tangents and primals must."""
    if not in_shard_map():
        return tree, other
    leaves, treedef = jax.tree.flatten(tree)
    structure: Any = treedef
    pairs = list(zip(leaves, structure.flatten_up_to(other), strict=True))
    both = [_axes(a) | _axes(b) for a, b in pairs]
    cast = [[vary(leaf, axes) for leaf, axes in zip(side, both, strict=True)] for side in zip(*pairs, strict=True)]
    first, second = cast or ([], [])
    return structure.unflatten(first), structure.unflatten(second)


def own(fun: Callable[..., Any], tree: Tree, *data: Any) -> Tree:
    """Cast the first argument of ``fun`` to vary as the result of ``fun`` does, so that its derivative is the device's.

    The result says it, and not the data: a function may close over what varies, or take a mean over devices itself.
    """
    if not in_shard_map():
        return tree
    try:
        result = jax.eval_shape(fun, tree, *data)
    except ValueError:
        # a mapped conditional casts what it closes over twice, unless that varies already
        result = jax.eval_shape(fun, vary(tree, varying(data)), *data)
    return vary(tree, varying(result))


def shared(fun: Callable[..., Any], tree: Tree, *data: Any) -> frozenset[Hashable]:
    """Return the mesh axes over which ``tree`` differs from device to device, and a result of ``fun`` does not.

    Pushed forward, tangents of all these devices add up in such a result; pulled back, each device gets its own part.
    """
    if not in_shard_map() or not varying(tree):
        return frozenset()
    results = varying_by_leaf(jax.eval_shape(fun, tree, *data))
    return varying(tree) - frozenset.intersection(*results) if results else frozenset()


def refuse_shared(fun: Callable[..., Any], params: Tree, *data: Any) -> None:
    """Refuse second derivatives between the parameters of different devices.

    Raises:
        ValueError: If the parameters differ from device to device, and a result depends on those of other devices.
    """
    axes = shared(fun, params, *data)
    if axes:
        message = (
            f"params differ from device to device along {_listed(axes)}, where the result is the same on all of them:"
            " the second derivatives between their parameters have no place in the result; use curvature.hvp for"
            " products, or pass params that are the same on all devices"
        )
        raise ValueError(message)


def along(fun: Callable[..., Any], point: Tree, direction: Tree, *data: Any) -> tuple[Tree, Tree]:
    """Cast a point and a direction to vary alike, and lay out the direction as the point.

    Raises:
        ValueError: If the direction varies where neither the point nor the result of ``fun`` does.
    """
    extra = frozenset().union(*(b - a for a, b in zip(varying_by_leaf(point), varying_by_leaf(direction), strict=True)))
    point, direction = alike(point, direction)
    alone = extra - varying(jax.eval_shape(fun, point, *data)) if extra else extra
    if alone:
        message = (
            f"vector differs from device to device along {_listed(alone)}, where the loss and its parameters are the"
            " same on all of them; pass a vector that is the same too"
        )
        raise ValueError(message)
    return point, jax.tree.map(like, direction, point)


def _listed(axes: frozenset[Hashable]) -> str:
    """Return mesh axes for a message."""
    return ", ".join(sorted(map(repr, axes)))


def like(leaf: Any, other: Any) -> Any:
    """Give an array the type of another of its shape: over which mesh axes it varies, or how it is laid out.

    A tangent must have the type of its primal.
    """
    leaf = vary(leaf, _axes(other))
    mine, wanted = jax.typeof(leaf).sharding, jax.typeof(other).sharding
    if mine.spec == wanted.spec:
        return leaf
    return jax.sharding.reshard(leaf, NamedSharding(mine.mesh if wanted.mesh.empty else wanted.mesh, wanted.spec))


def spec_of(leaf: Any) -> PartitionSpec:
    """Return how an array is laid out over axes of a mesh that are Explicit."""
    return jax.typeof(leaf).sharding.spec


def is_laid_out(tree: Tree) -> bool:
    """Say whether an array of a tree lies on a mesh with Explicit axes."""
    shardings = [
        jax.typeof(leaf).sharding if isinstance(leaf, jax.core.Tracer) else getattr(leaf, "sharding", None)
        for leaf in jax.tree.leaves(tree)
    ]
    # the type of an array would say it too, at ten times the time, and direct calls ask it of all their arguments
    return any(isinstance(kind, NamedSharding) and AxisType.Explicit in kind.mesh.axis_types for kind in shardings)


def shape_like(kind: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """Return another shape of the dtype of an array or a type, that varies over the same axes of a mesh."""
    if not in_shard_map() or not _axes(kind):
        return jax.ShapeDtypeStruct(shape, kind.dtype)
    mesh = NamedSharding(jax.sharding.get_abstract_mesh(), PartitionSpec())
    return jax.ShapeDtypeStruct(shape, kind.dtype, sharding=mesh, manual_axis_type=kind.manual_axis_type)


def zeros(kind: Any) -> Any:
    """Return zeros of a shape and dtype, that vary over the same axes of a mesh, or are laid out alike."""
    made, layout = vary(jnp.zeros(kind.shape, kind.dtype), _axes(kind)), getattr(kind, "sharding", None)
    # a loop keeps the types of its carry: what is added to zeros that lie whole would lie in parts
    return jax.sharding.reshard(made, layout) if layout is not None and _is_explicit(layout) else made


def gathered(leaf: Any) -> Any:
    """Give every device the whole array, where axes of the mesh are Explicit: for operations on neighbours."""
    kind = jax.typeof(leaf).sharding
    if not _is_explicit(kind):
        return leaf
    return jax.sharding.reshard(leaf, NamedSharding(kind.mesh, PartitionSpec()))


def mesh_of(tree: Tree) -> Any:
    """Return a context in which the Explicit mesh that a tree's arrays lie on is set, where none is.

    What is made inside, zeros and random numbers, then lies on that mesh, and can be combined with the arrays.
    """
    meshes = _unset_meshes(tree)
    return jax.sharding.use_abstract_mesh(meshes[0]) if meshes else nullcontext()


def lacks_mesh(tree: Tree) -> bool:
    """Say whether a tree's arrays lie on an Explicit mesh, and none is set."""
    return bool(_unset_meshes(tree))


def _unset_meshes(tree: Tree) -> list[Any]:
    """Return the Explicit meshes of a tree's arrays where none is set."""
    if not jax.sharding.get_abstract_mesh().empty:
        return []
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return [mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types]


def read(table: Any, rows: Any, **options: Any) -> Any:
    """Return rows of a table, laid out over devices as their numbers are where axes of the mesh are Explicit.

    Args:
        table: Where it lies in parts, every device is given the whole.
        rows: Whole numbers.
        options: Of ``.at[].get()``, such as ``mode``.
    """
    layouts = [kind for kind in (jax.typeof(rows).sharding, jax.typeof(table).sharding) if _is_explicit(kind)]
    if not layouts:
        return table.at[rows].get(**options)
    # with the mesh, for it need not be set
    laid_out = NamedSharding(layouts[0].mesh, PartitionSpec(*spec_of(rows), *[None] * (table.ndim - 1)))

    @jax.jit  # noqa: TID251 - one equation, for who reads jaxprs: inside, JAX takes the axes as Auto ones
    def at_rows(table: Any, rows: Any) -> Any:
        return table.at[rows].get(out_sharding=laid_out, **options)

    return at_rows(gathered(table), rows)


def _is_explicit(sharding: Any) -> bool:
    """Say whether a sharding lays out an array over axes of a mesh that are Explicit."""
    return any(part is not None for part in sharding.spec)


def settled(step: Callable[..., Any], carry: Tree, *inputs: Any) -> Tree:
    """Cast the carry of a loop to vary as ``step(carry, *inputs)`` leaves it: a loop keeps the types of its carry."""
    while in_shard_map():
        after = jax.eval_shape(step, carry, *inputs)
        cast = jax.tree.map(lambda leaf, end: vary(leaf, _axes(end)), carry, after)
        if varying_by_leaf(cast) == varying_by_leaf(carry):
            break
        carry = cast
    return carry


def varying_by_leaf(tree: Tree) -> list[frozenset[Hashable]]:
    """Return, leaf by leaf, the axes over which a tree differs from device to device."""
    return [_axes(leaf) for leaf in jax.tree.leaves(tree)]


def names(axis_name: AxisName) -> tuple[Hashable, ...]:
    """Return the mesh axes that ``axis_name`` names."""
    if axis_name is None:
        return ()
    return tuple(axis_name) if isinstance(axis_name, tuple | list) else (axis_name,)


def check_axis(axis_name: AxisName) -> None:
    """Refuse an axis that no mesh around has, or over which the derivative of a sum would be wrong.

    Raises:
        ValueError: If a name is that of no axis of a `jax.shard_map` around, or given twice, or its checks are off.
    """
    if len(set(names(axis_name))) < len(names(axis_name)):
        message = f"axis_name={axis_name!r} names an axis twice; name each axis once"
        raise ValueError(message)
    known = jax.sharding.get_abstract_mesh().manual_axes
    for name in names(axis_name):
        if name not in known:
            around = f"the axes here are {', '.join(map(repr, known))}" if known else "there is no shard_map around"
            message = f"axis_name={name!r} is no axis of a jax.shard_map around this call: {around}"
            raise ValueError(message)
        if name not in _axes(lax.axis_index(name)):
            message = (
                f"axis_name={name!r} needs a jax.shard_map with check_vma=True, the default: without it JAX does not"
                " know which values are the same on all devices, and differentiates sums over devices otherwise"
            )
            raise ValueError(message)


def mean_of(fun: Callable[..., Any], axis_name: AxisName, has_aux: bool = False) -> Callable[..., Any]:
    """Return ``fun``, or where ``axis_name`` is given its mean over the devices along these axes.

    The parameters are cast once, so that their gradient is summed over devices once and not at every use. With
    ``has_aux`` the function returns a pair, and the mean is that of the first; the second stays the device's own.
    """
    if not names(axis_name):
        return fun
    check_axis(axis_name)

    def mean(params: Any, *data: Any) -> Any:
        out = fun(vary(params, frozenset(names(axis_name))), *data)
        value, *aux = out if has_aux else (out,)
        value = lax.pmean(value, names(axis_name))
        return (value, *aux) if has_aux else value

    return mean


def replicated(tree: Tree, axis_name: AxisName) -> Tree:
    """Take the first device's numbers for all along ``axis_name``: parameters that were cast, and are the same."""
    if not names(axis_name):
        return tree
    check_axis(axis_name)

    def first(leaf: Any) -> Any:
        axes = tuple(name for name in names(axis_name) if name in _axes(leaf))
        if not axes:
            return leaf
        chosen = jnp.all(jnp.stack([lax.axis_index(name) == 0 for name in axes]))
        return lax.psum(jnp.where(chosen, leaf, jnp.zeros_like(leaf)), axes)

    return jax.tree.map(first, tree)


def sum_over(tree: Tree, axis_name: AxisName) -> Tree:
    """Sum over the devices along ``axis_name``; the device's own where it is not given."""
    if not names(axis_name):
        return tree
    check_axis(axis_name)
    return jax.tree.map(lambda leaf: lax.psum(vary(leaf, frozenset(names(axis_name))), names(axis_name)), tree)


def mean_over(tree: Tree, axis_name: AxisName) -> Tree:
    """Take the mean over the devices along ``axis_name``; the device's own where it is not given."""
    return jax.tree.map(lambda leaf: leaf / device_count(axis_name), sum_over(tree, axis_name)) if axis_name else tree


def largest(array: Any, axis_name: AxisName) -> Any:
    """Return the largest number of the devices along ``axis_name``, as a constant; the device's own where not given."""
    if not names(axis_name):
        return array
    check_axis(axis_name)
    return lax.pmax(lax.stop_gradient(vary(array, frozenset(names(axis_name)))), names(axis_name))


def rows_of_all(rows: Any, axis_name: AxisName) -> Any:
    """Join the rows of the devices along ``axis_name``, in their order; the device's own where it is not given."""
    if not names(axis_name):
        return rows
    check_axis(axis_name)
    return lax.all_gather(vary(rows, frozenset(names(axis_name))), names(axis_name), tiled=True)


def own_rows(rows: Any, count: int, axis_name: AxisName) -> Any:
    """Take the device's own rows, ``count`` of them, out of those of all devices along ``axis_name``."""
    if not names(axis_name):
        return rows
    return lax.dynamic_slice_in_dim(rows, lax.axis_index(names(axis_name)) * count, count)


def device_count(axis_name: AxisName) -> int:
    """Return the number of devices along ``axis_name``; 1 where it is not given."""
    return lax.axis_size(names(axis_name)) if names(axis_name) else 1
