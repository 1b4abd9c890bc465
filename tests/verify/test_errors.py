"""An error of another's code in one line, and packages that are not there."""

import pytest

from jaxgrad.verify import CannotRun
from jaxgrad.verify._errors import first_line, missing, require


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n\n  \nfirst\nsecond"), "ValueError: first"),
        (KeyError("name"), "KeyError: 'name'"),
        (RuntimeError(), "RuntimeError: no message"),
        (RuntimeError(" \n "), "RuntimeError: no message"),
    ],
)
def test_an_error_is_told_in_a_line(error, line):
    assert first_line(error) == line


def test_a_package_that_is_there_is_required_in_silence():
    require("json", "numpy")


def test_a_missing_package_is_both_kinds_of_error(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    for kind in (CannotRun, ModuleNotFoundError):
        with pytest.raises(kind, match=r"scikit-learn is not installed.*'jaxgrad\[cli\]'\. Do without\.$"):
            require("sklearn", otherwise="Do without.")
    with pytest.raises(ModuleNotFoundError) as error:
        require("unheard_of")
    assert missing(error.value) is None
