"""Trees of either framework as NumPy, and the order of the axes of two arrays."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgrad.verify.judge._arrays import flatten, to_array, to_float64, unflatten
from jaxgrad.verify.judge._axes import layout_of


@pytest.mark.parametrize(
    ("leaf", "dtype", "wide"),
    [
        (torch.ones(2, requires_grad=True), np.float32, np.float64),
        (torch.ones(2, dtype=torch.bfloat16), jnp.bfloat16, np.float64),
        (torch.ones(2, dtype=torch.complex64).conj(), np.complex64, np.complex64),
        (torch.arange(2), np.int64, np.int64),
        (np.ones(2, bool), bool, bool),
        (np.ones(2, jnp.bfloat16), jnp.bfloat16, np.float64),
        (2.5, np.float64, np.float64),
    ],
)
def test_an_array_keeps_its_dtype_or_is_widened(leaf, dtype, wide):
    assert to_array(leaf).dtype == dtype
    assert to_float64(leaf).dtype == wide
    np.testing.assert_array_equal(to_float64(leaf), to_array(leaf))


def test_a_widened_array_is_a_copy():
    tensor, array = torch.ones(2, dtype=torch.float64), np.ones(2)
    copies = to_float64(tensor), to_float64(array)
    tensor.zero_()
    array[:] = 0
    assert all(copy.all() for copy in copies)


def test_a_tree_is_taken_apart_and_put_together():
    tree = {"b": [np.zeros(1), np.ones(2)], "a": {"c": 3}}
    leaves = flatten(tree)
    assert list(leaves) == ["a/c", "b/0", "b/1"]
    assert unflatten(tree, {path: path for path in leaves}) == {"b": ["b/0", "b/1"], "a": {"c": "a/c"}}


@pytest.mark.parametrize(
    ("shape", "order"),
    [((2, 3, 4, 5), (0, 2, 3, 1)), ((2, 3, 3, 3), (0, 2, 3, 1)), ((2, 3, 3), (0, 1, 2)), ((3, 3, 4), (1, 0, 2))],
)
def test_the_values_tell_the_order_of_the_axes(shape, order):
    array = np.random.default_rng(0).normal(size=shape)
    assert layout_of(array, array.transpose(order)) == order


def test_other_numbers_have_no_order_and_images_go_last():
    assert layout_of(np.zeros((2, 3)), np.zeros((2, 4))) is None
    assert layout_of(np.zeros((2, 3)), np.zeros((2, 3, 1))) is None
    draw = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 3))
    assert layout_of(*draw) == (0, 2, 3, 1)
