"""Every public function on four devices: under ``jit`` with Auto and Explicit axes, and in `jax.shard_map`.

In `jax.shard_map` a result is that of the device's own examples, compared with a call on its slice of the inputs; with
``axis_name`` it is that of all devices' examples, compared with a call on everything.
"""

import inspect

import jax
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgrad import _sharding, _tree
from tests.bridge import assert_parity, to_jax
from tests.contract._table import GROUPED, ROWS, of_inputs
from tests.contract.house import public_functions
from tests.optimised import optimised
from tests.turns import in_turn, one_in

DEVICES = 4


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """What is tested here is what the programs compute, not how fast they run."""
    with optimised(fully=False):
        yield


def devices(kind, *shape):
    """Return a mesh of the four devices, along ``"d"`` or ``("d", "m")``."""
    return jax.make_mesh(shape or (DEVICES,), ("d", "m")[: len(shape) or 1], axis_types=(kind,) * (len(shape) or 1))


def place(example, inputs, mesh, parameters=lambda path, leaf: P()):
    """Lay the batch over the devices, and give each the parameters, or a part of them."""

    def put(i, tree):
        if i in example.sharded:
            return jax.device_put(tree, NamedSharding(mesh, P("d")))
        where = parameters if i == 0 else lambda path, leaf: P()
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, where(path, leaf))), tree
        )

    placed = tuple(put(i, tree) for i, tree in enumerate(inputs))
    assert all(len(leaf.sharding.device_set) == DEVICES for leaf in jax.tree.leaves(placed))
    return placed


def under_jit_auto(example, inputs):
    assert_parity(example.call(*place(example, inputs, devices(AxisType.Auto))), example.call(*inputs))


def under_jit_explicit(example, inputs):
    """The default axes of `jax.make_mesh`; the mesh is not set."""
    assert_parity(example.call(*place(example, inputs, devices(AxisType.Explicit))), example.call(*inputs))


def under_jit_sharded_parameters(example, inputs):
    """The last layer lies in two parts along a second axis, the batch in two along the first; the mesh is set."""
    mesh, last = devices(AxisType.Explicit, 2, 2), max(_layers(inputs[0]), default=None)

    def where(path, leaf):
        fits = last is not None and _layer(path) == last and leaf.ndim > 0 and leaf.shape[0] % 2 == 0
        return P("m") if fits else P()

    placed = place(example, inputs, mesh, where)
    with jax.set_mesh(mesh):
        assert_parity(example.call(*placed), example.call(*inputs))


def _layers(params):
    return [_layer(path) for path, leaf in jax.tree_util.tree_leaves_with_path(params) if _layer(path)]


def _layer(path):
    return getattr(path[0], "key", None) if path else None


def stack(trees):
    """Join trees along a new leading axis, by NumPy, which compiles no program for every shape."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(trees))


def split(example, inputs):
    """Return the inputs of each device, and which of them differ."""
    mine, inputs = example.sharded or (example.differentiated,), jax.device_get(inputs)

    def of_leaf(leaf, k):
        if example.sharded:
            return np.split(leaf, DEVICES)[k]
        return leaf * np.asarray(1 - 0.1 * k, leaf.dtype)

    def of_device(k):
        return to_jax(
            tuple(
                jax.tree.map(lambda leaf: of_leaf(leaf, k), tree) if i in mine else tree
                for i, tree in enumerate(inputs)
            )
        )

    return [of_device(k) for k in range(DEVICES)], mine


def under_shard_map(example, inputs):
    """A result is that of the device's own inputs, whether the parameters are the same everywhere or cast to vary."""
    apart, mine = split(example, inputs)
    stacked = tuple(stack(trees) if i in mine else trees[0] for i, trees in enumerate(zip(*apart, strict=True)))

    def device(*given):
        given = [_tree.take(tree, 0) if i in mine else tree for i, tree in enumerate(given)]
        both = {"replicated": example.call(*given), "cast": example.call(*cast(given, mine))}
        return jax.tree.map(lambda leaf: leaf[None], vary(both))

    specs = tuple(P("d") if i in mine else P() for i in range(len(inputs)))
    got = jax.jit(jax.shard_map(device, mesh=devices(AxisType.Auto), in_specs=specs, out_specs=P("d")))(*stacked)
    want = stack([example.call(*own) for own in apart])
    assert_parity(got, {"replicated": want, "cast": want})


