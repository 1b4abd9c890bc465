"""Cross-framework verification against PyTorch. Torch itself is imported only when a check runs."""

from jaxgrad.verify._doctor import doctor as doctor
from jaxgrad.verify._kinks import kinks as kinks
from jaxgrad.verify._pair import MappingError as MappingError
from jaxgrad.verify._pair import Pair as Pair
from jaxgrad.verify._pair import PairError as PairError
from jaxgrad.verify._pair import Rule as Rule
from jaxgrad.verify._pair import assert_equivalent as assert_equivalent
from jaxgrad.verify._pair import pair as pair
from jaxgrad.verify._plant import Plant as Plant
from jaxgrad.verify._row import Row as Row
from jaxgrad.verify._run import run as run
from jaxgrad.verify._select import CannotRun as CannotRun
from jaxgrad.verify._select import select as select

__all__ = [
    "CannotRun",
    "MappingError",
    "Pair",
    "PairError",
    "Plant",
    "Row",
    "Rule",
    "assert_equivalent",
    "doctor",
    "kinks",
    "pair",
    "run",
    "select",
]
