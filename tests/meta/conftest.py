"""The tests of this family compare numbers, not speed: they compile fast."""

import pytest

from tests.optimised import optimised


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    with optimised(fully=False):
        yield
