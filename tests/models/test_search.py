"""The search that `mapping_for` and `verify.pair` share: names as people write them, found without a rule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as fnn
from torch import nn

from jaxgrad import models
from jaxgrad.models._facts import JaxFacts, TorchFacts, kind_of, torch_facts
from jaxgrad.models._search import correspond
from jaxgrad.models._unpaired import unpaired


def search(module, tree, **known):
    """Return what is found between a torch module and leaves given by path and shape."""
    return correspond(torch_facts(module), JaxFacts(tree, **known))


def pairs(found):
    """Return the leaf of every tensor, after making sure that nothing is left over."""
    assert found.unused == found.unfilled == ()
    return {link.name: link.path for link in found.links}


def dense(*names, size=(3, 3), kernel="kernel", bias="bias"):
    """Return the leaves of dense layers of one size."""
    return {f"{n}/{kernel}": size for n in names} | {f"{n}/{bias}": size[1:] for n in names}


def modules(**parts):
    return nn.ModuleDict(parts)


def linear(*sizes, **options):
    return nn.Linear(*(sizes or (3, 3)), **options)


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose matrix has its inputs first."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Linear(nn.Module):
    """A linear layer of one's own with torch's order, which a class of torch's lends its name."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return x @ self.weight.T


class Own(nn.Module):
    """A module that holds tensors under names of its own."""

    def __init__(self, buffers=(), **shapes):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))
        for name, shape in buffers:
            self.register_buffer(name, torch.zeros(shape))


def test_abbreviations_are_the_words_that_they_begin():
    module = modules(enc=linear(), dec=linear())
    tree = {n: {"kernel": jnp.zeros((3, 3)), "bias": jnp.zeros(3)} for n in ("decoder", "encoder")}
    assert dict(models.mapping_for(module, tree).pairs())["enc.weight"] == "encoder/kernel"
    assert pairs(search(module, dense("decoder", "encoder")))["dec.bias"] == "decoder/bias"


def test_what_neither_names_nor_shapes_decide_is_refused_with_the_choice():
    tree = {n: {"kernel": jnp.zeros((3, 3)), "bias": jnp.zeros(3)} for n in ("x", "y")}
    with pytest.raises(
        ValueError, match=r"(?s)a could lie in any of x, y.*names do not say which.*b could lie in any of"
    ):
        models.mapping_for(modules(a=linear(), b=linear()), tree)


def test_what_runs_first_comes_first_where_names_say_nothing():
    module = modules(a=linear(), b=linear(), c=linear())
    facts = torch_facts(module)
    ran = TorchFacts(facts.shapes, facts.kinds, order={"c": 0, "a": 1, "b": 2})
    found = correspond(ran, JaxFacts(dense("p", "q", "r"), order={"q": 0, "r": 1, "p": 2}))
    assert [pairs(found)[f"{n}.weight"][0] for n in "cab"] == ["q", "r", "p"]


@pytest.mark.parametrize("names", [("fw", "bw"), ("fwd", "bwd"), ("lstm_f", "lstm_b"), ("a_rev", "a")])
def test_the_directions_of_a_recurrent_layer_go_by_what_people_call_them(names):
    forward, backward = names if "rev" not in names[0] else names[::-1]
    tree = {f"{name}/h{gate}/{leaf}": size for name in (backward, forward) for gate in "ifgo"
            for leaf, size in (("kernel", (2, 2)), ("bias", (2,)))}  # fmt: skip
    tree |= {f"{name}/i{gate}/kernel": (3, 2) for name in (backward, forward) for gate in "ifgo"}
    # the backward direction may be the first that is called
    known = {"order": {backward: 0, forward: 1}}
    facts = dataclasses.replace(torch_facts(nn.LSTM(3, 2, bidirectional=True)), order={"": 0})
    found = {(link.name, link.path) for link in correspond(facts, JaxFacts(tree, **known)).links}
    assert ("weight_hh_l0", f"{forward}/hi/kernel") in found
    assert ("weight_hh_l0_reverse", f"{backward}/hi/kernel") in found


def test_numbers_that_flax_gives_yield_to_the_order_of_execution():
    module = nn.Sequential(linear(), linear())
    facts = torch_facts(module)
    ran = TorchFacts(facts.shapes, facts.kinds, order={"0": 0, "1": 1})
    # Outer()(Inner()(x)) makes the outer layer first, and runs it last
    found = correspond(ran, JaxFacts(dense("Dense_0", "Dense_1"), order={"Dense_1": 0, "Dense_0": 1}))
    assert pairs(found)["0.weight"] == "Dense_1/kernel"


