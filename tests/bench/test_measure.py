"""The clock's arithmetic, and that contenders which disagree are never timed."""

import jax.numpy as jnp
import pytest
import torch

from bench._measure import Timing, check_agreement, compiled, fastest_rival, measure, median_interval, paired_ratio
from bench._memory import peak_growth
from bench._row import Contender, Problem, Program


def test_interval_holds_the_median_by_order_statistics():
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # the textbook's ranks for n = 20 are the 6th and the 15th value
    assert median_interval([float(i) for i in range(1, 21)]) == (10.5, 6.0, 15.0)
    assert median_interval([float(i) for i in range(1, 7)]) == (3.5, 1.0, 6.0)


def test_ratios_are_paired_by_round():
    ours, other = Timing("a", 0, [1.0, 10.0, 2.0]), Timing("b", 0, [2.0, 20.0, 4.0])
    assert paired_ratio(ours, other) == (0.5, 0.5, 0.5)


def double(x):
    return 2 * x


def problem(rival):
    x = jnp.ones(3, jnp.float32)
    return Problem(
        [Contender("ours", "jax", lambda: double(x), Program(double, (x,))), Contender("rival", "torch", rival)],
        gradient=Contender("unit", "jax", lambda: x),
    )


def test_agreeing_contenders_are_timed():
    timings = measure(problem(lambda: 2 * torch.ones(3)), rounds=3)
    assert [t.name for t in timings] == ["ours", "rival", "unit"]
    assert all(len(t.samples) == 3 and t.median > 0 for t in timings)
    assert fastest_rival(problem(lambda: 0), timings).name == "rival"


@pytest.mark.parametrize("answer", [2.001 * torch.ones(3), 2 * torch.ones(4), torch.full((3,), float("nan"))])
def test_disagreeing_contenders_are_not(answer):
    with pytest.raises(AssertionError, match="rival and ours differ at"):
        measure(problem(lambda: answer), rounds=3)


def test_agreement_reads_results_first():
    contender = Contender("rival", "torch", lambda: None, read=lambda result: result["x"])
    check_agreement(
        Problem([problem(lambda: 0).contenders[0], contender]),
        {"ours": jnp.full(3, 2.0), "rival": {"x": torch.full((3,), 2.0)}},
    )


def test_costs_come_from_the_compiled_program():
    x = jnp.ones((64, 64), jnp.float32)
    cost = compiled(Program(lambda a: a @ a, (x,)))
    assert cost.flops == pytest.approx(2 * 64**3, rel=0.05)
    assert cost.trace_s > 0
    assert cost.compile_s > 0


@pytest.mark.slow
def test_peak_memory_comes_from_a_fresh_process():
    assert peak_growth("curvature", "hvp: MLP 784-512-512-10, batch 256", "jaxgrad", True) >= 0
    assert peak_growth("curvature", "hvp: MLP 784-512-512-10, batch 256", "no such contender", True) is None
