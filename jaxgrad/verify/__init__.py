"""Cross-framework verification against PyTorch.

A pair of a torch model and its JAX port is made by `pair`, and compared by its ``audit()`` and ``check()``, which give
an `Audit` and a `Report`. `run` computes the built-in cases of this project, of which a `CaseReport` is made. Every
report has the same forms: text, JSON, JUnit XML and a page. What a function needs is imported when it is asked for,
torch when it runs.
"""

from typing import TYPE_CHECKING

from jaxgrad._lazy import door

if TYPE_CHECKING:
    from jaxgrad.verify._environment import doctor as doctor
    from jaxgrad.verify._errors import CannotRun as CannotRun
    from jaxgrad.verify._errors import MappingError as MappingError
    from jaxgrad.verify._errors import PairError as PairError
    from jaxgrad.verify._nonsmooth import kinks as kinks
    from jaxgrad.verify.cases._case import Case as Case
    from jaxgrad.verify.cases._fault_injection import Plant as Plant
    from jaxgrad.verify.cases._readme import insert_cases as insert_cases
    from jaxgrad.verify.cases._result import CaseReport as CaseReport
    from jaxgrad.verify.cases._result import Row as Row
    from jaxgrad.verify.cases._run import run as run
    from jaxgrad.verify.cases._select import select as select
    from jaxgrad.verify.cases._side_by_side import case_runner as case_runner
    from jaxgrad.verify.cases._titles import case_titles as case_titles
    from jaxgrad.verify.port._assert import assert_equivalent as assert_equivalent
    from jaxgrad.verify.port._bind import pair as pair
    from jaxgrad.verify.port._pair import Pair as Pair
    from jaxgrad.verify.port._spec_file import load_pair as load_pair
    from jaxgrad.verify.port.dumps._files import DumpError as DumpError
    from jaxgrad.verify.port.dumps._files import read_run as read_run
    from jaxgrad.verify.port.dumps._files import write_run as write_run
    from jaxgrad.verify.port.dumps._runs import diff as diff
    from jaxgrad.verify.port.dumps._runs import dump as dump
    from jaxgrad.verify.port.frameworks._loss_names import LOSS_NAMES as LOSS_NAMES
    from jaxgrad.verify.port.mapping._search import Rule as Rule
    from jaxgrad.verify.port.quantities._names import QUANTITIES as QUANTITIES
    from jaxgrad.verify.port.quantities._names import quantity_names as quantity_names
    from jaxgrad.verify.report._audit import Audit as Audit
    from jaxgrad.verify.report._audit import Setting as Setting
    from jaxgrad.verify.report._probes import DoctorReport as DoctorReport
    from jaxgrad.verify.report._probes import KinkReport as KinkReport
    from jaxgrad.verify.report._records import Cause as Cause
    from jaxgrad.verify.report._records import Divergence as Divergence
    from jaxgrad.verify.report._records import LayerError as LayerError
    from jaxgrad.verify.report._records import Leaf as Leaf
    from jaxgrad.verify.report._records import Report as Report
    from jaxgrad.verify.report._records import Result as Result

PLACES = {
    "jaxgrad.verify._environment": ("doctor",),
    "jaxgrad.verify._errors": (
        "CannotRun",
        "MappingError",
        "PairError",
    ),
    "jaxgrad.verify._nonsmooth": ("kinks",),
    "jaxgrad.verify.cases._case": ("Case",),
    "jaxgrad.verify.cases._fault_injection": ("Plant",),
    "jaxgrad.verify.cases._readme": ("insert_cases",),
    "jaxgrad.verify.cases._result": (
        "CaseReport",
        "Row",
    ),
    "jaxgrad.verify.cases._run": ("run",),
    "jaxgrad.verify.cases._select": ("select",),
    "jaxgrad.verify.cases._side_by_side": ("case_runner",),
    "jaxgrad.verify.cases._titles": ("case_titles",),
    "jaxgrad.verify.port._assert": ("assert_equivalent",),
    "jaxgrad.verify.port._bind": ("pair",),
    "jaxgrad.verify.port._pair": ("Pair",),
    "jaxgrad.verify.port._spec_file": ("load_pair",),
    "jaxgrad.verify.port.dumps._runs": (
        "diff",
        "dump",
    ),
    "jaxgrad.verify.port.dumps._files": (
        "DumpError",
        "read_run",
        "write_run",
    ),
    "jaxgrad.verify.port.frameworks._loss_names": ("LOSS_NAMES",),
    "jaxgrad.verify.port.mapping._search": ("Rule",),
    "jaxgrad.verify.port.quantities._names": ("QUANTITIES", "quantity_names"),
    "jaxgrad.verify.report._audit": (
        "Audit",
        "Setting",
    ),
    "jaxgrad.verify.report._probes": ("DoctorReport", "KinkReport"),
    "jaxgrad.verify.report._records": (
        "Cause",
        "Divergence",
        "LayerError",
        "Leaf",
        "Report",
        "Result",
    ),
}
"""The public names of every module, as above: the types are for readers and checkers, this is for Python."""

__all__ = [
    "LOSS_NAMES",
    "QUANTITIES",
    "Audit",
    "CannotRun",
    "Case",
    "CaseReport",
    "Cause",
    "Divergence",
    "DoctorReport",
    "DumpError",
    "KinkReport",
    "LayerError",
    "Leaf",
    "MappingError",
    "Pair",
    "PairError",
    "Plant",
    "Report",
    "Result",
    "Row",
    "Rule",
    "Setting",
    "assert_equivalent",
    "case_runner",
    "case_titles",
    "diff",
    "doctor",
    "dump",
    "insert_cases",
    "kinks",
    "load_pair",
    "pair",
    "quantity_names",
    "read_run",
    "run",
    "select",
    "write_run",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(__name__, {name: module for module, names in PLACES.items() for name in names})
