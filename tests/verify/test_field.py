"""The pairs that people wrote: a correct form passes, a mistake is detected; where and by which name is counted.

The five pairs of the project run always, the nine of the field where their directory lies beside the checkout. How many
mistakes must be placed and named is a goal of all rows together: `conftest.py` adds up what the rows record.
"""

import re
import warnings
from pathlib import Path

import pytest

from tests.lanes import HAS_TORCH
from tests.verify.field.__main__ import PAIRS
from tests.verify.field.score import GOALS, load, score

OURS = Path(__file__).parent / "field" / "pairs"
TAKEN = {"pointnet": ("",)}
"""The forms that continuous integration runs."""


def rows():
    """Return every form of every pair that is here, as a parameter."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for folder in (OURS, PAIRS) if HAS_TORCH else ():
            for file in sorted(folder.glob("[!_]*.py")):
                module = load(folder, file.stem)
                for bug in module.BUGS:
                    taken = [pytest.mark.catalogue] if bug in TAKEN.get(file.stem, ()) else []
                    name = f"{file.stem}: {bug or 'correct'}"
                    found.append(pytest.param(module, file.stem, bug, id=name, marks=[pytest.mark.slow, *taken]))
    return found


@pytest.mark.torch
@pytest.mark.parametrize(("module", "name", "bug"), rows())
def test_a_form_of_a_pair(module, name, bug, record_property):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = score(module, name, bug)
    if row["kind"] != "silent":
        record_property("field", {goal: (bool(row[goal]), least) for goal, least in GOALS.items() if goal in row})
        assert row.get("passed", row.get("detected")), row
    # a factor of nothing or of one, and a layer that does nothing, explain no difference
    assert not re.search(r"(?<![\w.])[01](\.0*)? times\b|Identity", row["text"]), row["text"]