@pytest.mark.parametrize(
    ("names", "tree"),
    [
        ("flat", {"fc_w": (3, 4), "fc_b": (4,), "norm_g": (4,), "norm_b": (4,)}),
        ("torch's own", {"fc.weight": (4, 3), "fc.bias": (4,), "norm.weight": (4,), "norm.bias": (4,)}),
        ("gamma", {"fc/W": (3, 4), "fc/b": (4,), "norm/gamma": (4,), "norm/beta": (4,)}),
        ("pairs", {"fc/0": (3, 4), "fc/1": (4,), "norm/scale": (4,), "norm/offset": (4,)}),
    ],
)
def test_names_of_leaves(names, tree):
    found = pairs(search(modules(fc=linear(3, 4), norm=nn.LayerNorm(4)), tree))
    first, second, third, fourth = tree
    assert found == {"fc.weight": first, "fc.bias": second, "norm.weight": third, "norm.bias": fourth}, names


@pytest.mark.parametrize(
    ("torch_names", "jax_names"),
    [
        ({"g": (4,)}, ["norm/scale"]),
        ({"gamma": (4,), "beta": (4,)}, ["norm/scale", "norm/bias"]),
        ({"weight": (4,)}, ["norm/w"]),
        ({"codebook": (7, 4)}, ["norm/embedding"]),
    ],
)
def test_tensors_of_modules_of_ones_own(torch_names, jax_names):
    shapes = dict(zip(jax_names, torch_names.values(), strict=True))
    found = pairs(search(modules(norm=Own(**torch_names)), shapes))
    assert list(found.values()) == jax_names


def test_a_head_whose_bias_is_tied_to_its_owner():
    module = modules(embed=nn.Embedding(5, 3), lm_head=Own(bias=(5,)))
    module["lm_head"].decoder = linear(3, 5)
    module["lm_head"].decoder.bias = module["lm_head"].bias
    module["lm_head"].decoder.weight = module["embed"].weight
    found = search(module, {"embed/embedding": (5, 3), "lm_head_bias": (5,)})
    assert pairs(found) == {"embed.weight": "embed/embedding", "lm_head.bias": "lm_head_bias"}


def test_a_linear_layer_of_ones_own_goes_by_what_it_computes():
    assert kind_of(Conv1D(3, 3)) == "own Linear, inputs first"
    assert kind_of(Linear()) == "own Linear"
    for layer, axes in ((Conv1D(3, 3), (0, 1)), (Linear(), (1, 0))):
        tree = {"fc/kernel": (3, 3)} | ({"fc/bias": (3,)} if hasattr(layer, "bias") else {})
        (link,) = [link for link in search(modules(fc=layer), tree).links if link.path == "fc/kernel"]
        assert link.layout.axes == axes


def test_square_matrices_lie_as_those_whose_shapes_tell():
    module = nn.Sequential(linear(3, 4, bias=False), linear(4, 4, bias=False))
    for shape, axes in (((4, 3), (0, 1)), ((3, 4), (1, 0))):
        found = search(module, {"w1": shape, "w2": (4, 4)})
        assert {link.layout.axes for link in found.links} == {axes}
        assert [list(match.doubts) for match in found.matches] == [[], ["w2"]]


def test_windows_that_one_side_writes_as_matrices():
    conv = nn.Conv2d(3, 4, 2)
    weight = conv.weight.detach().numpy()
    (kernel, _) = search(modules(patch=conv), {"patch/kernel": (12, 4), "patch/bias": (4,)}).links
    np.testing.assert_array_equal(kernel.layout.to_jax(weight), weight.transpose(2, 3, 1, 0).reshape(12, 4))
    assert pairs(search(modules(se=nn.Conv1d(3, 4, 1)), dense("se", size=(3, 4))))["se.weight"] == "se/kernel"
    assert pairs(search(modules(se=linear(3, 4)), {"se/kernel": (1, 1, 3, 4), "se/bias": (4,)}))


def weight_norms():
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Conv1d(3, 4, 2))
    return [old, nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2))]


@pytest.mark.parametrize("which", [0, 1])
def test_weight_norm(which):
    module = modules(conv=weight_norms()[which])
    own = pairs(search(module, {"conv/v": (2, 3, 4), "conv/g": (4,), "conv/bias": (4,)}))
    g, v = sorted(set(own) - {"conv.bias"})
    assert (own[g], own[v]) == ("conv/g", "conv/v")
    wrapper = {"conv/kernel": (2, 3, 4), "conv/bias": (4,), "WeightNorm_0/conv/kernel/scale": (4,)}
    assert pairs(search(module, wrapper))[g] == "WeightNorm_0/conv/kernel/scale"


ATTENTION = {f"attn/{part}/kernel": (4, 2, 2) for part in ("query", "key", "value")}
ATTENTION |= {f"attn/{part}/bias": (2, 2) for part in ("query", "key", "value")}
ATTENTION |= {"attn/out/kernel": (2, 2, 4), "attn/out/bias": (4,)}


def test_attention_may_lack_the_bias_of_its_keys_which_changes_nothing():
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    parts = {name: linear(4, 4, bias=name != "k_proj") for name in names}
    found = search(modules(attn=modules(**parts)), ATTENTION)
    assert found.unfilled == found.inert == ("attn/key/bias",)
    assert len(found.links) == 7


