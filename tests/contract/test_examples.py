"""An example runs when it is pasted into a new interpreter: it imports what it uses, with the settings of users."""

import contextlib
import doctest
import importlib
import io

import jax
import pytest

from tests.contract.house import FACED

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def documented(family):
    """Return the public names of a family that have an example."""
    module = importlib.import_module(f"jaxgrad.{family}")
    found = {f"{family}.{name}": getattr(module, name) for name in module.__all__}
    return {name: thing for name, thing in found.items() if callable(thing) and ">>> " in (thing.__doc__ or "")}


# what an example says does not hang on how fast its programs run
pytestmark = pytest.mark.usefixtures("compiled_quickly")

EXAMPLES = {name: thing for family in FACED for name, thing in documented(family).items()}


def run(name, text):
    """Return what differs from what an example says; nothing where all is well."""
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    with contextlib.ExitStack() as users:
        for setting in (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.enable_x64(False),
        ):
            users.enter_context(setting)
        runner.run(example, out=said.write)
    assert runner.summarize(verbose=False).attempted
    return said.getvalue()


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"models.mapping_for", "models.statistics_for"}))
def test_example_runs_in_an_empty_namespace(name):
    assert run(name, EXAMPLES[name].__doc__) == ""


@pytest.mark.torch
@pytest.mark.parametrize("name", ["models.mapping_for", "models.statistics_for"])
def test_example_with_torch_runs_in_an_empty_namespace(name):
    assert run(name, EXAMPLES[name].__doc__) == ""


def test_an_example_that_leans_on_its_module_is_found():
    assert "name 'hvp' is not defined" in run("hvp", ">>> hvp")
