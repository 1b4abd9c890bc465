"""Everything in which the rules of two optimizers differ is told of one first step, rate and decay by their sizes."""

from types import SimpleNamespace

import numpy as np
import optax
import pytest
import torch

from jaxgrad.verify.port.diagnosis._optimizer_rules import first_update, named
from jaxgrad.verify.port.frameworks._contexts import precision

RNG = np.random.default_rng(0)
WEIGHTS = {"fc.weight": RNG.normal(size=(4, 3)), "fc.bias": RNG.normal(size=4)}
GRADIENT = {name: 0.1 * RNG.normal(size=w.shape) for name, w in WEIGHTS.items()}


def first(make, transformation):
    """Return the causes of a first step of either optimizer from the same gradient, all leaves laid out alike."""
    params = {n: torch.nn.Parameter(torch.tensor(w)) for n, w in WEIGHTS.items()}
    optimizer = make(list(params.values()))
    for name, p in params.items():
        p.grad = torch.tensor(GRADIENT[name])
    optimizer.step()
    want = {"update": {n: p.detach().numpy() - WEIGHTS[n] for n, p in params.items()}}
    with precision():
        update, state = transformation.update(GRADIENT, transformation.init(WEIGHTS), WEIGHTS)
    traces = optax.tree_utils.tree_get_all_with_path(state, "trace")
    held = {f"trace of {n}": x for _, trace in traces if isinstance(trace, dict) for n, x in trace.items()}
    entries = [SimpleNamespace(jax=n, torch=(n,)) for n in WEIGHTS]
    mapping = SimpleNamespace(entries=entries, fill=lambda held, paths: {p: held[p] for p in paths})
    theirs = SimpleNamespace(optimizer=optimizer, params=params, given=(GRADIENT, GRADIENT))
    return first_update(
        SimpleNamespace(mapping=mapping), theirs, WEIGHTS, want, {"update": update, "optimizer state": held}
    )


def matrices(tree):
    return {n: w.ndim > 1 for n, w in tree.items()}


def adamw(**settings):
    return lambda p: torch.optim.AdamW(p, lr=0.01, **({"weight_decay": 0.1} | settings))


def grouped(p):
    groups = [{"params": p[:1], "weight_decay": 0.1}, {"params": p[1:], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.01)


def sgd(p):
    return torch.optim.SGD(p, lr=0.1, weight_decay=0.01)


def nesterov(p):
    return torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)


def optax_nesterov(rate, decay, *behind):
    before = [optax.add_decayed_weights(decay)] * bool(decay)
    return optax.chain(*before, optax.sgd(rate, momentum=0.9, nesterov=True), *behind)


def adam(p):
    return torch.optim.Adam(p, lr=0.01, weight_decay=0.1)


def rmsprop(p):
    return torch.optim.RMSprop(p, lr=0.01)


def adagrad(p):
    return torch.optim.Adagrad(p, lr=0.01)


@pytest.mark.parametrize(
    ("make", "transformation", "names", "words"),
    [
        (adamw(), optax.adamw(0.01, weight_decay=0.1), [], ""),
        (adamw(), optax.adamw(0.01), ["weight-decay"], "JAX decays the weights by 0.0001, torch by 0.1"),
        (adamw(), optax.adamw(0.01, eps=1e-6), ["optimizer-epsilon", "weight-decay"], "an epsilon of 1e-06"),
        (adamw(), optax.adamw(0.02, eps=1e-6, weight_decay=0.03),
         ["optimizer-epsilon", "weight-decay", "learning-rate"], "Give learning_rate=0.01"),
        (adamw(), optax.adamw(0.01, weight_decay=0.1, eps_root=1e-8, eps=0.0), ["optimizer-epsilon"], "under the root"),
        (adam, optax.adamw(0.01, weight_decay=0.1), ["l2-decay"], "apart"),
        (adamw(), optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01)), ["l2-decay"], "JAX inside"),
        (grouped, optax.adamw(0.01, weight_decay=0.1), ["decay-groups"], "0.1 for 0"),
        (grouped, optax.adamw(0.01, weight_decay=0.1, mask=matrices), [], ""),
        (sgd, optax.sgd(0.1), ["weight-decay"], "by 0, torch by 0.01"),
        (nesterov, optax_nesterov(0.1, 0.01), [], ""),
        (nesterov, optax_nesterov(0.2, 0.01), ["learning-rate"], "Give learning_rate=0.1."),
        (nesterov, optax_nesterov(0.2, 0.003), ["weight-decay", "learning-rate"], "Give learning_rate=0.1."),
        (nesterov, optax_nesterov(0.1, 0.003), ["weight-decay"], "by 0.003, torch by 0.01"),
        (nesterov, optax_nesterov(0.1, 0.0, optax.add_decayed_weights(-0.1 * 0.01)), ["l2-decay"],
         "Move optax.add_decayed_weights(0.01) in front of optax.sgd"),
        (nesterov, optax_nesterov(0.1, 0.0, optax.add_decayed_weights(-0.1 * 0.03)), ["l2-decay", "weight-decay"],
         "Give weight_decay=0.01"),
        (rmsprop, optax.rmsprop(0.01), ["beta2", "optimizer-epsilon"], "eps_in_sqrt=False"),
        (adagrad, optax.adagrad(0.01), ["accumulator-start", "optimizer-epsilon"], "from 0.1"),
        (adamw(weight_decay=0.0), optax.sgd(0.01), ["optimizer-rule"], "the gradient itself"),
        # a rule of its own is left to the patterns
        (lambda p: torch.optim.NAdam(p, lr=0.01), optax.nadam(0.01), [], ""),
    ],
)  # fmt: skip
def test_a_first_step_tells_all_of_its_differences(make, transformation, names, words):
    found = first(make, transformation)
    assert [cause.id for cause in found if cause.id in names] == names
    assert len(found) == len(names) or names == ["optimizer-rule"]
    assert words in " ".join(map(str, found)) or not words
    assert all(cause.proven for cause in found)


def test_leaves_that_are_not_named_are_counted():
    assert named(["a", "b"]) == "a, b"
    assert named([f"w{i}" for i in range(24)]) == "w0, w1, w2, w3 and 20 more"
