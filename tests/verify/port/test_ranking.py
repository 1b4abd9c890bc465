"""Every divergence of one run is told with its cause, the weightiest first; calls and cells are paired as they are."""

from collections import OrderedDict

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

from jaxgrad.verify import pair

X = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)


class Deep(nn.Module):
    """Two norms and an activation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.ln, self.act = nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()
        self.fc2, self.ln2, self.fc3 = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc3(self.ln2(torch.tanh(self.fc2(self.act(self.ln(self.fc1(x)))))))


class JaxDeep(fnn.Module):
    """Its port, with another epsilon in both norms and another activation between them."""

    epsilon: float = 1e-6
    act: object = fnn.relu

    @fnn.compact
    def __call__(self, x):
        h = self.act(fnn.LayerNorm(self.epsilon, name="ln")(fnn.Dense(8, name="fc1")(x)))
        h = fnn.LayerNorm(self.epsilon, name="ln2")(jnp.tanh(fnn.Dense(8, name="fc2")(h)))
        return fnn.Dense(3, name="fc3")(h)


def trained(model, port, make, transformation):
    """Compare a training step."""
    given = {"batch": (X, Y), "mode": "train", "optimizer": (make, transformation)}
    bound = pair(torch=model.train(), jax=port, loss="mse", **given)
    return bound.check(["value", "step"], dtypes=("float64",))


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.01)


def test_an_epsilon_and_an_activation_and_a_decay_are_all_told_in_one_run():
    found = trained(Deep(), JaxDeep(), adamw, optax.adamw(0.01, weight_decay=0.0001))
    assert [cause.id for cause in found.causes] == ["activation", "epsilon", "weight-decay"]
    assert found.first_divergence.path == "act"
    # the small ones are told with their share, and as one where they are the same
    assert {d.path for d in found.divergences} == {"act", "ln", "ln2"}
    assert found.divergences[0].explains > 0.9
    assert all(d.explains < 0.01 for d in found.divergences[1:])
    epsilon = found.causes[1]
    assert {epsilon.path, *epsilon.also} == {"ln", "ln2"}
    assert "another divergence: ln2" in str(found)
    assert len(found.to_dict()["divergences"]) == 3
    assert "JAX decays the weights by 0.0001, torch by 0.01" in found.causes[2].text


def test_two_errors_of_one_size_keep_their_order():
    found = trained(
        Deep(), JaxDeep(act=lambda x: fnn.gelu(x, approximate=False)), adamw, optax.adamw(0.01, weight_decay=0.01)
    )
    assert [d.path for d in found.divergences] == ["ln", "ln2"]
    assert [cause.id for cause in found.causes] == ["epsilon"]


def test_decay_of_groups_and_a_schedule_off_by_a_step_are_named():
    def groups(parameters):
        held = list(parameters)
        apart = [[p for p in held if p.ndim > 1], [p for p in held if p.ndim < 2]]
        decays = [{"params": part, "weight_decay": d} for part, d in zip(apart, (0.2, 0.0), strict=True)]
        return torch.optim.AdamW(decays, lr=0.01)

    class Warm(torch.optim.SGD):
        count = 0

        def step(self, closure=None):
            self.count += 1
            for group in self.param_groups:
                group["lr"] = 0.01 * self.count
            return super().step(closure)

    port = JaxDeep(epsilon=1e-5, act=lambda x: fnn.gelu(x, approximate=False))
    masked = optax.adamw(0.01, weight_decay=0.2, mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree))
    assert trained(Deep(), port, groups, masked).ok
    assert trained(Deep(), port, groups, optax.adamw(0.01, weight_decay=0.2)).causes[0].id == "decay-groups"
    for off, words in ((1, None), (0, "a step behind"), (2, "a step ahead")):
        made = optax.sgd(lambda count, off=off: 0.01 * (count + off))
        found = trained(Deep(), port, lambda p: Warm(p, 0.01), made)
        assert found.ok if words is None else (found.causes[0].id == "schedule" and words in found.causes[0].text)


def test_a_layer_that_torch_holds_frozen_is_named_by_the_search_for_causes():
    net = Deep()
    net.fc1.weight.requires_grad_(False)
    port = JaxDeep(epsilon=1e-5, act=lambda x: fnn.gelu(x, approximate=False))
    found = trained(net, port, lambda p: torch.optim.SGD(p, 0.1), optax.sgd(0.1))
    assert [cause.id for cause in found.causes] == ["frozen"]


class Tied(nn.Module):
    """An embedding that is the head too."""

    def __init__(self):
        super().__init__()
        self.wte, self.fc, self.ln = nn.Embedding(11, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, t):
        return self.lm_head(self.ln(torch.relu(self.fc(self.wte(t)))))


class JaxTied(fnn.Module):
    """Its port, by `attend` or by another layer applied to the transpose."""

    act: object = fnn.relu
    nested: bool = False

    @fnn.compact
    def __call__(self, t):
        wte = fnn.Embed(11, 8, name="wte")
        h = fnn.LayerNorm(1e-5, name="ln")(self.act(fnn.Dense(8, name="fc")(wte(t))))
        if not self.nested:
            return wte.attend(h)
        head = fnn.Dense(11, use_bias=False, parent=None)
        return head.apply({"params": {"kernel": wte.variables["params"]["embedding"].T}}, h)


@pytest.mark.parametrize("nested", [False, True], ids=["attend", "nested apply"])
def test_a_tied_head_is_no_other_count_of_calls(nested):
    t = np.random.default_rng(0).integers(0, 11, (2, 5))
    for act, ids in ((fnn.relu, []), (fnn.gelu, ["activation"])):
        bound = pair(torch=Tied().eval(), jax=JaxTied(act, nested), loss="cross_entropy", batch=(t, t))
        found = bound.check(["value", "gradient"], dtypes=("float64",))
        assert [cause.id for cause in found.causes] == ids
        assert found.ok == (not ids)


class Cell(nn.Module):
    """A recurrent cell behind an activation."""

    def __init__(self):
        super().__init__()
        self.pre, self.rnn, self.fc = nn.Linear(8, 8), nn.GRUCell(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.rnn(torch.relu(self.pre(x)), torch.zeros(len(x), 8, dtype=x.dtype) + 0.1))


class JaxCell(fnn.Module):
    """Its port; a cell of Flax takes its carry first."""

    act: object = fnn.gelu

    @fnn.compact
    def __call__(self, x):
        h = self.act(fnn.Dense(8, name="pre")(x))
        return fnn.Dense(3, name="fc")(fnn.GRUCell(8, name="rnn")(jnp.full((len(x), 8), 0.1), h)[0])


def test_a_mistake_before_a_cell_is_not_the_cells():
    bound = pair(torch=Cell().eval(), jax=JaxCell(), loss="mean_square", batch=(X,))
    found = bound.check(["value"], dtypes=("float64",))
    assert (found.first_divergence.path, found.first_divergence.where) == ("rnn", "input")
    assert [cause.id for cause in found.causes] == ["activation"]


class Equalised(nn.Linear):
    """A layer that scales its input."""

    def forward(self, x):
        return super().forward(x * self.in_features**-0.5)


class JaxEqualised(fnn.Dense):
    """Its port."""

    factor: float = 1.0

    def __call__(self, x):
        return super().__call__(x * self.factor * x.shape[-1] ** -0.5)


class Stack(fnn.Module):
    """Two of them."""

    factor: float

    @fnn.compact
    def __call__(self, x):
        return JaxEqualised(3, name="b")(fnn.tanh(JaxEqualised(8, factor=self.factor, name="a")(x)))


class TorchStack(nn.Module):
    """Two of them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Equalised(8, 8), Equalised(8, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


def test_a_call_through_super_is_one_call():
    bound = pair(torch=TorchStack().eval(), jax=Stack(1.1), loss="mean_square", batch=(X,))
    found = bound.check(["value"], dtypes=("float64",))
    assert found.first_divergence.path == "a"
    assert [(cause.id, "1.1" in cause.text) for cause in found.causes] == [("scale", True)]


class Normed(fnn.Module):
    @fnn.compact
    def __call__(self, x, train: bool = True):
        h = fnn.BatchNorm(use_running_average=not train, momentum=0.9, name="1")(fnn.Dense(8, name="0")(x))
        return fnn.Dense(3, name="2")(fnn.relu(h))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def test_the_variance_that_torch_keeps_unbiased_is_proven_and_stands_behind_what_can_be_mended():
    torch.manual_seed(0)
    layers = {"0": nn.Linear(8, 8), "1": nn.BatchNorm1d(8), "relu": nn.ReLU(), "2": nn.Linear(8, 3)}
    net = nn.Sequential(OrderedDict(layers)).train()
    given = {"batch": (X, Y), "mode": "train", "loss": "mse", "optimizer": (sgd, optax.sgd(0.1))}
    found = pair(torch=net, jax=Normed(), **given).check(["value", "steps:3"], dtypes=("float64",))
    assert [(cause.id, cause.proven) for cause in found.causes] == [("bn-unbiased", True)]
    assert found.first_divergence.path == "buffers"
    # a schedule that parts at the second step alone is not hidden by the variance of the first
    given["optimizer"] = (sgd, optax.sgd(optax.piecewise_constant_schedule(0.1, {1: 0.5})))
    found = pair(torch=net, jax=Normed(), **given).check(["value", "steps:3"], dtypes=("float64",))
    assert found.first_divergence.path == "update"
    assert next(r for r in found.results if r.name == "steps:3").reason == "first differs at step 2: update"
