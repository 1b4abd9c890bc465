"""What the tests of the adapters share."""

import pytest


@pytest.fixture(autouse=True)
def _programs_run_once(compiled_quickly: None) -> None:
    """A quarter of the time of these tests would go into making fast what runs once."""
