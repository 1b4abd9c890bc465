"""The verdict on a mapping, and the first divergence where only the quantities show one."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port._divergences import divergences, first_of_results
from jaxgrad.verify.port._judge_mapping import judge_mapping
from jaxgrad.verify.port._question import Question
from jaxgrad.verify.port._record_layers import Recording, judge_layers, record
from jaxgrad.verify.port.mapping._search import Mapping
from jaxgrad.verify.report._records import Leaf, Result

ASKED = Question.of("value,gradient,activations", ("float64",), 1e-10, 10.0, None)


def differing(name, **errors):
    return Result(name, [Leaf(leaf, f"{leaf} in JAX", error) for leaf, error in errors.items()], "differ")


def mapped(unused=(), unfilled=(), untied=None, **side):
    held = {"settled": {}, "buffers": {}, "frozen": frozenset()} | side
    return SimpleNamespace(
        mapping=Mapping((), tuple(unused), tuple(unfilled)), torch=SimpleNamespace(**held), untied=lambda: untied or {}
    )


def test_a_mapping_without_rest_is_no_finding():
    assert judge_mapping(mapped()) == []


def test_every_weight_without_a_counterpart_is_told():
    (found,) = judge_mapping(mapped(["a.weight", "table"], ["b/kernel"]))
    assert found.verdict == "differ"
    assert found.reason == "3 weights without a counterpart: a.weight, table, b/kernel"
    assert all(leaf.error == np.inf for leaf in found.leaves)


@pytest.mark.parametrize("place", ["buffers", "frozen"])
def test_a_table_that_jax_makes_itself_has_its_counterpart(place):
    assert judge_mapping(mapped(["table"], settled={"table": np.ones(2)}, **{place: {"table": np.ones(2)}})) == []
    # a weight that is trained is none, whatever its values
    assert judge_mapping(mapped(["table"], settled={"table": np.ones(2)}))


def test_a_tie_that_is_lost_is_told_with_its_leaves():
    (found,) = judge_mapping(mapped(untied={"table": ["embed/embedding", "head/kernel"]}))
    assert found.name == "tied weights"
    assert (found.leaves[0].torch, found.leaves[0].jax) == ("table", "embed/embedding, head/kernel")


@pytest.mark.parametrize(
    ("result", "place"),
    [
        (differing("value", output=1e-3, loss=1e-2), ("loss", "forward", "value")),
        (differing("gradient", **{"a.weight": 1e-3, "b.bias": 1e-2}), ("b", "backward", "gradient")),
        (differing("gradient", **{"a.weight": np.nan}), ("a", "backward", "gradient")),
        (
            differing("steps:2", **{"step 1: update: a/kernel": 1e-3, "step 1: parameters: a/kernel": 1.0}),
            ("update", "step", "steps:2"),
        ),
    ],
)
def test_the_first_result_that_differs_names_the_place(result, place):
    found = first_of_results([Result("value", [], "agree"), result, differing("hvp", c=1.0)], 1e-10)
    assert (found.path, found.stage, found.where) == place


def test_what_is_within_the_tolerance_is_no_place():
    assert first_of_results([differing("gradient", a=1e-12, b=1e-3)], 1e-10).jax == "b in JAX"
    assert first_of_results([Result("value", [], "agree")], 1e-10) is None
    assert divergences(None, Recording(), [Result("value", [], "noisy")], ASKED) == []


def test_nothing_is_recorded_that_nobody_asks_for():
    quiet = dataclasses.replace(ASKED, names=("value",))
    assert record(None, quiet, [Result("value", [], "agree")]) == Recording()
    assert judge_layers(Recording(), quiet) == []


def test_a_model_that_cannot_be_watched_is_told_and_one_that_shows_nothing_agrees():
    failed = record(None, ASKED, [])
    assert failed.failure.startswith("cannot be watched layer by layer: AttributeError")
    assert [r.verdict for r in judge_layers(failed, ASKED)] == ["failed"]
    assert [r.verdict for r in judge_layers(Recording(), ASKED)] == ["agree"]
