"""Tests are stricter than users: x64, strict promotion, warnings are errors, four CPU devices."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# a second run of the tests compiles nothing anew; each worker has a cache of its own, so that no two write one file
_cache = Path(__file__).parent / ".pytest_cache" / "xla" / os.environ.get("PYTEST_XDIST_WORKER", "main")
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def key() -> jax.Array:
    """The one key of the tests."""
    return jax.random.key(0)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Torch's threads and XLA's fight for two cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def compiled_quickly() -> Iterator[None]:
    """Compile without XLA's optimisations, for programs that run once; never where FLOPs or bytes are read."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
