"""`_check`: what passes, what is refused, and the words of the refusal."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import _check


def test_differentiable_passes_floats_of_any_width():
    _check.differentiable(params={"a": jnp.ones(2, jnp.bfloat16), "b": np.ones(1), "c": 1.0, "d": None})


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (np.ones(2, int), r"int64\[2\]"),
        (np.ones((), bool), r"bool\[\]"),
        (jax.random.key(0), r"key<fry>\[\]"),
        (np.ones(2, complex), r"complex128\[2\]"),
        (np.ones(2, jnp.float8_e4m3fn), r"float8_e4m3fn\[2\]"),
        ("text", "a str"),
        (3, "a int"),
    ],
)
def test_differentiable_names_the_leaf(leaf, words):
    with pytest.raises(
        TypeError, match=rf"(?s)params is differentiated.*wrt=.*params\['layer'\]\['step'\]: got {words}"
    ):
        _check.differentiable(params={"layer": {"step": leaf, "w": jnp.ones(2)}})


@pytest.mark.parametrize("tree", [{}, None, []])
def test_differentiable_refuses_an_empty_tree(tree):
    with pytest.raises(ValueError, match="params has no differentiable leaves"):
        _check.differentiable(params=tree)


def test_mirrors_lists_every_leaf_in_one_message():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones(2), "c": jnp.ones(1)}
    vector = {"a": jnp.ones((4, 3)), "c": jnp.ones(1, jnp.float32), "d": jnp.ones(5)}
    with pytest.raises(ValueError, match="vector must have the structure") as caught:
        _check.mirrors(params=params, vector=vector)
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "vector['a']: got float64[4,3], expected float64[3,4]",
        "vector['b']: got nothing, expected float64[2]",
        "vector['c']: got float32[1], expected float64[1]",
        "vector['d']: got float64[5], expected nothing",
    ]


def test_mirrors_refuses_another_container():
    with pytest.raises(ValueError, match="vector must have the structure of params"):
        _check.mirrors(params=[jnp.ones(1)], vector=(jnp.ones(1),))


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        (np.ones(3), ValueError, r"got float64\[3\]: reduce it with .mean\(\)"),
        (np.ones((1,)), ValueError, r"got float64\[1\]: drop its axes with .squeeze\(\)"),
        (
            (1.0, 2.0),
            TypeError,
            "got a tuple: return the loss alone, or pass has_aux=True with a loss that returns the pair",
        ),
        (None, TypeError, "got None"),
        (jnp.asarray(1), TypeError, r"got int64\[\]"),
        (jnp.asarray(True), TypeError, r"got bool\[\]"),
        (jnp.asarray(1j), TypeError, r"got complex128\[\]"),
    ],
)
def test_scalar_loss_refuses(out, error, words):
    with pytest.raises(error, match=words):
        _check.scalar_loss(lambda params: out)({})


def test_scalar_loss_passes_the_value():
    assert _check.scalar_loss(lambda p, x: p * x)(jnp.asarray(2.0), 3.0) == 6


@pytest.mark.parametrize("value", [1.0, True, "2", None, np.float64(2)])
def test_count_refuses_what_is_no_integer(value):
    with pytest.raises(TypeError, match="order must be a Python integer that is known"):
        _check.count(value, "order")


def test_count_refuses_a_traced_value():
    with pytest.raises(TypeError, match="order must be a Python integer"):
        jax.jit(lambda n: _check.count(n, "order"))(3)


def test_count_keeps_its_limits():
    assert _check.count(np.int32(3), "order") == 3
    with pytest.raises(ValueError, match="order must be at least 0; got -1"):
        _check.count(-1, "order")
    with pytest.raises(ValueError, match=r"order must be from 0 to 5; got 6. Raise it with most="):
        _check.count(6, "order", most=5, advice="Raise it with most=")


def test_batch_names_ragged_axes():
    with pytest.raises(ValueError, match=r"(?s)same leading axis.*batch\[0\]\['x'\]: got float64\[4,2\].*batch\[1\]"):
        _check.batch(({"x": jnp.ones((4, 2))}, jnp.ones(3)))
    with pytest.raises(ValueError, match=r"batch\[1\]: got float64\[\]"):
        _check.batch((jnp.ones(3), jnp.ones(())))


def test_batch_refuses_nothing():
    with pytest.raises(ValueError, match="the batch is empty"):
        _check.batch((jnp.ones((0, 2)),))
    with pytest.raises(ValueError, match="the batch must have at least one array with a leading axis"):
        _check.batch(())
    assert _check.batch((jnp.ones((0, 2)),), allow_empty=True) == 0


@pytest.mark.parametrize(
    "value", [0, 0.0, 0.5, 1, np.float32(1), np.array(0.3), jnp.asarray(2.0), {"a": 0.1, "b": [1.0]}]
)
def test_share_passes_what_lies_from_0_to_1_and_what_jax_holds(value):
    _check.share(value, "decay")
    jax.jit(lambda traced: _check.share(traced, "decay", below_one=True))(value)


@pytest.mark.parametrize(
    ("value", "below_one", "words"),
    [
        (1.5, False, r"decay must be from 0 to 1; got 1\.5"),
        (2, False, "decay must be from 0 to 1; got 2"),
        (np.array(1.01), False, r"decay must be from 0 to 1; got array\(1\.01\)"),
        (float("inf"), False, "decay must be from 0 to 1; got inf"),
        ({"a": [0.5, 1.5]}, False, r"decay\['a'\]\[1\] must be from 0 to 1; got 1\.5"),
        (1, True, "decay must be from 0 to below 1; got 1"),
        (np.float64(1), True, r"decay must be from 0 to below 1; got np\.float64\(1\.0\)"),
        ([0.5, 1.0], True, r"decay\[1\] must be from 0 to below 1; got 1\.0"),
        (-0.1, False, r"decay must not be negative or NaN; got -0\.1"),
        (float("nan"), True, "decay must not be negative or NaN; got nan"),
    ],
)
def test_share_refuses(value, below_one, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        _check.share(value, "decay", below_one=below_one)


class Mine(NamedTuple):
    """A state."""

    step: int


class Other(NamedTuple):
    """Another, with the same fields."""

    step: int


def test_state_passes_its_kind_alone():
    _check.state(Mine(0), Mine, "init(params)")
    jax.jit(lambda mine: _check.state(mine, Mine, "init(params)"))(Mine(0))
    for value, got in ((Other(0), "a Other"), ((0,), "a tuple"), (None, "a NoneType"), (jnp.ones(2), r"float64\[2\]")):
        with pytest.raises(
            TypeError, match=rf"^state must be the Mine that init\(params\) or the last step .*got {got}$"
        ):
            _check.state(value, Mine, "init(params)")