def over_all_devices(example, inputs):
    """With ``axis_name`` a result is that of all devices' inputs, and known to be the same on all of them."""
    want = example.call(*inputs)

    def device(*given):
        both = given, cast(given, example.sharded)
        return [example.call(*arguments, axis_name="d") for arguments in both]

    def spec(leaf):
        return P() if example.along is None else P(*[None] * (leaf.ndim + example.along), "d")

    specs = tuple(P("d") if i in example.sharded else P() for i in range(len(inputs)))
    out_specs = [jax.tree.map(spec, want)] * 2
    whole = jax.shard_map(device, mesh=devices(AxisType.Auto), in_specs=specs, out_specs=out_specs)
    assert_parity(jax.jit(whole)(*inputs), [want, want])


def cast(inputs, mine):
    """Cast what is replicated to varying, by hand."""
    return [tree if i in mine else vary(tree) for i, tree in enumerate(inputs)]


def vary(tree):
    """Cast what is the same on all devices to varying, as users do."""
    return jax.tree.map(
        lambda leaf: leaf if "d" in jax.typeof(leaf).manual_axis_type.varying else lax.pcast(leaf, "d", to="varying"),
        tree,
    )


PLACEMENTS = {
    "jit, Auto": under_jit_auto,
    "jit, Explicit": under_jit_explicit,
    "jit, Explicit, sharded parameters": under_jit_sharded_parameters,
    "shard_map": under_shard_map,
    "axis_name": over_all_devices,
}


OF_JIT = ("jit, Auto", "jit, Explicit", "jit, Explicit, sharded parameters")
OVER_ALL = [row for row in GROUPED if "axis_name" not in ROWS[row.values[0]].refuses]
"""Where the name of an axis is taken."""


@pytest.mark.parametrize(
    ("placement", "name"),
    [
        # every second function has a transformation in test_transforms.py, and most of the others are here: those of a
        # family share how they vary over devices, and meet all
        *in_turn(OF_JIT, one_in(8, GROUPED, 1)),
        *in_turn(("shard_map",), one_in(6, GROUPED, 3)),
        *in_turn(("axis_name",), one_in(5, OVER_ALL, 1)),
    ],
)
def test_placement(placement, name):
    example = ROWS[name]
    if placement not in example.refuses:
        PLACEMENTS[placement](example, of_inputs(example))


def test_axis_name_is_tried_wherever_it_is_taken():
    functions = public_functions()
    for name, example in ROWS.items():
        takes = "axis_name" in inspect.signature(functions[name.split(":")[0]]).parameters
        assert takes == ("axis_name" not in example.refuses), name


@pytest.mark.parametrize("name", OVER_ALL)
def test_an_axis_that_does_not_exist(name):
    example = ROWS[name]
    inputs = of_inputs(example)
    with pytest.raises(
        ValueError, match=r"axis_name='d' is no axis of a jax.shard_map.*: there is no shard_map around"
    ):
        example.call(*inputs, axis_name="d")
    specs = tuple(P("d") if i in example.sharded else P() for i in range(len(inputs)))
    for axis, checks, reason in (("rows", True, "the axes here are 'd'"), ("d", False, "check_vma=True, the default")):
        inside = jax.shard_map(
            lambda *given, axis=axis: example.call(*given, axis_name=axis),
            mesh=devices(AxisType.Auto),
            in_specs=specs,
            out_specs=P(),
            check_vma=checks,
        )
        with pytest.raises(ValueError, match=f"axis_name='{axis}' .*{reason}"):
            jax.eval_shape(inside, *inputs)


@pytest.mark.parametrize("name", ["gradient.parameter_gradient", "curvature.hvp", "meta.maml_gradient"])
def test_the_table_sees_gradients_that_are_added_up(name, monkeypatch):
    monkeypatch.setattr(_sharding, "own", lambda fun, tree, *data: tree)
    with pytest.raises((AssertionError, TypeError)):
        test_placement("shard_map", name)
