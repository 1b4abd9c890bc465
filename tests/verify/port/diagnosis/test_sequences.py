"""Causes inside of recurrent layers: directions, several layers, packed sequences, and what is read of the states."""

import types

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._sequences import recurrent
from jaxgrad.verify.port.tracing._record_torch import Call

LENGTHS = np.array([4, 2, 3])


def layer(kind, **options):
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(3, 4, batch_first=True, **options).double()


def states(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x))[0].numpy()


def packed(module, x):
    with torch.no_grad():
        whole = pack_padded_sequence(torch.from_numpy(x), torch.from_numpy(LENGTHS), True, enforce_sorted=False)
        return pad_packed_sequence(module(whole)[0], True)[0].numpy()


def causes(module, x, want, got, made=None, before=()):
    side = types.SimpleNamespace(
        params={n: p.detach().numpy() for n, p in module.named_parameters(prefix="rnn")},
        buffers={}, aliases={}, at=lambda dtype: torch.nn.ModuleDict({"rnn": module}),
    )  # fmt: skip
    settings = {name: getattr(module, name) for name in ("batch_first", "bidirectional", "num_layers")}
    call = Call("rnn", type(module).__name__, 0, None)
    evidence = Evidence(
        types.SimpleNamespace(torch=side, batch=(LENGTHS,)), types.SimpleNamespace(path="rnn"),
        types.SimpleNamespace(call=call), want, got, {}, [x], {"kind": call.kind, **settings}, {}, before=list(before),
    )  # fmt: skip
    return [(one.id, one.path, one.proven) for one in recurrent(evidence, made)]


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 4, 3))


def halves(whole):
    return whole[..., :4], whole[..., 4:]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_two_directions_in_another_order(kind, x):
    want = states(layer(kind, bidirectional=True), x)
    forwards, backwards = halves(want)
    got = np.concatenate([backwards, forwards], -1)
    assert causes(layer(kind, bidirectional=True), x, want, got) == [("direction-order", "rnn", True)]


def test_a_second_direction_that_is_not_put_back_in_order(x):
    want = states(layer("LSTM", bidirectional=True), x)
    forwards, backwards = halves(want)
    got = np.concatenate([forwards, backwards[:, ::-1]], -1)
    assert causes(layer("LSTM", bidirectional=True), x, want, got) == [("direction", "rnn", True)]


@pytest.mark.parametrize("reading", [np.mean, np.max])
def test_only_a_part_of_the_states_is_handed_on(reading, x):
    module, other = layer("GRU", num_layers=2), layer("GRU", num_layers=2)
    with torch.no_grad():
        for name, bias in other.named_parameters():
            if name.startswith("bias_hh"):
                bias.zero_()
    made = states(module, x)
    found = causes(module, x, reading(made, 1), reading(states(other, x), 1), made)
    assert found == [("bias-missing", "rnn", True)]


def test_lengths_that_a_port_ignores(x):
    module = layer("LSTM", bidirectional=True)
    mask = (np.arange(4) < LENGTHS[:, None])[..., None]
    want, got = packed(module, x), np.where(mask, states(module, x), 0)
    before = Call("embed", "Embedding", 0, None, output=x)
    assert causes(module, np.where(mask, x, 0), want, got, want, [before]) == [("packed", "rnn", True)]


def test_states_that_no_setting_makes_have_no_cause(x):
    want = states(layer("LSTM", bidirectional=True), x)
    assert causes(layer("LSTM", bidirectional=True), x, want, want + 0.1 * np.sin(want)) == []
