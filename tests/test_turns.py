"""What runs in turn leaves no kind out, and what is compiled quickly serves nobody else."""

import jax
import jax.numpy as jnp
import pytest

from tests.optimised import optimised
from tests.turns import in_turn, one_in


def quick(pairs):
    return [pair.values for pair in pairs if not pair.marks]


def test_every_kind_meets_a_row():
    assert quick(in_turn("ab", one_in(3, range(6)))) == [("a", 0), ("b", 3)]


@pytest.mark.parametrize(
    ("kinds", "rows"), [("ab", one_in(2, range(8))), ("abcd", one_in(6, range(48))), ("abc", [0, 1])]
)
def test_a_kind_that_meets_no_row_is_refused(kinds, rows):
    with pytest.raises(
        ValueError, match=rf"of {len(kinds)} kinds, .* meet no row that is not slow: give one_in a step"
    ):
        in_turn(kinds, rows)


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
