"""How much memory a meta-gradient may take: programs compiled in full, unlike those of the rest of the family."""

import jax
import jax.numpy as jnp
import pytest

from jaxgrad.meta import maml_gradient
from tests.meta.tasks import OPTIMIZERS
from tests.problems import mean_square

pytestmark = pytest.mark.usefixtures("compiled_fully")


def temporaries(memory, steps, examples, optimizer="sgd"):
    params = {f"layer{i}": {"weight": jnp.eye(8), "bias": jnp.ones(8)} for i in range(4)}
    data = jnp.ones((1, examples, 8)), jnp.ones((1, examples, 8))
    options = {"optimizer": OPTIMIZERS[optimizer][0], "num_steps": steps, "memory": memory}

    def gradient(params, support, query):
        return maml_gradient(mean_square, params, support, query, **options)

    return jax.jit(gradient).lower(params, data, data).compile().memory_analysis().temp_size_in_bytes


ONE = 2**11 * 8 * 8
"""Bytes of the values of one layer, for 2,048 examples."""


@pytest.mark.parametrize("memory", ["mixed-mode", pytest.param("checkpoint", marks=pytest.mark.slow)])
def test_values_of_one_step_are_held_at_a_time(memory):
    """Unrolled, all 16 steps of four layers are kept: at least 64 times the values of one layer."""
    assert temporaries(memory, 16, 2**11) < 30 * ONE


@pytest.mark.slow
def test_values_of_all_steps_are_held_where_nothing_is_computed_again():
    assert temporaries("unrolled", 16, 2**11) > 64 * ONE


@pytest.mark.slow
def test_nested_steps_keep_about_twice_the_root_of_them():
    """4,096 steps of Adam: the weights and both moments, 8 bytes each."""
    weights = 4 * 72 * 8
    once, nested = (temporaries(memory, 4096, 1, "adam") for memory in ("checkpoint", "nested"))
    assert once > 4096 * 3 * weights
    assert nested < 2.5 * 2 * 64 * 4 * weights
