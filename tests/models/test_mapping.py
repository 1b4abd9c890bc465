"""`Mapping`: weights and gradients cross in both directions, and everything that does not fit is named at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgrad import _tree
from jaxgrad.gradient import named_gradients
from jaxgrad.models import Layout, Link, Mapping
from tests.bridge import assert_parity, random_like
from tests.zoo import pair, tensors

SQUARE = Layout((2, 2), (2, 2), (1, 0), (2, 2))
PLAIN = Layout((2,), (2,), (0,), (2,))
LIKE = {"out": {"kernel": jnp.asarray(np.zeros((2, 2))), "bias": jnp.asarray(np.zeros(2))}}
LINKS = (Link("fc.weight", "out/kernel", SQUARE), Link("fc.bias", "out/bias", PLAIN))
# one leaf for the rows of two tensors, which add up in it
CELL = Mapping(
    (
        Link("bias_ih", "first", PLAIN, 0),
        Link("bias_ih", "second", PLAIN, 2),
        Link("bias_hh", "first", PLAIN, 0),
        Link("bias_hh", "third", PLAIN, 2),
    ),
    {"first": jnp.asarray(np.zeros(2)), "second": jnp.asarray(np.zeros(2)), "third": jnp.asarray(np.zeros(2))},
)
FLIPPED = Mapping(
    (Link("w", "kernel", Layout((2, 6), (2, 2, 3), (2, 1, 0), (6, 2), flip=(0,))),),
    {"kernel": jnp.asarray(np.zeros((6, 2)))},
)


def weights():
    return {"fc.weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "fc.bias": np.array([5.0, 6.0])}


def test_crosses_and_comes_back():
    mapping = Mapping(LINKS, LIKE)
    params = mapping.to_jax(tensors(weights()))
    assert params["out"]["kernel"].tolist() == [[1, 3], [2, 4]]
    assert_parity(mapping.to_torch(params), weights(), dtypes=True, tolerance=0)
    assert mapping.pairs() == [("fc.weight", "out/kernel"), ("fc.bias", "out/bias")]
    assert mapping.torch_shapes() == {"fc.weight": (2, 2), "fc.bias": (2,)}
    assert str(mapping).splitlines()[0] == "fc.weight -> out/kernel: [2, 2] -> [2, 2], permute(1, 0)"


@pytest.mark.parametrize("mapping", [Mapping(LINKS, LIKE), CELL, FLIPPED], ids=["square", "sum", "flipped"])
def test_gradients_cross_by_the_adjoint(mapping):
    gradient = random_like(mapping.like, 0)
    rng = np.random.default_rng(1)
    moves = {name: rng.normal(size=shape) for name, shape in mapping.torch_shapes().items()}
    back = mapping.gradients_to_torch(gradient)
    inner = sum(float((moves[name] * back[name]).sum()) for name in moves)
    assert_parity(_tree.dot(mapping.to_jax(moves), gradient), inner)
    assert_parity(mapping.gradients_to_jax(back), gradient, tolerance=0)
    assert_parity(mapping.to_jax(mapping.to_torch(gradient)), gradient, tolerance=0)


def test_two_biases_add_up_and_share_their_gradient():
    params = CELL.to_jax({"bias_ih": np.array([1.0, 2, 3, 4]), "bias_hh": np.array([10.0, 20, 30, 40])})
    assert {name: leaf.tolist() for name, leaf in params.items()} == {
        "first": [11, 22],
        "second": [3, 4],
        "third": [30, 40],
    }
    assert CELL.to_torch(params)["bias_hh"].tolist() == [0, 0, 30, 40]
    assert CELL.gradients_to_torch(params)["bias_hh"].tolist() == [11, 22, 30, 40]


def test_further_axes_in_front_stay():
    rows = [random_like(FLIPPED.like, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    got = FLIPPED.gradients_to_torch(stacked, lead=1)
    assert_parity(got, {"w": np.stack([FLIPPED.gradients_to_torch(row)["w"] for row in rows])}, tolerance=0)
    assert_parity(FLIPPED.gradients_to_jax(got, lead=1), stacked, tolerance=0)


def test_half_precision_is_kept_to_the_bit():
    mapping = Mapping(LINKS, LIKE)
    given = {name: leaf.bfloat16() for name, leaf in tensors(weights()).items()}
    given["fc.bias"] *= 1.1
    params = mapping.to_jax(given)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert params["out"]["bias"].tolist() == given["fc.bias"].tolist()
    module = torch.nn.ModuleDict({"fc": torch.nn.Linear(2, 2)}).bfloat16()
    mapping.load(module, params)
    assert torch.equal(module["fc"].bias, given["fc.bias"])


def test_memory_is_not_shared_with_torch():
    given = tensors(weights())
    mapping = Mapping(LINKS, LIKE)
    params = mapping.to_jax(given)
    out = mapping.to_torch(params)
    given["fc.bias"].zero_()
    assert params["out"]["bias"].tolist() == [5, 6]
    out["fc.bias"][:] = 0
    assert params["out"]["bias"].tolist() == [5, 6]


def test_loads_into_a_module():
    module = torch.nn.ModuleDict({"fc": torch.nn.Linear(2, 2)})
    mapping = Mapping(LINKS, LIKE)
    mapping.load(module, mapping.to_jax(weights()))
    assert module["fc"].weight.tolist() == weights()["fc.weight"].tolist()
    assert module["fc"].weight.dtype == torch.float32
    with pytest.raises(ValueError, match=r"(?s)the module lacks tensors.*fc\.weight"):
        mapping.load(torch.nn.Linear(2, 2), mapping.to_jax(weights()))


def test_tied_tensors_have_one_leaf():
    mapping = Mapping(LINKS, LIKE, aliases={"head.weight": "fc.weight"}, others=frozenset({"seen"}))
    params = mapping.to_jax({**weights(), "head.weight": weights()["fc.weight"], "seen": np.array(3)})
    assert set(mapping.to_torch(params)) == {"fc.weight", "fc.bias", "head.weight"}
    assert set(mapping.gradients_to_torch(params)) == {"fc.weight", "fc.bias"}
    with pytest.raises(ValueError, match=r"head\.weight is tied to fc\.weight, but their values differ"):
        mapping.to_jax({**weights(), "head.weight": np.zeros((2, 2))})


def test_names_the_gradients_as_torch_does():
    it = pair("TransformerEncoder", "nnx")
    named = jax.eval_shape(lambda p: named_gradients(it.loss, p, *it.data, mapping=it.mapping), it.params)
    assert list(named) == [name for name, _ in it.module.named_parameters()]
    joined = named["blocks.0.attention.in_proj_weight"]
    assert [part.shape for part in joined] == [(8, 2, 4)] * 3


@pytest.mark.parametrize(
    ("links", "message"),
    [
        (LINKS[:1], r"out/bias \[2\] has no torch tensor"),
        ((*LINKS, Link("x", "nowhere", PLAIN)), "x is linked to nowhere, which is no leaf"),
        (
            (LINKS[0], Link("fc.bias", "out/bias", Layout((3,), (3,), (0,), (3,)))),
            r"fc\.bias -> out/bias.*the leaf is \[2\]",
        ),
        ((LINKS[0], Link("fc.bias", "out/bias", PLAIN, 1)), r"fc\.bias: each row must be used once"),
        ((*LINKS, Link("fc.bias", "out/bias", PLAIN)), r"fc\.bias: each row must be used once"),
    ],
)
def test_rejects_links_that_do_not_cover(links, message):
    with pytest.raises(ValueError, match=message):
        Mapping(links, LIKE)


def test_rejects_tensors_and_leaves_that_do_not_fit_all_at_once():
    mapping = Mapping(LINKS, LIKE)
    with pytest.raises(
        ValueError, match=r"(?s)fc\.weight: got \[3, 2\], expected \[2, 2\].*extra is not.*fc\.bias is mis"
    ):
        mapping.to_jax({"fc.weight": np.zeros((3, 2)), "extra": np.zeros(1)})
    with pytest.raises(
        ValueError, match=r"(?s)out/bias is missing.*more is not.*out/kernel: got \[2, 3\], expected \[2, 2\]"
    ):
        mapping.to_torch({"out": {"kernel": jnp.zeros((2, 3))}, "more": jnp.zeros(1)})


def test_rejects_a_layout_that_loses_entries():
    with pytest.raises(ValueError, match="a layout must keep every entry"):
        Layout((2, 2), (2, 2), (1, 0), (2, 3))


def test_warns_of_float64_while_x64_is_off():
    with jax.enable_x64(False):
        like = {"out": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
        with pytest.warns(UserWarning, match=r"out/kernel is float64.*jax_enable_x64"):
            params = Mapping(LINKS, like).to_jax(weights())
    assert params["out"]["kernel"].dtype == jnp.float32
