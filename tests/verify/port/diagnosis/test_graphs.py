"""Messages along edges: their direction, their weights, and how they are reduced."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxgrad.verify.port.diagnosis._graphs import messages, of_graphs

RNG = np.random.default_rng(0)
COUNT = 7
X, EDGES = RNG.normal(size=(COUNT, 4)), np.concatenate([[np.arange(COUNT)] * 2, RNG.integers(0, COUNT, (2, 12))], 1)
OWNER = np.array([0, 0, 0, 1, 1, 2, 2])
A, B = RNG.normal(size=(2, 1, 2, 2))
SOURCE, TARGET = EDGES


def summed(sent, ends, count=COUNT):
    made = np.zeros((count, *sent.shape[1:]))
    np.add.at(made, ends, sent)
    return made


def degree(ends):
    return np.bincount(ends, minlength=COUNT)[:, None]


def attention(over=TARGET, slope=0.2, a=A, b=B, taken=SOURCE):
    x = X.reshape(COUNT, 2, 2)
    scores = (x * a).sum(-1)[SOURCE] + (x * b).sum(-1)[TARGET]
    weights = np.exp(np.where(scores > 0, scores, slope * scores))
    weights = weights / summed(weights, over)[over]
    return summed(x[taken] * weights[..., None], TARGET).reshape(COUNT, -1)


def evidence(want, got, parameters=()):
    calls = [SimpleNamespace(path="lin", output=X)]
    around = [SimpleNamespace(path="conv", inputs=[X, EDGES, OWNER])]
    held = {f"p{i}": p for i, p in enumerate(parameters)}
    return SimpleNamespace(want=want, got=got, first=SimpleNamespace(path="conv"), sources={}, before=calls,
                           around=around, bound=SimpleNamespace(batch=()), under=lambda: held)  # fmt: skip


SUM = summed(X[SOURCE], TARGET)


@pytest.mark.parametrize(
    ("want", "got", "names"),
    [
        (SUM, summed(X[TARGET], SOURCE), ["edge-order"]),
        (SUM, SUM / degree(TARGET), ["reduction-of-messages"]),
        (SUM, SUM + X, ["self-loops"]),
        (summed((X / degree(SOURCE))[SOURCE], TARGET), SUM, ["degree-norm"]),
        (attention(), attention(slope=0.01), ["negative-slope"]),
        (attention(), attention(over=SOURCE), ["segments"]),
        (attention(), attention(a=B, b=A), ["edge-order"]),
        (attention(), attention(taken=TARGET), ["edge-order"]),
        (SUM, RNG.normal(size=SUM.shape), []),
    ],
)
def test_what_arrives_at_a_node(want, got, names):
    found = messages(evidence(want, got, (A, B)))
    assert [cause.id for cause in found] == names
    assert all(cause.proven for cause in found)


def test_what_the_nodes_of_a_graph_are_reduced_to():
    whole = summed(X, OWNER, 3)
    (found,) = of_graphs(evidence(whole / np.bincount(OWNER)[:, None], whole))
    assert "the sum over the nodes of each graph, torch the mean" in str(found)
    assert of_graphs(evidence(whole, RNG.normal(size=whole.shape))) == []
