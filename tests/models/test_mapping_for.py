"""`mapping_for` and `statistics_for`: every kind of layer by value, and what names and shapes cannot decide."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from flax import nnx

from jaxgrad import models
from tests.bridge import assert_parity
from tests.turns import covering

F64 = {"param_dtype": jnp.float64}
RNG = np.random.default_rng(0)


def shapes_of(module, *inputs):
    """Return the shapes of the variables of a linen module."""
    with jax.numpy_dtype_promotion("standard"):
        return jax.eval_shape(module.init, jax.random.key(0), *inputs)


def first(output):
    """Return the output of a layer without its state or its attention weights."""
    return output[0] if isinstance(output, tuple) else output


def assert_same(layer, module, x, *, channels_last=False, copies=1, **hints):
    """Fail unless a torch layer and a linen module agree once the weights have crossed."""
    layer = layer.double().eval()
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor += 0.3 * torch.randn_like(tensor)
    mapping = models.mapping_for(layer, shapes_of(module, x)["params"], **hints)
    apply_fn, params = models.from_linen(module, variables={"params": mapping.to_jax(layer.state_dict())})
    seen = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if channels_last else x)
    want = first(layer(*[seen] * copies)).detach().numpy()
    assert_parity(jax.jit(apply_fn)(params, x), np.moveaxis(want, 1, -1) if channels_last else want)
    return mapping


SEQUENCE = RNG.normal(size=(2, 5, 8))
LAYERS = {
    "Linear": (lambda: torch.nn.Linear(8, 8), nn.Dense(8, **F64)),
    "LayerNorm": (lambda: torch.nn.LayerNorm(8), nn.LayerNorm(epsilon=1e-5, **F64)),
    "RMSNorm": (lambda: torch.nn.RMSNorm(8, eps=1e-6), nn.RMSNorm(**F64)),
    "PReLU": (lambda: torch.nn.PReLU(), nn.PReLU(**F64)),
    "LSTM": (lambda: torch.nn.LSTM(8, 6, batch_first=True), nn.RNN(nn.LSTMCell(6, **F64))),
    "LSTM joined": (lambda: torch.nn.LSTM(8, 6, batch_first=True), nn.RNN(nn.OptimizedLSTMCell(6, **F64))),
    "GRU": (lambda: torch.nn.GRU(8, 6, batch_first=True), nn.RNN(nn.GRUCell(6, **F64))),
    "RNN": (lambda: torch.nn.RNN(8, 6, batch_first=True), nn.RNN(nn.SimpleCell(6, **F64))),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_on_sequences(kind):
    layer, module = LAYERS[kind]
    assert_same(layer(), module, SEQUENCE)


def test_attention():
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    mapping = assert_same(layer, nn.MultiHeadDotProductAttention(2, **F64), SEQUENCE, copies=3)
    assert [path for _, path in mapping.pairs()] == [
        *(f"{part}/{kind}" for kind in ("kernel", "bias") for part in ("query", "key", "value")),
        "out/kernel",
        "out/bias",
    ]


def test_attention_with_separate_projections():
    layer = torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    module = nn.MultiHeadDotProductAttention(2, **F64)
    params = shapes_of(module, SEQUENCE, SEQUENCE[..., :6], SEQUENCE[..., :4])["params"]
    mapping = models.mapping_for(layer, params)
    assert mapping.torch_shapes()["k_proj_weight"] == (8, 6)
    assert dict(mapping.pairs())["v_proj_weight"] == "value/kernel"


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions(axes):
    x = RNG.normal(size=(2, *range(5, 5 + axes), 4))
    layer = getattr(torch.nn, f"Conv{axes}d")(4, 6, 3, padding=1, groups=2)
    module = nn.Conv(6, (3,) * axes, padding=1, feature_group_count=2, **F64)
    assert_same(layer, module, x, channels_last=True)


@pytest.mark.parametrize(("transposed", "width", "axes"), covering([True, False], [4, 6], [1, 2]))
def test_transposed_convolutions(axes, width, transposed):
    x = RNG.normal(size=(2, *range(5, 5 + axes), 4))
    layer = getattr(torch.nn, f"ConvTranspose{axes}d")(4, width, 3, stride=2, padding=1)
    padding, strides = [(1, 1)] * axes, (2,) * axes
    module = nn.ConvTranspose(width, (3,) * axes, strides, padding, transpose_kernel=transposed, **F64)
    hints = {"transposed": {"": transposed}} if width == 4 else {}
    assert_same(layer, module, x, channels_last=True, **hints)


def test_group_norm():
    x = RNG.normal(size=(2, 4, 3, 6))
    assert_same(torch.nn.GroupNorm(2, 6), nn.GroupNorm(2, epsilon=1e-5, **F64), x, channels_last=True)


def test_embedding():
    tokens = RNG.integers(0, 7, size=(2, 5))
    assert_same(torch.nn.Embedding(7, 3), nn.Embed(7, 3, **F64), tokens)


def test_nnx_recurrent_cell_with_joined_gates():
    cell = nnx.eval_shape(lambda: nnx.OptimizedLSTMCell(8, 6, rngs=nnx.Rngs(0), **F64))
    apply_fn, params = models.from_nnx(cell)
    layer = torch.nn.LSTMCell(8, 6).double()
    params = models.mapping_for(layer, params).to_jax(layer.state_dict())
    x, zero = SEQUENCE[:, 0], np.zeros((2, 6))
    (c, h), _ = apply_fn(params, (zero, zero), x)
    want = layer(torch.from_numpy(x))
    assert_parity({"c": c, "h": h}, {"c": want[1].detach(), "h": want[0].detach()})


def test_nnx_gru_lacks_a_bias_that_torch_has():
    _, params = models.from_nnx(nnx.eval_shape(lambda: nnx.GRUCell(8, 6, rngs=nnx.Rngs(0))))
    with pytest.raises(
        ValueError,
        match=r"bias_hh \[18\] has no leaf; the reset gate scales its last third, for which this cell has no bias",
    ):
        models.mapping_for(torch.nn.GRUCell(8, 6), params)


def test_statistics():
    layer = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)).double().eval()
    for i, tensor in enumerate(layer.buffers()):
        tensor += i
    state = {"batch_stats": {f"layers_{i}": {"mean": jnp.zeros(3), "var": jnp.ones(3)} for i in range(2)}}
    mapping = models.statistics_for(layer, state, rules={r"(\d)": r"layers_\1"})
    got = mapping.to_jax(layer.state_dict())
    assert got["batch_stats"]["layers_1"]["var"].tolist() == layer[1].running_var.tolist()
    assert set(mapping.to_torch(got)) == {f"{i}.running_{kind}" for i in range(2) for kind in ("mean", "var")}
    with pytest.raises(ValueError, match=r"(?s)1\.running_mean \[3\] has no leaf"):
        models.statistics_for(layer, {"batch_stats": {"layers_0": state["batch_stats"]["layers_0"]}})


def test_statistics_are_found_where_names_differ_as_weights_are():
    layers = {"bn1": torch.nn.BatchNorm1d(3), "bn2": torch.nn.BatchNorm1d(4), "norm": torch.nn.BatchNorm1d(3)}
    net = torch.nn.ModuleDict(layers)
    net["norm"].running_mean += 2
    state = {"batch_stats": {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)},
                             "bn_1": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
                             "last_norm": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}}  # fmt: skip
    with pytest.warns(UserWarning, match="bn1, norm were paired by their order alone"):
        mapping = models.statistics_for(net, state)
    assert dict(mapping.pairs())["bn2.running_var"] == "batch_stats/BatchNorm_0/var"
    assert dict(mapping.pairs())["bn1.running_var"] == "batch_stats/bn_1/var"
    assert mapping.to_jax(net.state_dict())["batch_stats"]["last_norm"]["mean"].tolist() == [2, 2, 2]


def tree(**sizes):
    """Return the shapes of dense layers, ``name=(in, out)``."""
    return {name: {"kernel": jnp.zeros((a, b)), "bias": jnp.zeros(b)} for name, (a, b) in sizes.items()}


def dense(*sizes):
    """Return linear layers with activations between them, which a ``Sequential`` counts."""
    layers = [torch.nn.Linear(a, b) for a, b in sizes]
    return torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())][:-1])


def test_shapes_pair_what_names_do_not():
    mapping = models.mapping_for(dense((2, 3), (3, 4)), tree(Dense_0=(2, 3), Dense_1=(3, 4)))
    assert dict(mapping.pairs())["2.weight"] == "Dense_1/kernel"
    assert mapping.guessed == ()


def test_order_pairs_what_shapes_do_not_with_a_warning():
    sizes = [(3, 3)] * 12
    names = {f"Dense_{i}": size for i, size in enumerate(sizes)}
    with pytest.warns(UserWarning, match=r"0, 2, .* were paired by their order alone"):
        mapping = models.mapping_for(dense(*sizes), tree(**names))
    assert dict(mapping.pairs())["22.weight"] == "Dense_11/kernel"
    assert dict(mapping.pairs())["4.weight"] == "Dense_2/kernel"


def test_a_number_that_means_another_place_is_not_trusted():
    with pytest.warns(UserWarning, match="by their order alone"):
        mapping = models.mapping_for(dense((3, 3), (3, 3), (3, 3)), tree(**{f"layers_{i}": (3, 3) for i in range(3)}))
    assert dict(mapping.pairs())["2.weight"] == "layers_1/kernel"


def test_sequential_numbers_that_agree_are_names():
    mapping = models.mapping_for(dense((3, 3), (3, 3)), tree(layers_0=(3, 3), layers_2=(3, 3)))
    assert dict(mapping.pairs())["2.weight"] == "layers_2/kernel"


def test_classes_in_names_tell_norms_apart():
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.LayerNorm(3))
    norm = {"scale": jnp.zeros(3), "bias": jnp.zeros(3)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapping = models.mapping_for(module, {"LayerNorm_0": norm, "BatchNorm_0": norm})
    assert dict(mapping.pairs())["0.weight"] == "BatchNorm_0/scale"


def test_rules_decide():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    mapping = models.mapping_for(module, tree(x1=(3, 3), x2=(3, 3)), rules={"a": "x2", "b": "x1"})
    assert dict(mapping.pairs()) == {
        "a.weight": "x2/kernel",
        "a.bias": "x2/bias",
        "b.weight": "x1/kernel",
        "b.bias": "x1/bias",
    }


def test_a_flattened_image_permutes_the_inputs():
    x = RNG.normal(size=(2, 4, 3, 5))
    layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 7)).double()
    _, params = models.from_nnx(nnx.Linear(60, 7, rngs=nnx.Rngs(0), **F64))
    mapping = models.mapping_for(layer, {"head": params}, flattened={"1": (5, 4, 3)})
    params = mapping.to_jax(layer.state_dict())["head"]
    want = layer(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach()
    assert_parity(x.reshape(2, -1) @ params["kernel"] + params["bias"][None], want)


class Tied(torch.nn.Module):
    """An embedding whose weight is also the head's."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5)
        self.head.weight = self.embedding.weight


