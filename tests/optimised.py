"""How XLA compiles in a part of the suite, as a part of the key of JAX's programs."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

__all__ = ["optimised"]

FULLY = jax.make_user_context(True)
"""Whether programs are optimised. JAX's own setting is in the key of no program: what one module compiled quickly would
serve another that counts on exact numbers, and the same test would pass or fail by the order of the modules."""


@contextmanager
def optimised(fully: bool) -> Iterator[None]:
    """Compile with or without most of XLA's optimisations; programs of the other kind stay, and are not used."""
    before = FULLY.get_global()
    _set(fully)
    try:
        yield
    finally:
        _set(before)


def _set(fully: bool) -> None:
    """Set both for all threads."""
    jax.config.update("jax_disable_most_optimizations", not fully)
    FULLY.set_global(fully)
