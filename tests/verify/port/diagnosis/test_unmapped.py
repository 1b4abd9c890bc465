"""A weight without a counterpart is the first cause, and what is only seen of it is left out."""

from types import SimpleNamespace

import numpy as np

from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._unmapped import with_unmapped
from jaxgrad.verify.report._records import Leaf, Result

PAIR = SimpleNamespace(
    torch=SimpleNamespace(aliases={}, outline={"fc.weight": (3, 4)}),
    jax=SimpleNamespace(params={"head": {"bias": np.zeros(5)}}, rest={}),
    mapping=SimpleNamespace(links=(("out", "head"),)),
)


def result(*leaves):
    return Result("mapping", list(leaves), "differ")


def test_both_sides_are_told_by_name_and_shape_before_what_follows():
    lost, left = Leaf("fc.weight", "", np.inf, note="why"), Leaf("", "head/bias", np.inf, note="why")
    seen, other = cause("scale", "0 times", path="fc"), cause("epsilon", "JAX has 1.", path="norm")
    first, second, *rest = with_unmapped(PAIR, [result(lost, left)], [seen, other])
    assert "fc.weight [3, 4] has no counterpart in JAX" in first.text
    assert (second.path, "head/bias [5] has no counterpart in torch" in second.text) == ("out", True)
    assert rest == [other]


def test_a_bias_that_a_layer_leaves_out_is_told_by_its_setting():
    bias = cause("bias-missing", "JAX has no bias.", path="fc", proven=True)
    lost = Leaf("fc.bias", "", np.inf, note="why")
    assert with_unmapped(PAIR, [result(lost)], [bias]) == [bias]
    # what is only likely does not stand for it
    likely = cause("bias-missing", "JAX has no bias.", path="fc")
    assert [one.id for one in with_unmapped(PAIR, [result(lost)], [likely])] == ["mapping", "bias-missing"]


def test_nothing_is_changed_where_every_weight_has_its_counterpart():
    found = [cause("scale", "4 times", path="fc")]
    assert with_unmapped(PAIR, [], found) is found
