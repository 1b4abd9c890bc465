"""The scaled norm and the relative error, where squares overflow, vanish or are no numbers."""

import numpy as np
import pytest

from jaxgrad.verify.judge._leaf import distance, floor_of, ratio_and_cosine, relative, size, whole, wide
from jaxgrad.verify.judge._tolerances import SMALL_LEAF


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_norm_has_no_scale(scale):
    np.testing.assert_allclose(size(scale * np.array([3.0, 4.0])) / scale, 5.0)
    np.testing.assert_allclose(whole([np.array([3 * scale]), np.array([4j * scale])]) / scale, 5.0)


def test_tiny_numbers_differ_as_large_ones_do():
    np.testing.assert_allclose(relative(1e-200, 2e-200), 0.5)
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert relative(np.ones(2), np.zeros(2)) == np.inf


def test_a_floor_takes_the_place_of_a_norm_that_vanishes():
    assert relative(np.ones(1), np.zeros(1), floor=4.0) == 0.25
    assert floor_of([np.array([3.0]), np.array([4.0])]) == 5 * SMALL_LEAF
    assert floor_of([np.zeros(1)], hint=7.0) == 7 * SMALL_LEAF


def test_another_shape_a_nan_and_another_infinity_are_infinitely_far():
    assert relative(np.ones(2), np.ones(3)) == np.inf
    assert distance(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0
    assert distance(np.array([np.inf]), np.array([-np.inf])) == np.inf
    assert distance(np.array([np.nan]), np.array([np.nan])) == np.inf


def test_ratio_and_cosine_of_a_multiple_and_of_nothing():
    one = np.array([1.0, 2.0])
    np.testing.assert_allclose(ratio_and_cosine(-3 * one, one), (3.0, -1.0))
    assert ratio_and_cosine(0 * one, 0 * one) == (1.0, 1.0)
    assert ratio_and_cosine(0 * one, one) == (0.0, 1.0)
    assert ratio_and_cosine(one, 0 * one) == (np.inf, 1.0)
    assert wide(np.ones(1, np.complex64)).dtype == np.complex128


def test_norms_that_overflow_make_nothing_alike():
    least = np.finfo(np.float64).min
    mask = np.where(np.arange(12) < 7, 0.0, least)
    assert relative(mask, mask) == 0
    np.testing.assert_allclose(relative(0 * mask, mask), 1)
    np.testing.assert_allclose(relative(-mask, mask), 2)
    np.testing.assert_allclose(relative(mask, mask / 2), 1)
    assert relative(np.ones(2), np.zeros(2), floor=np.inf) == np.inf
