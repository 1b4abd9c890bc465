"""The parity verdict of the tests: the judge of `jaxgrad.verify`, raised as an assertion."""

from typing import Any

import jax
import numpy as np

from jaxgrad.verify import judge
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.judge._tolerances import DEFINITION_F64

__all__ = ["assert_parity", "to_jax", "to_torch"]


def assert_parity(got: Any, want: Any, *, dtypes: bool = False, tolerance: float = DEFINITION_F64) -> None:
    """Fail with every leaf that differs from its float64 reference by more than the definition allows."""
    differences = judge.compare(got, want, dtypes=dtypes)
    assert differences, "there is nothing to compare"
    wrong = [f"{d.path or 'value'}: {d.error:.3e} {d.note}" for d in differences if not d.error <= tolerance]
    assert not wrong, "\n".join(["leaves differ (relative L2, allowed " + f"{tolerance:.0e}):", *wrong])


def random_like(tree: Any, seed: int) -> Any:
    """Draw a tree of standard normal numbers with the shapes and dtypes of another."""
    rng = np.random.default_rng(seed)
    return to_jax(jax.tree.map(lambda leaf: np.asarray(rng.normal(size=leaf.shape)).astype(leaf.dtype), tree))
