"""`per_example.values` against a loop over examples."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import values
from tests.bridge import assert_parity, to_jax, to_torch


def model(weight, x):
    return jnp.maximum(weight @ x, 0.0)


def test_matches_a_loop():
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=5), rng.normal(size=(4, 5))
    want = torch_ref.per_example.values(lambda w, p: (w @ p).clamp(min=0), to_torch(weight), to_torch(x))
    assert_parity(values(model, *to_jax((weight, x))), want)


def test_rejects_an_empty_batch():
    with pytest.raises(ValueError, match="the batch is empty"):
        values(model, jnp.ones(5), jnp.ones((0, 5)))


def test_an_error_inside_shows_the_one_example():
    with pytest.raises(TypeError, match=r"(?s)takes ONE example.*batch\[0\]: float64\[7\]"):
        values(model, jnp.ones(5), jnp.ones((3, 7)))
