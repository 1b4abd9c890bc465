"""Cross-framework verification against PyTorch. Torch itself is imported only when a check runs."""

from jaxgrad.verify._plant import Plant as Plant
from jaxgrad.verify._row import Row as Row
from jaxgrad.verify._run import run as run
from jaxgrad.verify._select import CannotRun as CannotRun
from jaxgrad.verify._select import select as select

__all__ = ["CannotRun", "Plant", "Row", "run", "select"]
