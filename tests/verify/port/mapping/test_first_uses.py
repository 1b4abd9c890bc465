"""The order in which a function first uses its parameters."""

import jax
import jax.numpy as jnp

from jaxgrad.verify.port.mapping._first_uses import first_uses, with_unseen


def test_the_order_of_use_also_inside_of_functions_that_are_called():
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2), "unused": jnp.ones(2)}
    later = jax.jit(lambda a, x: a * x)

    def apply(p, x):
        return later(p["a"], x * p["c"]) + p["b"] + p["c"]

    program = jax.make_jaxpr(apply)(params, jnp.ones(2)).jaxpr
    assert first_uses(program, params) == {"c": 0, "a": 1, "b": 2}


def test_what_nobody_saw_follows_the_layer_that_was_used_before_it():
    uses = {"emb/kernel": 0, "token": 1, "fw/hi/kernel": 2, "fw/ii/kernel": 3, "bw/hi/kernel": 4, "out/kernel": 5}
    found = with_unseen({"": 0, "emb": 1, "scan": 2, "out": 3}, uses)
    assert sorted(found, key=found.get) == [
        *("", "emb", "fw/hi/kernel", "fw/hi", "fw", "fw/ii/kernel", "fw/ii", "bw/hi/kernel", "bw/hi", "bw"),
        *("scan", "out"),
    ]


def test_a_function_shows_its_uses_alone():
    assert with_unseen({}, {"b/kernel": 1, "a": 0}) == {"a": 0, "b/kernel": 1, "b": 2}
