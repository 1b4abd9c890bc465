"""The engine against the loop over batches of one, on every model of the zoo and in every mode."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import _tree
from jaxgrad.per_example import clipped_sum, norms
from jaxgrad.per_example._engine import _rules
from tests.bridge import assert_parity
from tests.per_example.zoo import ZOO


@pytest.fixture(autouse=True)
def _loose_promotion():
    # Flax's norms compute their statistics in float32 under strict promotion
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        # the programs are large and run once
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


def loop(model):
    """Return one gradient after the other, and the norm of each."""
    gradient = jax.jit(jax.grad(model.loss))
    size = jax.tree.leaves(model.batch)[0].shape[0]
    rows = [gradient(model.params, *_tree.take(model.batch, i)) for i in range(size)]
    return rows, jnp.stack([_tree.norm(row) for row in rows])


def clipped_loop(model, clip_norm):
    rows, lengths = loop(model)
    scales = [min(1.0, clip_norm / float(n)) for n in lengths]
    return functools.reduce(_tree.add, [_tree.scale(g, s) for g, s in zip(rows, scales, strict=True)])


def median_between(lengths):
    """A norm between two examples, so that some are clipped and some are not."""
    ordered = np.sort(np.asarray(lengths))
    return float(ordered[0] + ordered[1]) / 2


@pytest.mark.parametrize("name", ZOO)
def test_is_exact(name):
    model = ZOO[name]()
    _, lengths = loop(model)
    clip_norm = median_between(lengths)
    total, info = clipped_sum(model.loss, model.params, *model.batch, clip_norm=clip_norm, mode="book-keeping")
    assert_parity(info.norms, lengths)
    assert_parity(total, clipped_loop(model, clip_norm), dtypes=True)
    assert_parity(info.fraction_clipped, 2 / 3)


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
    clip_norm = median_between(loop(model)[1])
    want = clipped_loop(model, clip_norm)
    for mode, microbatch in (("auto", 2), ("ghost", 2), ("ghost", None), ("materialise", 1)):
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
    ("rule", "name"), [("_dot", "dense on vectors"), ("_conv", "convolutions"), ("_gather", "language model")]
)
def test_a_planted_error_in_a_rule_is_caught(monkeypatch, rule, name):
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


@pytest.mark.parametrize("eps", [1e-1, 1e-2, 1e-3, 1e-4])
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
    want = functools.reduce(_tree.add, rows)
    assert_parity(total, {**want, "b": jnp.zeros_like(want["b"])})
    assert_parity(info.norms, jnp.stack([_tree.norm({"a": r["a"], "c": r["c"]}) for r in rows]))
