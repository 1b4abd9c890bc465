"""What a check is asked is read once."""

import pytest

from jaxgrad.verify.port._question import Question


def asked(what=None, dtypes=("float64", "float32")):
    return Question.of(what, dtypes, 1e-10, 10.0, None)


def test_float64_is_always_asked_for_and_comes_first():
    assert asked(dtypes=("bfloat16", "float32")).dtypes == ("float64", "bfloat16", "float32")
    assert asked(dtypes=()).dtypes == ("float64",)


def test_quantities_are_sorted_by_who_computes_them():
    question = asked("step,grad,activations,hvp,steps:3")
    assert question.names == ("step", "gradient", "activations", "hvp", "steps:3")
    assert question.numbers == ["gradient", "hvp"]
    assert question.steps == ["step", "steps:3"]
    assert question.inside == ["activations"]
    assert question.of_parameters == ["step", "hvp", "steps:3"]
    assert question.tell("nobody hears it", 0.5) is None


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="hessian"):
        asked("hessian")
