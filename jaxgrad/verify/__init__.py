"""Cross-framework verification against PyTorch. Torch itself is imported only when a check runs."""

from jaxgrad.verify._environment import doctor as doctor
from jaxgrad.verify._errors import CannotRun as CannotRun
from jaxgrad.verify._errors import MappingError as MappingError
from jaxgrad.verify._errors import PairError as PairError
from jaxgrad.verify._nonsmooth import kinks as kinks
from jaxgrad.verify.cases._fault_injection import Plant as Plant
from jaxgrad.verify.cases._result import Row as Row
from jaxgrad.verify.cases._run import run as run
from jaxgrad.verify.cases._select import select as select
from jaxgrad.verify.port import Pair as Pair
from jaxgrad.verify.port import Rule as Rule
from jaxgrad.verify.port import assert_equivalent as assert_equivalent
from jaxgrad.verify.port import pair as pair

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
