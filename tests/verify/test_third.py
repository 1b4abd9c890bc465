"""The rows that continuous integration takes cover every kind, and a rate that is too low is told."""

from tests.verify import test_mutations, test_ports
from tests.verify.mutations.catalogue import catalogue
from tests.verify.ports.pairs import PORTS
from tests.verify.third import every_third, missed


def taken(rows, start):
    return [param.id for param in every_third(rows, start) if any(mark.name == "catalogue" for mark in param.marks)]


def test_a_third_is_taken_and_all_are_slow():
    rows = [(str(n), n) for n in range(7)]
    assert taken(rows, 1) == ["1", "4"]
    assert all("slow" in [mark.name for mark in param.marks] for param in every_third(rows, 1))


def test_every_kind_of_planted_difference_and_both_apis_are_among_them():
    names = taken([(mutation.name, mutation) for mutation in catalogue()], test_mutations.START)
    assert len(names) in (38, 39)
    kinds = {"mlp", "loss", "backward", "kink", "cnn", "transformer", "rnn", "adam", "clip"}
    assert kinds <= {name.split(":")[0] for name in names}
    assert {name.split("-")[1] for name in taken(PORTS.items(), test_ports.START)} == {"linen", "nnx"}


def test_a_rate_that_is_too_low_is_told():
    marks = [(True, 0.9)] * 9
    assert missed({"placed": [*marks, (False, 0.9)]}) == []
    assert missed({"placed": [*marks, (False, 0.9), (False, 0.9)]}) == ["placed in 9 of 11 rows, at least 90%"]
    assert missed({"placed": [(False, 0.9)]}) == []
