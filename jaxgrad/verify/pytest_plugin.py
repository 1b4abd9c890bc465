"""A fixture for the tests of a port: ``pytest_plugins = ["jaxgrad.verify.pytest_plugin"]`` in ``conftest.py``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["models_equivalent"]


@pytest.fixture
def models_equivalent(tmp_path: Path) -> Callable[..., Any]:
    """Return `jaxgrad.verify.assert_equivalent`; on a failure the page of the report lies in ``tmp_path``."""
    from jaxgrad.verify import pair
    from jaxgrad.verify.port._assert import assert_equivalent

    def check(**given: Any) -> Any:
        try:
            return assert_equivalent(**given)
        except AssertionError as error:
            options = {name: given.pop(name) for name in ("what", "check") if name in given}
            report = pair(**given).check(options.get("what"), **(options.get("check") or {}))
            path = tmp_path / "report.html"
            path.write_text(report.to_html(), encoding="utf-8")
            message = f"{error}\nThe page of the report: {path}"
            raise AssertionError(message) from None

    return check
