"""What the tests of curvature share."""

from collections.abc import Iterator

import pytest

from tests.optimised import optimised


@pytest.fixture(autouse=True, scope="module")
def _programs_run_once() -> Iterator[None]:
    """Operations and bytes are those of the program, which is the same however fast its machine code is."""
    with optimised(fully=False):
        yield
