"""`per_example.explain`: every leaf is listed, and what has no rule says so."""

import jax
import jax.numpy as jnp

from jaxgrad.per_example import explain
from tests.per_example.zoo import ZOO


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
