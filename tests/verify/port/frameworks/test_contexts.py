"""A small model has one thread, a large one all of them, and what the user has set is there again afterwards."""

import pytest
import torch

from jaxgrad.verify.port.frameworks._contexts import SMALL, small_on_one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("count", "threads"), [(SMALL, 1), (SMALL + 1, 2)])
def test_threads_by_size(two_threads, count, threads):
    with small_on_one_thread(count):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_threads_come_back_after_an_error(two_threads):
    with pytest.raises(ValueError, match="boom"), small_on_one_thread(1):
        int("boom")
    assert torch.get_num_threads() == 2
