"""Where Flax and JAX fall back to float32, a comparison in float64 does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxgrad.verify.port.frameworks._contexts import follow, precision
from jaxgrad.verify.port.frameworks._lift_jax import lifted, narrow_lines, trace


def attention(query, key, value, bias=None, mask=None, *, scale=None, is_causal=False):
    """Attention by its formula, in the dtype that it is given."""
    shared = query.shape[-2] // key.shape[-2]
    key, value = (np.repeat(x, shared, axis=-2) for x in (key, value))
    scores = np.einsum("btnh,bsnh->bnts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if bias is None else scores + bias
    kept = np.tril(np.ones(scores.shape[-2:], bool)) if is_causal else np.ones(scores.shape[-2:], bool)
    scores = np.where(kept if mask is None else kept & mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), value)


@pytest.mark.parametrize(
    "options",
    [pytest.param({}, marks=pytest.mark.slow), {"scale": 0.3}, {"is_causal": True},
     {"bias": 0.5 * np.ones((2, 4, 5, 6))}, {"mask": np.random.default_rng(1).random((2, 1, 5, 6)) > 0.3}],
)  # fmt: skip
def test_the_softmax_of_jaxs_attention_is_taken_in_float64(options):
    rng = np.random.default_rng(0)
    query, key, value = (rng.normal(size=shape) for shape in ((2, 5, 4, 3), (2, 6, 2, 3), (2, 6, 2, 3)))

    def attend(*args):
        return jax.nn.dot_product_attention(*args, **options)

    with precision():
        got = lifted(attend, data=False)(query, key, value)
        # its cast is no line of the user's
        assert narrow_lines(trace(attend, (query, key, value))) == []
        rounded = attend(query, key, value)
    want = attention(query, key, value, **options)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, atol=1e-14)
    # JAX by itself rounds: without that this test would show nothing
    assert np.abs(rounded - want).max() > 1e-10


def test_the_gradient_of_jaxs_attention_is_taken_in_float64():
    query = np.random.default_rng(0).normal(size=(1, 3, 2, 4))

    def loss(x):
        return jnp.sum(jax.jit(jax.nn.dot_product_attention)(x, x, jnp.cos(x)) ** 2)

    with precision():
        wide = lifted(loss, data=False)
        slope = np.asarray(jax.grad(wide)(query))
        step = 1e-5 * np.cos(np.arange(query.size)).reshape(query.shape)
        moved = (wide(query + step) - wide(query - step)) / 2
    np.testing.assert_allclose(np.vdot(slope, step), moved, rtol=1e-8)


def test_a_softmax_of_the_users_in_float32_stays_one_beside_an_attention():
    x = np.random.default_rng(0).normal(size=(1, 3, 2, 4))

    def both(x):
        h = jax.nn.dot_product_attention(x, x, x)
        return jax.nn.softmax(h.astype(jnp.float32)).astype(x.dtype)

    with precision():
        got = np.asarray(lifted(both, data=False)(x))
        lines = narrow_lines(trace(both, (x,)))
    np.testing.assert_array_equal(got, got.astype(np.float32))
    assert lines
    assert all("both" in line for line in lines)


def test_an_embedding_follows_its_table_unless_told_otherwise():
    plain = nnx.Embed(3, 2, rngs=nnx.Rngs(0))
    follow(plain, jnp.float64)
    assert plain.dtype == jnp.float64
    half = nnx.Embed(3, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    follow(half, jnp.float64)
    assert half.dtype == jnp.bfloat16
