"""Old spellings work for one release, say what to write instead and where, and are seen nowhere else."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxgrad
from jaxgrad import per_example
from jaxgrad._deprecated import NAMES, REMOVED_IN, renamed
from tests.bridge import assert_parity
from tests.contract.house import FAMILIES

pytestmark = pytest.mark.either_lane

PARAMS, X, KEY = {"w": jnp.array([1.0, -2.0])}, jnp.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]]), jax.random.key(0)
OLD = [(module, old, new) for module, names in NAMES.items() for old, new in names.items()]


def one_loss(params, x):
    return jnp.tanh(x @ params["w"]) ** 2


def dp_sum(loss, params, *batch, mode):
    given = {"clip_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 3, "key": KEY}
    transformation = per_example.dp_aggregate(loss, **given, mode=mode)
    return transformation.update(None, transformation.init(params), params, batch=batch)[0]


WITH_A_MODE = {
    "clipped_sum": lambda *args, mode: per_example.clipped_sum(*args, clip_norm=1.0, mode=mode),
    "dp_aggregate": dp_sum,
    "explain": lambda *args, mode: [(leaf.leaf, leaf.method) for leaf in per_example.explain(*args, mode=mode).leaves],
    "gram": per_example.gram,
    "moments": per_example.moments,
    "noise_scale": per_example.noise_scale,
    "norms": per_example.norms,
}


def told(call):
    """Return what a call gives, and the only warning that it makes."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = call()
    (warning,) = seen
    assert warning.category is DeprecationWarning
    return result, warning


def here():
    """Return the line of the caller."""
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.parametrize(("module", "old", "new"), OLD)
def test_an_old_name_is_the_new_function(module, old, new):
    family = importlib.import_module(module)
    found, warning = told(lambda: getattr(family, old))
    assert found is getattr(family, new)
    assert str(warning.message) == (
        f"{module}.{old} is now {module}.{new}; the old spelling goes in jaxgrad {REMOVED_IN}"
    )
    assert new in family.__all__
    assert old not in {*family.__all__, *dir(family)}


def test_an_import_of_an_old_name_warns_once_and_at_its_own_line():
    def call():
        from jaxgrad.shift import lookahead_gradient

        return lookahead_gradient, here() - 2

    (function, line), warning = told(call)
    assert function is jaxgrad.shift.extragradient
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_an_attribute_warns_at_its_own_line():
    line, warning = told(lambda: (jaxgrad.meta.maml_value_and_gradient, here())[1])
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match=r"module 'jaxgrad\.shift' has no attribute 'lookback_gradient'"):
        jaxgrad.shift.lookback_gradient  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'lookback_gradient'"):
        from jaxgrad.shift import lookback_gradient  # noqa: F401


@pytest.mark.parametrize("family", FAMILIES)
def test_type_checkers_know_the_names_of_the_table_and_no_others(family):
    tree = ast.parse(Path(importlib.import_module(f"jaxgrad.{family}").__file__).read_text())
    known = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    assert {node.targets[0].id: node.value.id for node in known} == NAMES.get(f"jaxgrad.{family}", {})


def test_the_release_without_the_old_spellings_is_still_to_come():
    now, then = ([int(part) for part in re.findall(r"\d+", version)] for version in (jaxgrad.__version__, REMOVED_IN))
    assert now < then


@pytest.mark.parametrize("name", WITH_A_MODE)
def test_an_old_word_gives_the_same(name):
    call = WITH_A_MODE[name]
    got, warning = told(lambda: call(one_loss, PARAMS, X, mode="materialise"))
    want = call(one_loss, PARAMS, X, mode="vmap")
    assert got == want if name == "explain" else assert_parity(got, want, tolerance=0.0) is None
    assert str(warning.message) == (
        f"{name}: mode='materialise' is now mode='vmap'; the old spelling goes in jaxgrad {REMOVED_IN}"
    )
    assert warning.filename == __file__


def test_every_function_with_a_mode_knows_the_old_word():
    functions = {name: getattr(per_example, name) for name in per_example.__all__}
    taken = {n for n, f in functions.items() if not inspect.isclass(f) and "mode" in inspect.signature(f).parameters}
    assert taken == set(WITH_A_MODE)


def test_an_old_word_warns_at_every_call_and_at_its_own_line():
    for _ in range(2):
        line, warning = told(lambda: (per_example.norms(one_loss, PARAMS, X, mode="materialise"), here())[1])
        assert (warning.filename, warning.lineno) == (__file__, line)


def test_a_wrong_word_is_refused_with_the_new_ones_alone():
    with pytest.raises(ValueError, match="vmap") as refused:
        per_example.norms(one_loss, PARAMS, X, mode="materialize")
    assert "materialise" not in str(refused.value)


@renamed(rate="eta", kind={"two": "double"})
def scaled(x, *, rate, kind="single"):
    return x * rate * (2 if kind == "double" else 1)


def test_an_old_keyword_is_the_new_one():
    got, warning = told(lambda: scaled(3, eta=2))
    assert got == scaled(3, rate=2) == 6
    assert str(warning.message) == f"scaled: eta= is now rate=; the old spelling goes in jaxgrad {REMOVED_IN}"
    assert warning.filename == __file__
    got, warning = told(lambda: scaled(3, rate=2, kind="two"))
    assert got == 12
    with pytest.raises(TypeError, match=re.escape("scaled: eta= is the old name of rate=; give rate= alone")):
        scaled(3, eta=2, rate=2)


def test_the_new_spellings_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        per_example.norms(one_loss, PARAMS, X, mode="vmap")
        assert scaled(3, rate=2, kind="double") == 12


def test_errors_show_no_frame_of_the_house():
    def broken(params, x):
        raise KeyError(x.shape)

    with pytest.raises(KeyError) as raised:
        per_example.norms(broken, PARAMS, X, mode="vmap")
    files = [entry.path for entry in raised.traceback]
    assert not [file for file in files if str(file).startswith(str(Path(jaxgrad.__file__).parent))]


def test_a_script_is_told_where_it_stands(tmp_path):
    script = tmp_path / "old.py"
    script.write_text("import jaxgrad\nfrom jaxgrad.nth import estimate_operator\njaxgrad.per_example.project\n")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert re.findall(r"old\.py:(\d+): DeprecationWarning", done.stderr) == ["2", "3"]
