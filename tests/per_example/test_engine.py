"""The engine against the loop over batches of one and against torch, on every model of the zoo and in every mode."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import torch_ref.per_example
from jaxgrad import _tree
from jaxgrad._uses import _rules
from jaxgrad.per_example import clipped_sum, norms
from tests.bridge import assert_parity, to_torch
from tests.per_example.zoo import ZOO
from tests.per_example.zoo_torch import LOSSES
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture(autouse=True)
def _loose_promotion():
    # Flax's norms compute their statistics in float32 under strict promotion
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def loop(model):
    """Return one gradient after the other, and the norm of each, in NumPy."""
    gradient = jax.jit(jax.grad(model.loss))
    examples = zip(*map(np.asarray, model.batch), strict=True)
    rows = [jax.tree.map(np.asarray, gradient(model.params, *example)) for example in examples]
    return rows, np.array([length(row) for row in rows])


def length(tree):
    return np.linalg.norm(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]))


def add(trees, scales=(1.0, 1.0, 1.0)):
    return jax.tree.map(lambda *leaves: sum(s * leaf for s, leaf in zip(scales, leaves, strict=True)), *trees)


def clip(rows, lengths, clip_norm):
    """Add the gradients, none longer than the norm allows."""
    return add(rows, np.minimum(1.0, clip_norm / lengths))


def median_between(lengths):
    """A norm between two examples, so that some are clipped and some are not."""
    ordered = np.sort(lengths)
    return float(ordered[0] + ordered[1]) / 2


def as_dict(tree):
    """Return an NNX state as nested dictionaries; other trees as they are."""
    return nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree


@pytest.mark.parametrize("name", one_in(3, ZOO))
def test_is_exact(name):
    model = ZOO[name]()
    rows, lengths = loop(model)
    clip_norm = median_between(lengths)
    total, info = clipped_sum(model.loss, model.params, *model.batch, clip_norm=clip_norm, mode="book-keeping")
    assert_parity(info.norms, lengths)
    assert_parity(total, clip(rows, lengths, clip_norm), dtypes=True)
    assert_parity(info.fraction_clipped, 2 / 3)
    twin = to_torch((as_dict(model.params), *model.batch))
    total_torch, info_torch = torch_ref.per_example.clipped_sum(LOSSES[name], *twin, clip_norm=clip_norm)
    assert_parity(as_dict(total), total_torch, dtypes=True)
    assert_parity(info._asdict(), info_torch._asdict(), dtypes=True)


@pytest.mark.parametrize(
    "name",
    [
        "stack over positions",
        pytest.param("convolutions", marks=pytest.mark.slow),
        pytest.param("language model", marks=pytest.mark.slow),
        pytest.param("lstm, joined weights", marks=pytest.mark.slow),
    ],
)
def test_modes_and_chunks_agree(name):
    model = ZOO[name]()
    rows, lengths = loop(model)
    clip_norm = median_between(lengths)
    want = clip(rows, lengths, clip_norm)
    for mode, microbatch in (("auto", 2), ("ghost", 2), ("ghost", None), ("vmap", 1)):
        got, _ = clipped_sum(
            model.loss, model.params, *model.batch, clip_norm=clip_norm, mode=mode, microbatch=microbatch
        )
        assert_parity(got, want)


@pytest.mark.parametrize("name", ["dense on vectors", pytest.param("language model", marks=pytest.mark.slow)])
def test_norms_can_be_differentiated(name):
    model = ZOO[name]()

    def whole(params):
        return jnp.sum(norms(model.loss, params, *model.batch) ** 2)

    def reference(params):
        rows = jax.vmap(jax.grad(model.loss), (None, 0))(params, *model.batch)
        return _tree.dot(rows, rows)

    direction = jax.tree.map(jnp.ones_like, model.params)
    assert_parity(jax.jit(jax.grad(whole))(model.params), jax.jit(jax.grad(reference))(model.params))
    slope = jax.jit(lambda p: jax.jvp(whole, (p,), (direction,))[1])(model.params)
    assert_parity(slope, jax.jit(lambda p: jax.jvp(reference, (p,), (direction,))[1])(model.params))


@pytest.mark.parametrize(
    "planted_in",
    one_in(3, [("_dot", "dense on vectors"), ("_conv", "convolutions"), ("_gather", "language model")]),
)
def test_a_planted_error_in_a_rule_is_caught(monkeypatch, planted_in):
    rule, name = planted_in

    def planted(site, index, operand, cotangent):
        left, right = right_rule(site, index, operand, cotangent)
        return left, right * (1 + 1e-6)

    right_rule = getattr(_rules, rule)
    monkeypatch.setattr(_rules, rule, planted)
    model = ZOO[name]()
    got = norms(lambda p, x: model.loss(p, x), model.params, *model.batch, mode="book-keeping")
    with pytest.raises(AssertionError, match="leaves differ"):
        assert_parity(got, loop(model)[1])


def cancelling(eps, seed):
    """Eight pairs of tokens whose contributions to the gradient cancel but for a part ``eps``."""
    rng = np.random.default_rng(seed)
    a, noise, b = (rng.normal(size=(8, 256)) for _ in range(3))
    return np.concatenate([a, a + eps * noise]), np.concatenate([b, -b])


def outer(params, example):
    return jnp.sum((example["u"] @ params["w"]) * example["v"])


@pytest.mark.parametrize("eps", one_in(2, [1e-1, 1e-2, 1e-3, 1e-4], 1))
def test_float32_norms_survive_cancellation(eps):
    pairs = [cancelling(eps, seed) for seed in range(20)]
    batch = {"u": np.stack([u for u, _ in pairs]), "v": np.stack([v for _, v in pairs])}
    want = [np.linalg.norm(u.T @ v) for u, v in pairs]
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)
    # the float32 data themselves round the small difference: compare with their own float64 norm
    rounded = [
        np.linalg.norm(np.float64(u).T @ np.float64(v))
        for u, v in zip(np.asarray(single["u"]), np.asarray(single["v"]), strict=True)
    ]
    got = norms(outer, {"w": jnp.zeros((256, 256), jnp.float32)}, single, mode="book-keeping")
    assert np.abs(np.asarray(got) / rounded - 1).max() < 1e-4
    assert np.abs(rounded / np.asarray(want) - 1).max() < 1e-2


def test_bfloat16_sums_in_float32():
    rng = np.random.default_rng(0)
    batch = {k: jnp.asarray(rng.normal(size=(4, 300, 8)), jnp.bfloat16) for k in ("u", "v")}
    params = {"w": jnp.zeros((8, 8), jnp.bfloat16)}
    got = norms(outer, params, batch)
    want = [np.linalg.norm(np.float64(u).T @ np.float64(v)) for u, v in zip(batch["u"], batch["v"], strict=True)]
    assert got.dtype == jnp.float32
    assert np.abs(np.asarray(got) / want - 1).max() < 0.02


def test_held_leaves_are_neither_counted_nor_moved():
    model = ZOO["dense on vectors"]()
    rows, _ = loop(model)
    total, info = clipped_sum(model.loss, model.params, *model.batch, clip_norm=math.inf, wrt=["a", "c"])
    want = add(rows)
    assert_parity(total, {**want, "b": np.zeros_like(want["b"])})
    assert_parity(info.norms, np.array([length({"a": r["a"], "c": r["c"]}) for r in rows]))
