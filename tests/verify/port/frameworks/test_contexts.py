"""A small model has one thread, a large one half of them, and what the user has set is there again afterwards."""

import pytest
import torch

from jaxgrad.verify.port.frameworks._contexts import SMALL, threads_beside_jax


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("count", "threads"), [(SMALL, 1), (SMALL + 1, 2), (10 * SMALL, 2)])
def test_threads_by_size(three_threads, count, threads):
    with threads_beside_jax(count):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3


def test_threads_come_back_after_an_error(three_threads):
    with pytest.raises(ValueError, match="boom"), threads_beside_jax(1):
        int("boom")
    assert torch.get_num_threads() == 3
