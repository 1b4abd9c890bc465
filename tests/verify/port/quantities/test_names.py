"""The names of quantities."""

import pytest

from jaxgrad.verify.port.quantities._names import ALL, DEFAULT, quantity_names, steps_of


def test_names_in_the_forms_in_which_people_give_them():
    assert quantity_names(None) == list(DEFAULT)
    assert quantity_names("grad, input-gradient,value,gradient") == ["gradient", "input_gradient", "value"]
    assert quantity_names(["all", "steps:5"]) == [*ALL, "steps:5"]
    assert [steps_of(name) for name in ("step", "steps:5")] == [1, 5]


@pytest.mark.parametrize("wrong", ["gradeint", "steps:0", "steps:x", "", []])
def test_a_name_that_is_none_is_refused_with_those_that_are(wrong):
    with pytest.raises(ValueError, match="what must be among value, gradient"):
        quantity_names(wrong)