def test_tied_weights():
    params = {"embedding": {"embedding": jnp.zeros((5, 3))}, "head": {"bias": jnp.zeros(5)}}
    mapping = models.mapping_for(Tied(), params)
    assert mapping.aliases == {"head.weight": "embedding.weight"}
    params = mapping.to_jax(Tied().state_dict())
    assert set(mapping.to_torch(params)) == {"embedding.weight", "head.weight", "head.bias"}
    with pytest.raises(
        ValueError, match=r"head/kernel \[3, 5\] has no tensor.*head\.weight is tied to embedding\.weight"
    ):
        models.mapping_for(Tied(), {**params, "head": {"kernel": jnp.zeros((3, 5)), "bias": jnp.zeros(5)}})


def test_leaves_in_torch_layout_stay_as_they_are():
    params = {"out": {"weight": jnp.zeros((3, 3)), "bias": jnp.zeros(3)}}
    module = torch.nn.ModuleDict({"out": torch.nn.Linear(3, 3)})
    mapping = models.mapping_for(module, params)
    assert mapping.to_jax(module.state_dict())["out"]["weight"].tolist() == module["out"].weight.tolist()


def test_rejects_with_every_problem_in_one_message():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(3, 4), "c": torch.nn.Linear(4, 4)})
    with pytest.raises(ValueError) as error:  # noqa: PT011 - every line of the message is looked at
        models.mapping_for(module, tree(a=(2, 9), b=(3, 4), d=(7, 7)))
    message = str(error.value)
    for line in (
        "a.weight [3, 2] has no leaf; the nearest is a/kernel [2, 9], whose shape differs",
        "c.weight [4, 4] has no leaf",
        "d/kernel [7, 7] has no tensor",
        "rules=",
    ):
        assert line in message


