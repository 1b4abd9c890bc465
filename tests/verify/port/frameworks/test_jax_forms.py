"""A JAX model in any of the forms in which a user may have one."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad.verify.port.frameworks._function import FunctionModel
from jaxgrad.verify.port.frameworks._jax_forms import make


def test_a_function_with_its_parameters():
    model = make((lambda p, x: p["w"] * x, {"w": jnp.full(2, 3.0)}), {}, (np.ones(2),), train=False)
    assert isinstance(model, FunctionModel)
    out, rest = model.apply(model.params, {}, jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(out, [3.0, 6.0])
    assert rest == {}


@pytest.mark.parametrize("given", [3, "model", (3, {}), jnp.tanh])
def test_what_is_no_model_is_refused_with_what_is(given):
    with pytest.raises(TypeError, match=r"jax must be a linen module, .* or \(apply_fn, params\); got"):
        make(given, {}, (), train=False)
