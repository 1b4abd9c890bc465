"""Which preferences a rule has an answer for: refused where Python or NumPy hold others, NaN where they are traced."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._engine._gram import meant
from jaxgrad.multi_loss._vector import coefficients

__all__ = ["FINITE", "NOT_NEGATIVE", "SHARES", "Preferences"]


@dataclass(frozen=True)
class Preferences:
    """One number for each loss, all of them finite. Called on what the user gave, it refuses the others."""

    may_be_negative: bool
    may_all_be_zero: bool

    def __call__(self, given: Tree, name: str) -> None:
        """Refuse numbers of Python or NumPy that mean nothing; those of JAX pass unseen, as in `_check.positive`.

        Raises:
            ValueError: If one is NaN or infinite, or negative where it must not be, or all are zero where one must not.
        """
        leaves = jax.tree.leaves(given)
        known = [np.asarray(leaf) for leaf in leaves if isinstance(leaf, int | float | np.number | np.ndarray)]
        known = [leaf for leaf in known if leaf.dtype.kind in "biuf"]
        wrong = ""
        if not all(np.isfinite(leaf).all() for leaf in known):
            wrong = "be finite numbers"
        elif not self.may_be_negative and any((leaf < 0).any() for leaf in known):
            wrong = "not be negative: for a loss that shall rise return the loss times -1 from losses_fn"
        elif not self.may_all_be_zero and leaves and len(known) == len(leaves) and not any(map(np.any, known)):
            wrong = "not all be zero: no loss would count"
        if wrong:
            message = f"{name} must {wrong}; got {given!r}"
            raise ValueError(message)

    def hold(self, numbers: Array) -> Array:
        """Say of traced numbers whether they mean something."""
        sound = jnp.all(jnp.isfinite(numbers))
        if not self.may_be_negative:
            sound &= jnp.all(numbers >= 0)
        return sound if self.may_all_be_zero else sound & jnp.any(numbers != 0)

    def or_nan(self, numbers: Array) -> Array:
        """Return traced numbers, all NaN where they mean nothing."""
        return jnp.where(self.hold(numbers), numbers, jnp.full_like(numbers, jnp.nan))

    def of(self, given: Any, matrix: Array, default: float) -> tuple[Array, Array]:
        """Return one preference for each loss, and the Gram matrix, all NaN where they mean nothing.

        Raises:
            TypeError: If they are no real numbers.
            ValueError: If there is not one for each loss.
        """
        counts = coefficients(given, "preferences", jnp.diagonal(matrix), default)
        return counts, matrix if given is None else meant(matrix, self.hold(counts))


FINITE = Preferences(may_be_negative=True, may_all_be_zero=True)
"""For what is linear in them, or projects their sum: a negative one asks for a loss to rise, zeros for nothing."""

NOT_NEGATIVE = Preferences(may_be_negative=False, may_all_be_zero=True)
"""For a sum of vectors that lie in a cone: one that is subtracted leaves it."""

SHARES = Preferences(may_be_negative=False, may_all_be_zero=False)
"""For a direction, of which the ratios matter, or a point of the simplex."""
