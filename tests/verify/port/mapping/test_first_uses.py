"""The order in which a function first uses its parameters."""

import jax
import jax.numpy as jnp

from jaxgrad.verify.port.mapping._first_uses import first_uses


def test_the_order_of_use_also_inside_of_functions_that_are_called():
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2), "unused": jnp.ones(2)}
    later = jax.jit(lambda a, x: a * x)

    def apply(p, x):
        return later(p["a"], x * p["c"]) + p["b"] + p["c"]

    program = jax.make_jaxpr(apply)(params, jnp.ones(2)).jaxpr
    assert first_uses(program, params) == {"c": 0, "a": 1, "b": 2}
