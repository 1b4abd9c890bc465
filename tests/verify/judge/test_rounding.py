"""Errors in multiples of torch's own, which counts as no less than its usual one and a unit of rounding."""

import numpy as np

from jaxgrad.verify.judge._rounding import allowed_multiple, multiples
from jaxgrad.verify.judge._tolerances import F32_UNIT, NOISE_MULTIPLE_OF_A_NUMBER

EXACT = {name: np.ones(4) for name in "abc"}


def off(**errors):
    return {name: EXACT[name] * (1 + error) for name, error in errors.items()}


def test_the_unit_of_rounding_is_the_least():
    found = multiples(off(a=3 * F32_UNIT), [off(a=0.0)], {"a": EXACT["a"]}, np.float32, 0.0)
    np.testing.assert_allclose(found["a"], 3.0)


def test_the_usual_error_is_the_lower_median():
    # one leaf that cancels does not raise it, and one that is exact by luck is not held to that
    found = multiples(off(a=1e-4, b=1e-4), [off(a=0.0, b=1e-5, c=1e-1)], EXACT, np.float32, 0.0)
    np.testing.assert_allclose([found["a"], found["b"]], 10.0, rtol=1e-6)
    assert set(found) == {"a", "b"}


def test_the_worst_reference_counts_and_a_nan_excuses_nothing():
    ours, exact = off(a=1e-3), {"a": EXACT["a"]}
    np.testing.assert_allclose(multiples(ours, [off(a=0.0), off(a=1e-3)], exact, np.float32, 0.0)["a"], 1.0)
    np.testing.assert_allclose(multiples(ours, [off(a=np.nan)], exact, np.float32, 0.0)["a"], 1e-3 / F32_UNIT)


def test_a_single_number_is_allowed_more():
    assert allowed_multiple(2, 10.0) == 10.0
    assert allowed_multiple(1) == NOISE_MULTIPLE_OF_A_NUMBER
