"""The clock's arithmetic, when its rounds end, and what XLA says of programs."""

import dataclasses
import functools
import math
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bench import _device, _measure, _memory, _phases
from bench._intervals import half_width, median_interval, quartiles, says, settled
from bench._measure import Rule, Timing, first_calls, measure, paired_ratio
from bench._memory import CAN, Peaks
from bench._row import Contender, Program
from bench._run import Settings
from jaxgrad import curvature, nth

pytestmark = pytest.mark.torch


def test_interval_holds_the_median_by_order_statistics():
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    # the textbook's ranks for n = 20 are the 6th and the 15th value
    assert median_interval([float(i) for i in range(1, 21)]) == (10.5, 6.0, 15.0)
    assert median_interval([float(i) for i in range(1, 7)]) == (3.5, 1.0, 6.0)


def test_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for count in (6, 9, 20):
        held = [
            low <= 0 <= high for _, low, high in (median_interval(list(rng.normal(size=count))) for _ in range(2000))
        ]
        # a standard error is half a percent
        assert np.mean(held) > 0.935, count


def test_ratios_are_paired_by_round_over_the_rounds_that_both_ran():
    ours, other = Timing("a", 0, [1.0, 10.0, 2.0, 999.0]), Timing("b", 0, [2.0, 20.0, 4.0])
    assert paired_ratio(ours, other) == (0.5, 0.5, 0.5)


def test_a_ratio_says_something_where_its_interval_leaves_1_out():
    assert [says(i) for i in ((0.9, 0.8, 0.99), (1.1, 1.01, 2.0), (0.9, 0.8, 1.0))] == ["faster", "slower", "nothing"]
    assert half_width((2.0, 1.9, 2.1)) == pytest.approx(0.05)
    assert settled((2.0, 1.97, 2.03), 0.02)
    assert not settled((2.0, 1.9, 2.1), 0.02)
    # three times as slow is known, however many percent
    assert settled((4.0, 3.7, 4.3), 0.02)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


