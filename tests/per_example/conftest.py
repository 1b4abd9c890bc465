"""What the tests of per-example gradients share."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def compiled_quickly() -> Iterator[None]:
    """Compile without XLA's optimisations, for programs that run once; never where FLOPs or bytes are read."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
