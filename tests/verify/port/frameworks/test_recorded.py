"""The calls of a model are noted and recorded, and nothing that it computes changes."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.port.frameworks._recorded import apply_recorded, noting

X = np.arange(3.0, dtype=np.float32)
NOTED = [(("net", 0), (3,)), (("fc", 0), (3,)), (("fc", 1), (3,)), (("count", 0), None)]


class Model:
    """Two calls of one layer inside of another, and one that returns an integer."""

    def apply(self, params, rest, x, watch=None):
        watch = watch or (lambda path, call, args, kwargs: call(*args, **kwargs))

        def layer(x):
            return watch("fc", lambda x: jnp.sin(params * x), (x,), {})

        output = watch("net", lambda x: layer(layer(x)), (x,), {})
        return output + watch("count", len, (x,), {}), rest


def test_calls_are_noted_in_order_with_what_they_return():
    found = []
    jax.eval_shape(lambda x: Model().apply(2.0, {}, x, watch=noting(found))[0], X)
    assert found == NOTED


def test_the_gradient_of_an_added_zero_is_the_cotangent_of_a_call():
    zeros = {slot: np.zeros(shape, np.float32) for slot, shape in NOTED if shape}

    def loss(zeros):
        output, _, seen = apply_recorded(Model(), 2.0, {}, zeros, X)
        return output.sum(), (output, seen)

    back, (output, (returned, given)) = jax.grad(loss, has_aux=True)(zeros)
    inner = np.sin(2 * X)
    np.testing.assert_allclose(returned["fc", 0], inner, rtol=1e-6)
    np.testing.assert_allclose(given["fc", 1][0], inner, rtol=1e-6)
    np.testing.assert_allclose(back["net", 0], 1)
    np.testing.assert_allclose(back["fc", 0], 2 * np.cos(2 * inner), rtol=1e-5)
    np.testing.assert_array_equal(output, Model().apply(2.0, {}, X)[0])


def test_without_zeros_nothing_is_watched():
    output, rest, seen = apply_recorded(Model(), 2.0, {"state": 1}, {}, X)
    assert (rest, seen) == ({"state": 1}, ({}, {}))
    np.testing.assert_array_equal(output, Model().apply(2.0, {}, X)[0])