def test_attention_written_by_hand_takes_the_parts_of_torchs_own():
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    found = pairs(search(modules(attn=nn.MultiheadAttention(4, 2)), dense(*(f"attn/{n}" for n in names), size=(4, 4))))
    assert found["attn.out_proj.weight"] == "attn/o_proj/kernel"
    packed = {"attn/qkv/kernel": (4, 12), "attn/qkv/bias": (12,), "attn/proj/kernel": (4, 4), "attn/proj/bias": (4,)}
    assert pairs(search(modules(attn=nn.MultiheadAttention(4, 2)), packed))["attn.in_proj_bias"] == "attn/qkv/bias"


def test_cells_with_all_gates_together():
    module = modules(rnn=nn.GRU(3, 2), cell=nn.LSTMCell(3, 2))
    own = {"rnn/ih/kernel": (3, 6), "rnn/ih/bias": (6,), "rnn/hh/kernel": (2, 6), "rnn/hh/bias": (6,)}
    joined = {"cell/dense_i/kernel": (3, 8), "cell/dense_h/kernel": (2, 8), "cell/dense_h/bias": (8,)}
    found = search(module, own | joined)
    assert not found.unused
    assert sum(link.path == "cell/dense_h/bias" for link in found.links) == 2


def test_the_part_of_a_bias_that_a_cell_lacks_is_told():
    tree = {"dense_i/kernel": (3, 6), "dense_i/bias": (6,), "dense_h/kernel": (2, 6)}
    facts, ours = torch_facts(nn.GRUCell(3, 2)), JaxFacts(tree)
    found = correspond(facts, ours)
    assert found.unused == ("bias_hh",)
    assert "reset gate" in unpaired(found, facts, ours)["bias_hh"]
    first, second = (link.layout for link in found.links if link.path == "dense_i/bias")
    rows = np.arange(1.0, 7)
    assert (first.to_jax(rows) + second.to_jax(rows[:4])).tolist() == [2, 4, 6, 8, 5, 6]
    assert jax.jit(second.to_jax)(jnp.array(rows[:4])).tolist() == [1, 2, 3, 4, 0, 0]
    assert second.to_torch(rows).tolist() == [1, 2, 3, 4]


def test_a_buffer_may_be_a_parameter():
    module = Own(buffers=[("final_logits_bias", (1, 3)), ("mask", (5, 5))])
    module.fc = linear()
    tree = {"params": {"kernel": jnp.zeros((3, 3)), "bias": jnp.zeros(3)}, "final_logits_bias": jnp.zeros((1, 3))}
    mapping = models.mapping_for(module, tree)
    assert ("final_logits_bias", "final_logits_bias") in mapping.pairs()
    assert mapping.others == {"mask"}


def test_classes_count_as_words():
    tree = {f"{name}/{leaf}": (3,) for name in "ab" for leaf in ("scale", "bias")}
    configs = {"a": {"kind": "LayerNorm"}, "b": {"kind": "BatchNorm"}}
    found = search(nn.Sequential(nn.BatchNorm1d(3), nn.LayerNorm(3)), tree, configs=configs)
    assert pairs(found)["0.weight"] == "b/scale"


def test_what_is_left_over_is_told_with_what_is_nearest():
    facts = torch_facts(modules(fc=linear(3, 4), out=linear(4, 2)))
    ours = JaxFacts(dense("fc", size=(3, 5)) | dense("out", size=(4, 2)))
    found = correspond(facts, ours)
    told = unpaired(found, facts, ours)
    assert told["fc.weight"] == "the nearest is fc/kernel [3, 5], whose shape differs"
    assert told["fc/bias"] == "the nearest is fc.bias [4], whose shape differs"


def test_a_flax_wrapper_names_the_scale_as_the_search_reads_it():
    class Net(fnn.Module):
        @fnn.compact
        def __call__(self, x):
            return fnn.WeightNorm(fnn.Dense(4, name="fc"), name="wn")(x)

    params = jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros((1, 3), "float32"))["params"]
    module = modules(fc=nn.utils.parametrizations.weight_norm(linear(3, 4)))
    mapping = models.mapping_for(module, params)
    assert dict(mapping.pairs())["fc.parametrizations.weight.original0"] == "wn/fc/kernel/scale"


def test_projections_of_an_attention_may_be_convolutions_of_one_pixel():
    parts = {name: nn.Conv2d(3, 3, 1) for name in ("q", "k", "v", "proj")}
    names = [f"attn/{name}" for name in parts]
    tree = {f"{n}/kernel": (1, 1, 3, 3) for n in names} | {f"{n}/bias": (3,) for n in names}
    found = search(modules(attn=modules(**parts)), tree)
    assert pairs(found) == {f"attn.{n}.{old}": f"attn/{n}/{new}" for n in parts
                            for old, new in (("weight", "kernel"), ("bias", "bias"))}  # fmt: skip
    assert {link.layout.axes for link in found.links if link.name.endswith("weight")} == {(2, 3, 1, 0)}
