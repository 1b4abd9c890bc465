"""What the tests of the comparison of two models share."""

from collections.abc import Iterator

import pytest

from tests.optimised import optimised


@pytest.fixture(autouse=True, scope="module")
def _programs_run_once() -> Iterator[None]:
    """Two fifths of the time of these tests would go into making fast what runs once, in their fixtures too."""
    with optimised(fully=False):
        yield
