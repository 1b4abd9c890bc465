"""Rounding is measured against torch's own, and torch is asked again before JAX is called noisy."""

import numpy as np

from jaxgrad.verify.port.quantities._measure import measure
from jaxgrad.verify.port.quantities._verdicts import add_noise, judge_result

EXACT = {"w": np.ones(4)}


def verdict(ours, theirs, again=()):
    leaves = measure(EXACT, EXACT, str, tolerance=1e-10)
    add_noise(leaves, EXACT, (theirs, ours), "float32", 0.0, again)
    return judge_result("gradient", leaves, 1e-10, 10.0, 0.0)


def test_error_is_counted_in_multiples_of_torchs_own():
    result = verdict({"w": EXACT["w"] + 6e-6}, {"w": EXACT["w"] + 2e-6})
    np.testing.assert_allclose(result.noise, 3.0, rtol=1e-6)
    assert result.verdict == "agree"
    assert verdict({"w": EXACT["w"] + 6e-5}, {"w": EXACT["w"] + 2e-6}).verdict == "noisy"


def test_torch_that_is_exact_by_luck_is_allowed_a_unit_of_rounding():
    assert verdict({"w": EXACT["w"] + 1e-6}, EXACT).verdict == "agree"


def test_a_rectifier_that_torch_switches_too_is_rounding():
    switched = {"w": np.array([1.0, 1.0, 1.0, 0.0])}
    assert verdict(switched, EXACT).verdict == "noisy"
    assert verdict(switched, EXACT, [EXACT, switched]).verdict == "agree"
