"""What runs in turn leaves no kind out, and what is compiled quickly serves nobody else."""

import jax
import jax.numpy as jnp
import pytest

from tests.optimised import optimised
from tests.turns import covering, in_turn, one_in


def quick(pairs):
    return [pair.values for pair in pairs if not pair.marks]


def test_every_kind_meets_a_row():
    assert quick(in_turn("ab", one_in(3, range(6)))) == [("a", 0), ("b", 3)]
    assert quick(in_turn("ab", one_in(2, range(8)))) == [("a", 0), ("b", 2), ("a", 4), ("b", 6)]


@pytest.mark.parametrize(("kinds", "rows"), [("ab", one_in(8, range(8))), ("abc", [0, 1])])
def test_a_kind_that_meets_no_row_is_refused(kinds, rows):
    with pytest.raises(ValueError, match=rf"of {len(kinds)} kinds, .* meet no row that is not slow"):
        in_turn(kinds, rows)


def test_a_few_of_a_product_show_every_value():
    product = covering("ab", "xyz", one_in(2, range(4)))
    assert len(product) == 24
    assert quick(product) == [("a", "x", 0), ("a", "z", 0), ("b", "y", 2)]
    assert all(any(mark.name == "slow" for mark in one.marks) for one in product if one.marks)


def test_a_program_that_is_compiled_quickly_serves_nobody_else():
    traces = []

    @jax.jit
    def twice(x):
        traces.append(None)
        return 2 * x

    x, counts = jnp.ones(3), []
    for fully in (True, False, True, False):
        with optimised(fully):
            twice(x)
        counts.append(len(traces))
    assert counts == [1, 2, 2, 2]
