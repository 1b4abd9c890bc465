"""The facade of `models`: documented in the fixed order, and the same networks on both sides."""

import inspect

import pytest

from jaxgrad import models

SECTIONS = ["Args:", "Returns:", "Cost:", "Example:", "References:"]
FUNCTIONS = [name for name in models.__all__ if inspect.isfunction(getattr(models, name))]


def test_names_are_sorted_and_there():
    assert models.__all__ == sorted(models.__all__)
    assert set(FUNCTIONS) == {name for name in models.__all__ if "_" in name}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_has_every_section_in_order_and_every_argument(name):
    text = inspect.getdoc(getattr(models, name))
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if line in SECTIONS] == SECTIONS
    for parameter in inspect.signature(getattr(models, name)).parameters:
        assert f"{parameter}:" in text.split("Args:")[1].split("Returns:")[0]
