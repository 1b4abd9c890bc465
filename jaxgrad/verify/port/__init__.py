"""A user's own torch model and its JAX port: mapping, audit, check, first divergence, causes."""

from jaxgrad.verify._errors import MappingError as MappingError
from jaxgrad.verify._errors import PairError as PairError
from jaxgrad.verify.port._assert import assert_equivalent as assert_equivalent
from jaxgrad.verify.port._audit import Audit as Audit
from jaxgrad.verify.port._bind import pair as pair
from jaxgrad.verify.port._pair import Pair as Pair
from jaxgrad.verify.port.mapping._search import Rule as Rule
from jaxgrad.verify.report._records import Cause as Cause
from jaxgrad.verify.report._records import Report as Report

__all__ = ["Audit", "Cause", "MappingError", "Pair", "PairError", "Report", "Rule", "assert_equivalent", "pair"]
