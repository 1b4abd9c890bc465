"""`_tree`: arithmetic, and the choice of the leaves that count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import _tree
from tests.bridge import assert_parity

PARAMS = {
    "trunk": {"bias": jnp.asarray(np.ones(2)), "kernel": jnp.asarray(np.full((2, 2), 2.0))},
    "head": [jnp.asarray(np.full(3, 3.0))],
}


def test_paths_are_in_tree_order():
    assert _tree.leaf_paths(PARAMS) == ["head/0", "trunk/bias", "trunk/kernel"]


@pytest.mark.parametrize(
    ("wrt", "chosen"),
    [
        (None, [True, True, True]),
        ("trunk", [False, True, True]),
        ("*/kernel", [False, False, True]),
        (("head", "trunk/bias"), [True, True, False]),
        (lambda path, leaf: leaf.ndim > 1, [False, False, True]),
    ],
)
def test_selects_by_path_or_predicate(wrt, chosen):
    assert _tree.selected(PARAMS, wrt) == chosen


@pytest.mark.parametrize("wrt", ["trun", ("trunk", "tail"), (), lambda path, leaf: False])
def test_refuses_a_choice_of_nothing(wrt):
    with pytest.raises(ValueError, match=r"selects no leaf of params.*the leaves are head/0, trunk/bias, trunk/kernel"):
        _tree.selected(PARAMS, wrt)


def test_restrict_holds_the_other_leaves():
    subset = _tree.restrict(lambda p, x: p["trunk"]["kernel"].sum() * p["head"][0].sum() * x, PARAMS, "head")
    gradient = jax.grad(subset.fun)(subset.active, 2.0)
    assert_parity(
        subset.embed(gradient), jax.tree.map(jnp.zeros_like, PARAMS) | {"head": [jnp.full(3, 16.0)]}, tolerance=0
    )
    assert_parity(subset.pick(PARAMS), [PARAMS["head"][0]], tolerance=0)


def test_dot_and_norm():
    assert _tree.dot(PARAMS, PARAMS) == 2 + 16 + 27
    assert _tree.norm(PARAMS) == jnp.sqrt(45.0)
    assert _tree.norms_of_rows({"a": jnp.array([[3.0, 4.0], [0.0, 0.0]])}).tolist() == [5, 0]


def test_norm_at_zero_has_the_derivative_zero():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    assert_parity(jax.grad(_tree.norm)(zero), zero, tolerance=0)
    assert_parity(jax.jvp(_tree.norm, (zero,), (PARAMS,))[1], 0.0, tolerance=0)


def test_sums_are_accumulated_in_float32():
    ones = jnp.ones(4096, jnp.bfloat16)
    assert _tree.dot(ones, ones) == 4096
    assert _tree.dot(ones, ones).dtype == jnp.float32


def test_norm_of_nothing_is_zero():
    assert _tree.norm({}) == 0
