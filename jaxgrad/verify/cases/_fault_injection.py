"""A planted error: the test that the judge can fail."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from jaxgrad.verify import judge
from jaxgrad.verify._errors import CannotRun
from jaxgrad.verify.cases._case import Criterion, Quantity
from jaxgrad.verify.judge._tolerances import PLANTED, SMALL_LEAF

__all__ = ["Plant", "planted"]

Item = Quantity | Criterion


@dataclass(frozen=True)
class Plant:
    """Where to perturb our own result by one part in a million: a self-test of the judge."""

    case: str
    """The id of the case."""
    leaf: str | None = None
    """The path of the leaf, ``layer0/weight``, or ``value`` for a result that is one array; ``None`` takes the
    largest leaf of the first quantity."""

    @classmethod
    def parse(cls, text: str) -> "Plant":
        """Read ``CASE`` or ``CASE:LEAF``.

        Raises:
            CannotRun: If no case is named.
        """
        case, _, leaf = text.partition(":")
        if not case:
            message = f"--plant takes CASE or CASE:LEAF, such as H1:layer0/weight; got {text!r}"
            raise CannotRun(message)
        return cls(case.upper(), leaf or None)

    def find(self, result: dict[str, np.ndarray]) -> str | None:
        """Return the path to perturb in a result, or ``None`` where it has no such leaf."""
        paths = [path for path, leaf in result.items() if np.issubdtype(leaf.dtype, np.inexact) and leaf.size]
        if self.leaf is None:
            return max(paths, key=lambda path: judge.size(result[path]), default=None)
        return next((path for path in paths if path == self.leaf or (path or "value") == self.leaf), None)


def planted(pairs: list[tuple[Item, Item]], plant: Plant) -> list[tuple[Item, Item]]:
    """Return what a case compares, our result of the first quantity that has the leaf perturbed.

    Raises:
        CannotRun: If no quantity of the case has the leaf.
    """
    seen: dict[str, None] = {}
    for i, (double, single) in enumerate(pairs):
        if isinstance(double, Quantity) and isinstance(single, Quantity):
            result = judge.to_numpy(double.jax())
            seen |= dict.fromkeys(path or "value" for path in result)
            path = plant.find(result)
            if path is not None:
                return [*pairs[:i], (_perturbed(double, path), _perturbed(single, path)), *pairs[i + 1 :]]
    where = f"leaf {plant.leaf!r}; it has {', '.join(seen)}" if seen else "quantity to perturb, only criteria"
    message = f"the planted error finds in case {plant.case} no {where}"
    raise CannotRun(message)


def _perturbed(quantity: Quantity, path: str) -> Quantity:
    """Return a quantity whose result of ours is wrong in one leaf."""
    return dataclasses.replace(quantity, jax=lambda: perturb(judge.to_numpy(quantity.jax()), path))


def perturb(result: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    """Return the result with one leaf moved by one part in a million of what the judge measures it against."""
    whole = judge.whole(result.values())
    leaf = result[path]
    scale = max(judge.size(leaf), SMALL_LEAF * whole) or 1.0
    moved = np.array(leaf)
    moved.flat[0] += np.asarray(PLANTED * scale, leaf.dtype)
    return result | {path: moved}
