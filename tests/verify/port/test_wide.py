"""Where Flax and JAX fall back to float32, a comparison in float64 does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxgrad.verify.port.frameworks._contexts import ATTENTION, follow, wide_attention
from jaxgrad.verify.port.frameworks._jax_model import precision


@pytest.mark.parametrize(
    "options",
    [{}, {"scale": 0.3}, {"is_causal": True}, {"bias": 0.5 * np.ones((2, 4, 5, 6))},
     {"mask": np.random.default_rng(1).random((2, 1, 5, 6)) > 0.3}],
)  # fmt: skip
def test_wide_attention_is_jaxs_attention(options):
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, 5, 4, 3), (2, 6, 2, 3), (2, 6, 2, 3)))
    with precision():
        got = jax.nn.dot_product_attention(query, key, value, **options)
        # other precisions go to JAX's own
        narrow = jax.nn.dot_product_attention(*(x.astype(jnp.float32) for x in (query, key, value)), **options)
        want = ATTENTION(query, key, value, **options)
    assert got.dtype == want.dtype == jnp.float64
    np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(narrow, want, atol=1e-6)


def test_contexts_may_overlap():
    with wide_attention():
        with wide_attention():
            pass
        assert jax.nn.dot_product_attention is not ATTENTION
    assert jax.nn.dot_product_attention is ATTENTION


def test_an_embedding_follows_its_table_unless_told_otherwise():
    plain = nnx.Embed(3, 2, rngs=nnx.Rngs(0))
    follow(plain, jnp.float64)
    assert plain.dtype == jnp.float64
    half = nnx.Embed(3, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    follow(half, jnp.float64)
    assert half.dtype == jnp.bfloat16
