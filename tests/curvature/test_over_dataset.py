"""`curvature.over_dataset` against one batch and against torch; uneven batches, devices, memory."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import torch_ref.curvature
from jaxgrad.curvature import (
    fisher_product,
    hvp,
    over_batches,
    over_dataset,
    stack_batches,
    weighted_loss,
)
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.data_set import GGN, HESSIAN, LABELS, PARAMS, PROBLEM, VECTOR, X, Y, batches_of
from tests.problems import mean_square, mean_square_torch, regression
from tests.turns import one_in


def test_matches_torch(compiled_quickly):
    batches, weights = stack_batches((X, Y), 4)
    product = functools.partial(torch_ref.curvature.hvp, torch_ref.curvature.weighted_loss(mean_square_torch))
    given = (product, PROBLEM.params_torch, to_torch(VECTOR))
    want = torch_ref.curvature.over_dataset(*given, tuple(map(torch.as_tensor, batches)), torch.as_tensor(weights))
    assert_parity(over_dataset(HESSIAN, PARAMS, VECTOR, batches, weights), want)


@pytest.mark.parametrize("size", one_in(2, [1, 4, 11, 20], 1))
def test_uneven_batches_are_the_single_batch_exactly(size, compiled_quickly):
    batches, weights = stack_batches((np.asarray(X), np.asarray(Y)), size)
    assert weights.sum() == 11
    want = hvp(mean_square, PARAMS, VECTOR, X, Y)
    assert_parity(over_dataset(HESSIAN, PARAMS, VECTOR, batches, weights), want)


@pytest.mark.parametrize("name", one_in(2, ["ggn", "exact", "empirical"]))
def test_products_with_an_output_loss(name, compiled_quickly):
    """The labels come with the batch, the weights behind them; alone the loss is the mean."""
    product = GGN
    if name != "ggn":
        product = functools.partial(fisher_product, mlp_jax, output_loss="softmax_cross_entropy", kind=name)
    batches, weights = stack_batches((X, LABELS), 4)
    got = over_dataset(product, PARAMS, VECTOR, batches, weights)
    assert_parity(got, product(PARAMS, VECTOR, X, LABELS))
    assert_parity(over_batches(product, PARAMS, VECTOR, iter(batches_of(4, X, LABELS))), got)


def test_several_vectors_and_other_weights(compiled_quickly):
    vectors = jax.tree.map(lambda leaf: jnp.stack([leaf, 3 * leaf]), VECTOR)
    weights = np.arange(12.0).reshape(3, 4)
    batches, mask = stack_batches((X, Y), 4)
    got = over_dataset(HESSIAN, PARAMS, vectors, batches, weights * mask)
    total = weighted_loss(mean_square)
    want = hvp(lambda p: total(p, X, Y, jnp.arange(11.0)) / jnp.sum(jnp.arange(11.0)), PARAMS, VECTOR)
    assert_parity(got, jax.tree.map(lambda leaf: jnp.stack([leaf, 3 * leaf]), want))


def test_the_memory_is_that_of_one_batch_and_the_work_is_linear():
    """Eight times the batches: eight times the operations, and the temporaries of before, in one program."""
    wide = regression((16, 32, 4), batch=256)
    vector = random_like(wide.params, 1)

    def compiled(count):
        batches, weights = stack_batches(tuple(part[: 16 * count] for part in wide.data), 16)
        program = jax.jit(functools.partial(over_dataset, HESSIAN))
        return program.lower(wide.params, vector, batches, weights).compile()

    few, many = compiled(2), compiled(16)
    one = jax.jit(HESSIAN).lower(wide.params, vector, *(part[:16] for part in wide.data), jnp.ones(16)).compile()
    held = [program.memory_analysis().temp_size_in_bytes for program in (few, many, one)]
    # beside the temporaries of one batch, the sum and the slices of the batch itself
    assert held[1] <= held[0] + 1024
    sizes = sum(leaf.nbytes for leaf in jax.tree.leaves((wide.params, vector))) + 16 * 20 * 8
    assert held[0] <= held[2] + 2 * sizes
    # XLA counts the body of a loop once, whatever its length
    flops = [program.cost_analysis()["flops"] for program in (few, many, one)]
    assert flops[0] == pytest.approx(flops[2], rel=0.1)
    assert flops[1] == pytest.approx(flops[0], rel=0.1)


def line(kind=AxisType.Auto):
    return jax.make_mesh((4,), ("d",), axis_types=(kind,))


def sixteen():
    """Return a data set of which each of four devices holds four examples, in batches of two a device."""
    problem = regression((3, 4, 2), batch=16)
    batches = jax.tree.map(lambda leaf: leaf.reshape(2, 8, *leaf.shape[1:]), problem.data)
    return problem.params, problem.data, batches, jnp.ones((2, 8)).at[1, 5:].set(0)


def mean_of_counted(params, vector, data):
    """Return the product of the mean over the first thirteen examples, the only ones that count."""
    return hvp(mean_square, params, vector, *(part[:13] for part in data))


def test_shard_map_divides_by_the_examples_of_all_devices(compiled_quickly):
    """Neither x times nor one x-th of the devices, where the shards hold different numbers of examples too."""
    params, data, batches, weights = sixteen()
    vector = random_like(params, 1)
    spread = P(None, "d")
    got = jax.jit(
        jax.shard_map(
            lambda *given: over_dataset(HESSIAN, *given, axis_name="d"),
            mesh=line(),
            in_specs=(P(), P(), spread, spread),
            out_specs=P(),
        )
    )(params, vector, batches, weights)
    assert_parity(got, mean_of_counted(params, vector, data))


@pytest.mark.parametrize("kind", one_in(2, [AxisType.Auto, AxisType.Explicit], 1))
def test_sharded_batches_under_jit(kind, compiled_quickly):
    params, data, batches, weights = sixteen()
    vector = random_like(params, 1)
    mesh = line(kind)
    spread = jax.device_put((batches, weights), NamedSharding(mesh, P(None, "d")))
    alike = jax.device_put((params, vector), NamedSharding(mesh, P()))
    got = over_dataset(HESSIAN, *alike, *spread)
    assert_parity(got, mean_of_counted(params, vector, data))


PROCESS = """
import functools, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxgrad.curvature import hvp, over_dataset, weighted_loss
from tests.curvature.test_over_dataset import HESSIAN, mean_of_counted, random_like, sixteen
from tests.bridge import assert_parity
params, data, batches, weights = sixteen()
vector = random_like(params, 1)
mesh = jax.make_mesh((jax.device_count(),), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
def spread(tree, spec):
    place = NamedSharding(mesh, spec)
    def put(leaf):
        return jax.make_array_from_callback(leaf.shape, place, lambda i: np.asarray(leaf)[i])
    return jax.tree.map(put, tree)
given = (*spread((params, vector), P()), *spread((batches, weights), P(None, "d")))
under_jit = over_dataset(HESSIAN, *given)
mapped = jax.jit(jax.shard_map(lambda *g: over_dataset(HESSIAN, *g, axis_name="d"), mesh=mesh,
    in_specs=(P(), P(), P(None, "d"), P(None, "d")), out_specs=P()))(*given)
want = mean_of_counted(params, vector, data)
own = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), tree)
assert_parity([own(under_jit), own(mapped)], [want, want])
print(jax.process_count(), jax.device_count())
"""


@pytest.mark.slow
def test_two_processes():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(root)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, "localhost:12457", str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=root,
        )
        for i in range(2)
    ]
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert out.split()[-2:] == ["2", "4"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batches": [X]}, TypeError, "batches must be a tuple"),
        (
            {"weights": np.ones(3)},
            ValueError,
            r"(?s)weights must have the first two axes.*got float64\[3\].*batches\[0\]",
        ),
        ({"weights": np.ones((2, 4))}, ValueError, "(?s)every leaf must have the same leading axis.*weights: got"),
        ({"product": functools.partial(HESSIAN, full_output=True)}, ValueError, "leave has_aux and full_output out"),
    ],
)
def test_refuses_what_does_not_stack(change, error, words):
    batches, weights = stack_batches((X, Y), 4)
    given = {"product": HESSIAN, "batches": batches, "weights": weights, **change}
    with pytest.raises(error, match=words):
        over_dataset(given["product"], PARAMS, VECTOR, given["batches"], given["weights"])
