"""`shift.explain`: which leaves are shifted by thin products, which are not, and the words that say why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.shift import explain

PARAMS = {
    "table": jnp.asarray(np.ones((50, 8))),
    "hidden": jnp.asarray(np.ones((8, 6))),
    "bias": jnp.asarray(np.ones(6)),
    "whole": jnp.asarray(np.ones((6, 6))),
    "twisted": jnp.asarray(np.ones((6, 4, 5))),
    "joined": jnp.asarray(np.ones((6, 3))),
    "thin": jnp.asarray(np.ones((6, 2))),
    "idle": jnp.asarray(np.ones((3, 3))),
    "empty": jnp.asarray(np.ones((0, 3))),
}
IDS = jnp.asarray(np.zeros(4, int))


def loss(p, ids):
    """Uses with a rule, twice or once, and uses without."""
    x = jnp.tanh(p["table"][ids] @ p["hidden"] + p["bias"][None])
    out = jnp.sum(x @ p["whole"].astype(jnp.int8).astype(x.dtype))
    out += jnp.sum(jnp.tensordot(x, p["twisted"], 1)) + jnp.sum(jnp.einsum("bi,ijk->bjk", x, p["twisted"]) ** 2)
    out += jnp.sum(jnp.einsum("bj,ijk->bik", x[:, :4], p["twisted"]))
    out += jnp.sum(x @ jnp.concatenate([p["joined"], p["joined"]], axis=1)) + jnp.sum(x @ p["thin"])
    return out + jnp.sum(x @ p["hidden"].T @ p["table"].T) + jnp.sum(p["hidden"] ** 2)


def test_says_of_every_leaf_what_becomes_of_it():
    plan = explain(loss, PARAMS, IDS, rank=2)
    found = {leaf.leaf: leaf for leaf in plan.leaves}
    assert {name: (x.method, x.matrices, x.thin_uses, x.dense_uses, x.why) for name, x in found.items()} == {
        "table": ("low rank", (1, 50, 8), 2, 0, ""),
        "hidden": ("low rank", (1, 8, 6), 2, 1, "enters integer_pow too"),
        "bias": ("dense", None, 0, 1, "enters add"),
        "whole": ("dense", None, 0, 1, "enters convert_element_type"),
        "twisted": ("low rank", (1, 6, 20), 2, 1, "other uses split its axes in another way"),
        "joined": ("dense", None, 0, 2, "enters concatenate"),
        "thin": ("dense", None, 0, 1, "rank 2 on 6x2 is no less than all of it"),
        "idle": ("dense", None, 0, 0, "the loss does not depend on it"),
        "empty": ("dense", None, 0, 0, "it has no entries"),
    }
    assert found["table"].numbers == 2 * (50 + 8)
    assert plan.full == sum(leaf.size for leaf in jax.tree.leaves(PARAMS))
    assert plan.numbers == 116 + 28 + 6 + 36 + 52 + 18 + 12 + 9
    assert "1 of 50x8" in str(plan)
    assert str(plan).endswith("a shift of rank 2 has 277 random numbers, one of full rank 649")


def test_computes_nothing_and_takes_a_pair():
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (PARAMS, IDS[None]))
    plan = explain(lambda p, ids: (loss(p, ids), ids), *shapes, rank=1, per_example=True, wrt="hidden")
    assert [leaf.leaf for leaf in plan.leaves] == ["hidden"]


def test_refuses():
    with pytest.raises(ValueError, match="rank must be at least 1; got 0"):
        explain(loss, PARAMS, IDS, rank=0)
    with pytest.raises(ValueError, match="loss_fn must return a scalar"):
        explain(lambda p, ids: p["table"][ids], PARAMS, IDS, rank=1)
    with pytest.raises(ValueError, match="selects no leaf"):
        explain(loss, PARAMS, IDS, rank=1, wrt="head")
