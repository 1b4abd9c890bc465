"""`curvature.stack_batches`: every example once, and copies with the weight 0."""

import numpy as np
import pytest

from jaxgrad.curvature import stack_batches
from tests.curvature.data_set import X


@pytest.mark.parametrize(("size", "shape"), [(1, (5, 1)), (2, (3, 2)), (5, (1, 5)), (9, (1, 9)), (12, (1, 12))])
def test_every_example_counts_once_and_copies_fill_up(size, shape):
    labels = np.arange(5)
    (rows, tree), weights = stack_batches((10.0 * labels, {"label": labels}), size)
    assert rows.shape == weights.shape == shape
    assert rows[weights == 1].tolist() == [0.0, 10.0, 20.0, 30.0, 40.0]
    assert np.array_equal(10.0 * tree["label"], rows)
    assert tree["label"].dtype == labels.dtype
    assert weights.dtype == np.float32
    filling = rows[weights == 0]
    assert filling.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0, 0.0, 10.0][: len(filling)]


def test_refuses_what_does_not_stack():
    with pytest.raises(TypeError, match="arrays must be a tuple"):
        stack_batches(X, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        stack_batches((X,), 0)
    with pytest.raises(ValueError, match=r"arrays\[1\]|same leading axis"):
        stack_batches((X, X[:3]), 4)
