"""A user's own torch model and its JAX port: mapping, audit, check, first divergence, causes."""

from jaxgrad.verify._pair._assert import assert_equivalent as assert_equivalent
from jaxgrad.verify._pair._audit import Audit as Audit
from jaxgrad.verify._pair._bind import pair as pair
from jaxgrad.verify._pair._inputs import PairError as PairError
from jaxgrad.verify._pair._mapping import MappingError as MappingError
from jaxgrad.verify._pair._mapping import Rule as Rule
from jaxgrad.verify._pair._pair import Pair as Pair
from jaxgrad.verify._pair._report import Cause as Cause
from jaxgrad.verify._pair._report import Report as Report

__all__ = ["Audit", "Cause", "MappingError", "Pair", "PairError", "Report", "Rule", "assert_equivalent", "pair"]
