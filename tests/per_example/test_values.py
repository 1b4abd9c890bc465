"""`per_example.values` against a loop over examples."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.per_example
from jaxgrad.per_example import norms, values
from tests.bridge import assert_parity, to_jax, to_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")


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


class Flattening(nn.Module):
    """A network that takes its first axis for the batch."""

    @nn.compact
    def __call__(self, x):
        h = nn.Conv(2, (3, 3), param_dtype=jnp.float64)(x)
        return nn.Dense(3, param_dtype=jnp.float64)(h.reshape(h.shape[0], -1))


def test_errors_of_any_kind_say_that_there_is_one_example(key):
    model = Flattening()
    params = model.init(key, jnp.zeros((1, 4, 4, 1)))
    with pytest.raises(Exception, match="takes ONE example") as caught:
        norms(lambda p, x: model.apply(p, x).sum(), params, jnp.zeros((3, 4, 4, 1)))
    assert type(caught.value).__name__ == "ScopeParamShapeError"


def test_an_axis_of_the_batch_is_not_there():
    def loss(w, x):
        return jnp.sum(w * (x - jax.lax.pmean(x, "batch")))

    with pytest.raises(NameError, match=r"(?s)such as BatchNorm, has no batch"):
        norms(loss, jnp.ones(3), jnp.ones((2, 3)))