class Clock:
    """Seconds that the contenders themselves say."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(_measure.time, "perf_counter", lambda: self.now)

    def contender(self, name, *seconds):
        def run():
            taken = seconds[min(self.calls.count(name), len(seconds) - 1)]
            self.calls.append(name)
            if isinstance(taken, Exception):
                raise taken
            self.now += taken

        return Contender(name, "jax", run)


def timed(runners, rule):
    timings = first_calls(runners)
    good = [r for r in runners if not timings[r.name].broken]
    return measure(good, timings, rule), timings


def test_rounds_are_interleaved_and_end_for_each_contender_when_its_ratio_is_known(monkeypatch):
    clock = Clock(monkeypatch)
    noisy = [0.0625 + 0.03125 * (i // 2 % 2) for i in range(80)]
    runners = [clock.contender("ours", 0.0625), clock.contender("steady", 0.125), clock.contender("noisy", *noisy)]
    known, timings = timed(runners, Rule(0.02, 6, 20, math.inf))
    assert not known
    assert [len(timings[name].samples) for name in ("ours", "steady", "noisy")] == [20, 6, 20]
    # after two calls of each, rounds of all: one call without the clock, one with it
    rounds = [clock.calls[i : i + 6] for i in range(6, 6 + 6 * 6, 6)]
    assert all(one[::2] == one[1::2] and sorted(one[::2]) == ["noisy", "ours", "steady"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert paired_ratio(timings["ours"], timings["steady"]) == (0.5, 0.5, 0.5)


def test_rounds_end_when_all_ratios_are_known_and_when_the_seconds_are_spent(monkeypatch):
    clock = Clock(monkeypatch)
    known, timings = timed([clock.contender("ours", 1.0), clock.contender("rival", 2.0)], Rule(0.02, 6, 20, math.inf))
    assert known
    assert len(timings["ours"].samples) == 6
    slow, timings = timed([clock.contender("slow", 9.0), clock.contender("rival", 9.0)], Rule(0.02, 6, 20, 30.0))
    assert not slow
    assert len(timings["slow"].samples) == 3


def test_a_contender_that_raises_is_told_and_the_others_go_on(monkeypatch):
    clock = Clock(monkeypatch)
    spent = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nand more")
    runners = [
        clock.contender("ours", 1.0),
        clock.contender("at once", ValueError("no such network\nand more")),
        clock.contender("later", 1.0, 1.0, 1.0, spent),
        clock.contender("rival", 2.0),
    ]
    known, timings = timed(runners, Rule(0.02, 6, 6, math.inf))
    assert known
    assert timings["at once"].broken == "ValueError: no such network"
    assert timings["later"].broken == (
        "ran out of memory (RuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)"
    )
    assert len(timings["rival"].samples) == 6


def test_what_a_call_finds_after_another_contender_does_not_count(monkeypatch):
    clock = Clock(monkeypatch)
    # the first call after the other's takes three times as long
    ours = clock.contender("ours", *[0.3, 0.1] * 40)
    _, timings = timed([ours, clock.contender("rival", 0.2)], Rule(0.02, 6, 6, math.inf))
    assert timings["ours"].samples == pytest.approx([0.1] * 6)


def test_a_call_that_takes_long_is_its_own_warm_up(monkeypatch):
    clock = Clock(monkeypatch)
    timed([clock.contender("ours", 0.4), clock.contender("rival", 0.15)], Rule(0.02, 6, 6, math.inf))
    assert clock.calls.count("ours") == 2 + 6
    assert clock.calls.count("rival") == 2 + 6 * 2


def test_a_long_first_call_of_torch_which_compiles_nothing_is_not_repeated(monkeypatch):
    clock = Clock(monkeypatch)
    rivals = [dataclasses.replace(clock.contender(name, s), framework="torch") for name, s in (("a", 2.0), ("b", 0.1))]
    timed([clock.contender("ours", 1.0), *rivals], Rule(0.02, 6, 6, math.inf))
    assert [clock.calls.count(name) for name in ("ours", "a", "b")] == [2 + 6, 1 + 6, 2 + 3 * 2]


def test_the_first_call_of_what_torch_compiles_says_nothing_of_the_others(monkeypatch):
    clock = Clock(monkeypatch)
    compiled = dataclasses.replace(clock.contender("torch.compile", 32.0, 0.001953125), framework="torch")
    _, timings = timed([clock.contender("ours", 0.0009765625), compiled], Rule(0.02, 6, 6, math.inf))
    # two calls, and in every round one without the clock and three with it
    assert clock.calls.count("torch.compile") == 2 + 6 * 4
    assert timings["torch.compile"].median == pytest.approx(0.001953125)


def test_who_is_far_behind_takes_part_in_a_few_rounds(monkeypatch):
    clock = Clock(monkeypatch)
    runners = [clock.contender(name, seconds) for name, seconds in (("ours", 1.0), ("slow", 4.0), ("rival", 2.0))]
    known, timings = timed(runners, Rule(0.02, 6, 6, math.inf))
    assert known
    assert [len(timings[name].samples) for name in ("ours", "slow", "rival")] == [6, 3, 6]


def test_who_is_far_behind_and_takes_very_long_takes_part_in_two(monkeypatch):
    clock = Clock(monkeypatch)
    runners = [clock.contender(name, seconds) for name, seconds in (("ours", 1.0), ("slow", 100.0), ("rival", 2.0))]
    known, timings = timed(runners, Rule(0.02, 6, 6, math.inf))
    assert known
    assert [len(timings[name].samples) for name in ("ours", "slow", "rival")] == [6, 2, 6]


def test_short_calls_are_repeated_within_a_sample(monkeypatch):
    clock = Clock(monkeypatch)
    _, timings = timed([clock.contender("ours", 0.001), clock.contender("rival", 0.002)], Rule(0.02, 6, 6, math.inf))
    assert clock.calls.count("ours") == 2 + 6 * (1 + 4)
    assert timings["ours"].median == pytest.approx(0.001)


def loss(w, x):
    return jnp.sum(jnp.sin(w * x))


@pytest.mark.parametrize(
    ("fun", "rest"),
    [
        (functools.partial(curvature.hvp, loss), (jnp.ones(3), jnp.ones(3))),
        (functools.partial(nth.derivatives, jnp.sin), (2,)),
        (jax.jit(jax.grad(loss)), (jnp.ones(3),)),
    ],
)
def test_a_first_call_finds_what_the_phases_have_compiled(fun, rest):
    args = (jnp.linspace(0.0, 1.0, 3), *rest)
    with _phases.fresh_cache() as cache:
        _phases.phases(Program(fun, args), Path(cache))
        jax.clear_caches()
        _phases._events.clear()
        fun(*args)
        found = {event.rpartition("/")[2] for event in _phases._events}
    assert "cache_hits" in found
    assert "cache_misses" not in found


def test_costs_and_phases_come_from_the_compiled_program():
    x = jnp.ones((64, 64), jnp.float32)
    before = jax.config.jax_compilation_cache_dir
    phases, cost = _phases.phases(Program(lambda a: a @ a, (x,)))
    assert cost.flops == pytest.approx(2 * 64**3, rel=0.05)
    assert cost.bytes >= 2 * 4 * 64**2
    assert min(phases.trace_s, phases.lower_s, phases.compile_s, phases.warm_compile_s) > 0
    assert phases.cache == "hit"
    assert jax.config.jax_compilation_cache_dir == before


def test_a_cache_that_keeps_nothing_is_a_miss(monkeypatch):
    monkeypatch.setattr(_phases, "SETTINGS", {"jax_persistent_cache_min_compile_time_secs": 1e9})
    assert _phases.phases(Program(lambda a: a + 1, (jnp.ones(3),)))[0].cache == "miss"


def test_torch_results_are_waited_for_too():
    assert _measure.wait({"a": torch.ones(2), "b": jnp.ones(2)})["a"].sum() == 2


@pytest.mark.slow
@pytest.mark.skipif(not CAN.exists(), reason="Linux alone tells")
def test_peak_memory_comes_from_a_fresh_process():
    asked = {"family": "gradient", "key": "gradient.jacobian: MLP 32-64-64-4, batch 16", "contender": "jaxgrad"}
    asked |= {"settings": Settings(quick=False, device="cpu", dtype="float32")}
    peaks = Peaks()
    assert 0 <= peaks.measure(asked) < 2**30
    assert peaks.measure({**asked, "contender": "no such contender"}) is None


def test_the_peak_on_an_accelerator_is_what_xla_plans_and_what_torch_counts(monkeypatch):
    x = jnp.ones((64, 32), jnp.float32)
    _, cost = _phases.phases(Program(lambda a: jnp.sin(a @ a.T), (x,)))
    ours = Contender("jaxgrad", "jax", lambda: x)
    assert cost.output_bytes == 4 * 64 * 64
    assert _memory.peak_on_device(ours, cost) == cost.temporary_bytes + 4 * 64 * 64
    assert _memory.peak_on_device(ours, None) is None
    assert _memory.peak_on_device(ours, dataclasses.replace(cost, temporary_bytes=None)) is None

    held = SimpleNamespace(now=100, most=100)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(held, "most", held.now))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: held.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held.most)
    held.most = 900
    rival = Contender("torch", "torch", lambda: setattr(held, "most", held.now + 7))
    assert _memory.peak_on_device(rival, None) == 7


def test_a_backend_that_tells_nothing_of_a_program():
    """As JAX gives it for plugins without an analysis."""
    silent = SimpleNamespace(cost_analysis=lambda: None, memory_analysis=lambda: None, as_text=lambda: None)
    assert _phases.cost_of(silent) == _phases.Cost(None, None, None, None, None)


def test_cpu_is_the_default_backend_too_where_it_is_asked_for(monkeypatch):
    """Functions choose their way by `jax.default_backend`, and forked processes read the variable."""
    before = jax.config.jax_platforms
    monkeypatch.setenv("JAX_PLATFORMS", "")
    try:
        assert _device.check_device("bench", "cpu") == "cpu"
        assert (os.environ["JAX_PLATFORMS"], jax.config.jax_platforms) == ("cpu", "cpu")
    finally:
        jax.config.update("jax_platforms", before)