QKV = {
    part: {"kernel": jnp.asarray(np.zeros((4, 2, 2))), "bias": jnp.asarray(np.zeros((2, 2)))}
    for part in ("query", "key", "value")
}


@pytest.mark.parametrize(
    ("layer", "params", "message"),
    [
        (
            torch.nn.ConvTranspose1d(4, 4, 3),
            {"kernel": np.zeros((3, 4, 4)), "bias": np.zeros(4)},
            r"weight has as many channels in as out: say with transposed=\{'': True\} or False",
        ),
        (
            torch.nn.ConvTranspose1d(4, 4, 3, groups=2),
            {"kernel": np.zeros((3, 4, 2)), "bias": np.zeros(4)},
            "has groups, which Flax's ConvTranspose does not know",
        ),
        (torch.nn.MultiheadAttention(4, 2, add_bias_kv=True), QKV, "Flax's attention has no bias_k"),
        (torch.nn.LSTM(4, 4, num_layers=2), tree(cell=(4, 4)), r"weight_ih_l1 \[16, 4\] has no leaf"),
    ],
)
def test_rejects_layers_without_a_counterpart(layer, params, message):
    with pytest.raises(ValueError, match=message):
        models.mapping_for(layer, params)


def test_rejects_hints_and_rules_that_do_not_fit():
    with pytest.raises(ValueError, match="flattened speaks of head, which is no layer"):
        models.mapping_for(dense((2, 3)), tree(Dense_0=(2, 3)), flattened={"head": (1, 1, 2)})
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    with pytest.raises(ValueError, match="x is the place of a and of b"):
        models.mapping_for(module, tree(x=(3, 3)), rules={"a|b": "x"})
    with pytest.raises(ValueError, match="rules: nothing is called c"):
        models.mapping_for(dense((2, 3)), tree(Dense_0=(2, 3)), rules={"c": "Dense_0"})


def test_torch_is_not_imported_with_the_library():
    code = "import sys, jaxgrad, jaxgrad.models; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
