"""Every threshold of the verification stands in one file, named and with its derivation."""

import ast
import io
import itertools
import re
import tokenize
from pathlib import Path

import pytest

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

VERIFY = Path(__file__).parents[2] / "jaxgrad" / "verify"
HOME = VERIFY / "judge" / "_tolerances.py"
SETTINGS = {"eps", "epsilon"}
"""Keyword arguments of layers and optimizers: an epsilon there belongs to a model, and judges nothing."""


def small_literals(source):
    """Return the line and the text of every number that is written with a negative exponent, settings left out."""
    tree = ast.parse(source)
    named = [
        k.value for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords if k.arg in SETTINGS
    ]
    allowed = {(node.lineno, node.col_offset) for node in named}
    return [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NUMBER and re.search(r"e-\d", token.string.lower()) and token.start not in allowed
    ]


@pytest.mark.parametrize("path", sorted(VERIFY.rglob("*.py")), ids=lambda path: str(path.relative_to(VERIFY)))
def test_no_threshold_stands_elsewhere(path):
    assert path == HOME or small_literals(path.read_text()) == []


def test_the_reader_finds_a_literal_and_leaves_a_setting():
    assert small_literals("x = f(y, 1e-9) + 2.5E-3\n") == [(1, "1e-9"), (1, "2.5E-3")]
    assert small_literals("x = norm(eps=1e-5, tolerance=1e-7)\n") == [(1, "1e-7")]


def test_every_threshold_is_exported_and_says_where_it_comes_from():
    body = ast.parse(HOME.read_text()).body
    names, without = set(), []
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            found = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)} - {"__all__"}
            names |= found
            says = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            without += [] if says or not found else sorted(found)
    # the last statement of the file is the sentence of the last constant
    assert without == []
    exported = next(n.value for n in body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")
    assert names == set(ast.literal_eval(exported))
