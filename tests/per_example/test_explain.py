"""`per_example.explain`: every leaf is listed, and what has no rule says so."""

import functools

import jax
import jax.numpy as jnp
import pytest

from bench import _per_example_models as models
from jaxgrad.per_example import clipped_sum, explain
from tests.per_example.zoo import ZOO

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_lists_every_leaf_and_why():
    model = ZOO["without a rule"]()
    plan = explain(model.loss, model.params, *model.batch, mode="book-keeping")
    assert [leaf.leaf for leaf in plan.leaves] == ["a", "b", "c", "idle"]
    assert all(leaf.method == "tap" and leaf.why for leaf in plan.leaves)
    head, *lines, last = str(plan).splitlines()
    assert head.split()[:4] == ["leaf", "shape", "method", "rows"]
    assert len(lines) == 4
    assert last.startswith("3 examples at once")


def test_counts_the_uses_of_tied_weights():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = ZOO["language model"]()
        plan = {leaf.leaf: leaf for leaf in explain(model.loss, model.params, *model.batch).leaves}
    # five lookups and five positions of the head; a block applied twice to five positions
    assert plan["params/Embed_0/embedding"].rows == 10
    assert plan["params/Block_0/Dense_0/kernel"].rows == 10
    assert plan["params/table"].method == "tap"


def test_takes_shapes_alone_and_reports_the_chunk():
    def loss(params, x):
        return jnp.sum(jnp.tanh(x @ params["w"]))

    shapes = {"w": jax.ShapeDtypeStruct((512, 256), jnp.float32)}
    plan = explain(loss, shapes, jax.ShapeDtypeStruct((64, 512), jnp.float32))
    (leaf,) = plan.leaves
    assert (leaf.method, leaf.rows, plan.microbatch) == ("ghost", 1, 64)
    assert leaf.bytes_saved == 512 * 256 * 4 - leaf.bytes_held


NETWORKS = {
    "dense": lambda: models.mlp((784, 512, 512, 10), 256),
    "convolutions": lambda: models.cnn(28, (16, 32), 128, 256),
    "transformer": lambda: models.transformer(2, 128, 64, 64),
    "language model": lambda: models.language_model(1024, 128, 32, 32),
    "lstm": lambda: models.lstm(128, 32, 64),
    "stack": lambda: models.stack(6, 256, 256),
}


def forecast_and_temporaries(network, mode):
    """Return the bytes that the plan foretells, and those that XLA takes."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (network.params, network.batch))
    params, batch = jax.tree.map(
        lambda s: s if jnp.issubdtype(s.dtype, jnp.integer) else jax.ShapeDtypeStruct(s.shape, jnp.float32), shapes
    )
    fun = functools.partial(clipped_sum, network.loss, clip_norm=1.0, mode=mode)
    taken = jax.jit(lambda p, *b: fun(p, *b)).lower(params, *batch).compile().memory_analysis().temp_size_in_bytes
    return explain(network.loss, params, *batch, mode=mode).bytes_held, taken


@pytest.mark.parametrize("name", [n if n == "dense" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_foretells_the_temporaries_and_never_takes_more_than_materialising(name):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        network = NETWORKS[name]()
        forecast, taken = forecast_and_temporaries(network, "auto")
        assert taken / 2 < forecast < 2 * taken
        assert taken <= forecast_and_temporaries(network, "vmap")[1]
