"""`multi_loss.gradients` against retained backwards, its laws in every form of losses, NaN, and what it refuses."""

import functools
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad import _tree
from jaxgrad.multi_loss import gradients, losses_and_gradients
from tests.bridge import assert_parity
from tests.laws import assert_sums_to
from tests.multi_loss.heads import heads, outputs, outputs_torch
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def stacked(params, x):
    return jnp.stack(outputs(params, x))


def as_array(params, x):
    return jnp.array(outputs(params, x))


@jax.jit
def jitted(params, x):
    return stacked(params, x)


def scaled(params, x):
    """An array that is no stack of scalars."""
    return stacked(params, x) * jnp.ones(2)


def as_list(params, x):
    return list(outputs(params, x))


@pytest.mark.parametrize("losses_fn", [outputs, as_list, stacked, as_array, jitted, scaled])
@pytest.mark.parametrize("chunk", one_in(2, [None, 1], 1))
def test_matches_torch_in_every_form(losses_fn, chunk):
    problem = heads()
    values, rows = losses_and_gradients(losses_fn, problem.params, problem.x, chunk=chunk)
    want_values, want = torch_ref.multi_loss.losses_and_gradients(outputs_torch, problem.params_torch, problem.x_torch)
    assert_parity(rows, want)
    assert jax.tree.structure(values) == jax.tree.structure(losses_fn(problem.params, problem.x))
    assert_parity(list(values), list(want_values))


@pytest.mark.parametrize("chunk", [2, 3])
def test_several_losses_through_the_trunk_together(chunk):
    """The third reaches the trunk beside its head, the fourth is a penalty that shares nothing with the others."""
    problem = heads(3)

    def losses(params, x):
        first, second, third = outputs(params, x)
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params["trunk"]))
        return first, second, third * (1 + params["trunk"]["layer0"]["bias"].sum()), penalty

    one_by_one = gradients(losses, problem.params, problem.x, chunk=1)
    assert_parity(gradients(losses, problem.params, problem.x, chunk=chunk), one_by_one)
    assert_parity(_tree.take(one_by_one, 2), jax.jit(jax.grad(lambda p, x: losses(p, x)[2]))(problem.params, problem.x))


def test_losses_of_several_dtypes_give_rows_of_the_dtype_of_the_parameters():
    def losses(p):
        narrow = jnp.sum(p["b"] ** 2).astype(jnp.bfloat16)
        return jnp.sum(p["a"] ** 2).astype(jnp.float32), jnp.sum(p["a"]), narrow * 2

    params = {"a": jnp.array([1.0, 3.0]), "b": jnp.ones(2, jnp.float32)}
    values, rows = losses_and_gradients(losses, params)
    assert [value.dtype.name for value in values] == ["float32", "float64", "bfloat16"]
    want = [jax.grad(lambda p, k=k: losses(p)[k])(params) for k in range(3)]
    assert_parity(rows, jax.tree.map(lambda *rows: jnp.stack(rows), *want), dtypes=True, tolerance=0.0)


def test_rows_of_a_dictionary_lie_in_the_order_of_its_sorted_keys():
    problem = heads()

    def named(params, x):
        first, second = outputs(params, x)
        return {"z": first, "a": second}

    def named_torch(params, x):
        first, second = outputs_torch(params, x)
        return {"z": first, "a": second}

    rows = gradients(named, problem.params, problem.x)
    assert_parity(rows, torch_ref.multi_loss.gradients(named_torch, problem.params_torch, problem.x_torch))
    assert_parity(_tree.take(rows, 0), jax.jit(jax.grad(lambda p, x: outputs(p, x)[1]))(problem.params, problem.x))


def test_rows_sum_to_the_gradient_of_the_sum():
    problem = heads(3)
    rows = gradients(outputs, problem.params, problem.x)
    assert_sums_to(rows, jax.jit(jax.grad(lambda p, x: sum(outputs(p, x))))(problem.params, problem.x))


def test_closed_form_of_a_vector_of_losses():
    """L = A w, so the rows are those of A; in pieces as well."""
    A = jnp.arange(15.0).reshape(5, 3)

    def losses(w):
        return A @ w

    for chunk in (None, 1, 2, 5, 7):
        assert_parity(gradients(losses, jnp.ones(3), chunk=chunk), A)


def test_a_loss_may_be_given_twice_or_be_constant():
    problem = heads()

    def losses(params, x):
        first = outputs(params, x)[0]
        return first, first, 1.0

    rows = gradients(losses, problem.params, problem.x)
    assert_parity(_tree.take(rows, 0), _tree.take(rows, 1), tolerance=0.0)
    assert not any(leaf[2].any() for leaf in jax.tree.leaves(rows))


@pytest.mark.parametrize("form", [tuple, jnp.stack, jnp.array])
def test_nan_and_infinity_stay_in_their_row(form):
    problem = heads()

    def losses(params, x, factor):
        first, second = outputs(params, x)
        return form([first, second * factor])

    clean = gradients(outputs, problem.params, problem.x)
    for factor in (jnp.nan, jnp.inf):
        rows = gradients(losses, problem.params, problem.x, factor)
        assert_parity(_tree.take(rows, 0), _tree.take(clean, 0))
        assert not jnp.isfinite(rows["head1"]["layer0"]["weight"][1]).any()


@pytest.mark.parametrize("chunk", [None, 1])
def test_nan_stays_in_its_row_of_an_array_that_is_computed_as_a_whole(chunk):
    """The root of zero has an infinite derivative, and 0 times infinity is NaN in a pullback with one-hot seeds."""

    def losses(params, x):
        hidden = jnp.tanh(jnp.einsum("bi,ij->bj", x, params["trunk"]))
        each = jnp.einsum("bj,kj->bk", hidden, params["heads"])
        rooted = jnp.where(jnp.arange(3) == 1, jnp.sqrt(jnp.abs(each) * jnp.array([[1.0, 0.0, 1.0]])), each**2)
        return jnp.mean(rooted.T.reshape(3, 2, 2), axis=(1, 2)) / jnp.array([1.0, 2.0, 3.0])

    rng = np.random.default_rng(0)
    params = {"trunk": jnp.asarray(rng.normal(size=(2, 3))), "heads": jnp.asarray(rng.normal(size=(3, 3)))}
    x = jnp.asarray(rng.normal(size=(4, 2)))
    rows = gradients(losses, params, x, chunk=chunk)

    def alone(params, x, k):
        hidden = jnp.tanh(x @ params["trunk"])
        return jnp.mean((hidden @ params["heads"][k]) ** 2) / (k + 1)

    for k in (0, 2):
        assert_parity(_tree.take(rows, k), jax.grad(alone)(params, x, k))
    assert not jnp.isfinite(rows["trunk"][1]).any()


def test_parts_of_an_array_that_are_joined_have_a_backward_each():
    def losses(w):
        return jnp.concatenate([jnp.sqrt(w[:1] * 0), w**2, jnp.stack([w.sum()])])

    rows = gradients(losses, jnp.array([1.0, 3.0]))
    assert rows[1:].tolist() == [[2.0, 0.0], [0.0, 6.0], [1.0, 1.0]]
    assert jnp.isnan(rows[0, 0])


@pytest.mark.parametrize("chunk", [1, 2])
def test_with_shared_leaves_each_head_gets_the_gradient_of_its_own_loss(chunk):
    problem = heads()
    rows = gradients(outputs, problem.params, problem.x)
    own = ("head0", "head1")
    got = gradients(outputs, problem.params, problem.x, shared="trunk", heads=own, chunk=chunk)
    assert_parity(got, {"trunk": rows["trunk"], **{name: _tree.take(rows[name], k) for k, name in enumerate(own)}})
    held = gradients(outputs, problem.params, problem.x, shared="trunk", wrt=["trunk/layer0/bias", "head1"])
    assert held["trunk"]["layer0"]["weight"].shape == (2, 3, 2)
    assert not any(leaf.any() for leaf in jax.tree.leaves((held["head0"], held["trunk"]["layer0"]["weight"])))
    assert_parity((held["head1"], held["trunk"]["layer0"]["bias"]), (got["head1"], got["trunk"]["layer0"]["bias"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": "trunk", "heads": ("head0", ["head1", "trunk/layer0/bias"])},
         r"named once[\s\S]*params\['trunk'\]\['layer0'\]\['bias'\]: named in shared= and heads= of losses\[1\]"),
        ({"shared": "trunk", "heads": ("head0", "head*")}, r"params\['head0'\].*heads= of losses\[0\] and heads= of"),
        ({"shared": "trunk", "heads": ("head0", None)}, r"params\['head1'\].*: named in none"),
        ({"shared": ["head0", "trunk/*/weight"]},
         r"to one loss[\s\S]*params\['trunk'\]\['layer0'\]\['bias'\]: losses\[0\] and losses\[1\] depend on it"),
        ({"shared": "trunk", "heads": ("head1", "head0")}, r"params\['head0'\].*: losses\[0\] and losses\[1\] depend"),
        ({"shared": "body"}, r"shared='body' selects no leaf of params with \['body'\]"),
        ({"shared": "trunk", "heads": ("head0",)}, r"heads must have one entry for each loss, length 2; got"),
        ({"heads": ("head0", "head1")}, "give both"),
    ],
)  # fmt: skip
def test_rejects_leaves_that_are_shared_and_a_head_or_neither(options, message):
    problem = heads()
    with pytest.raises(ValueError, match=message):
        gradients(outputs, problem.params, problem.x, **options)


def test_heads_by_key_are_in_the_order_of_the_rows():
    """Of an ``OrderedDict`` too, which JAX does not sort; an empty list is no head."""
    problem = heads()

    def ordered(params, x):
        first, second = outputs(params, x)
        return OrderedDict(z=first, a=second)

    want = gradients(outputs, problem.params, problem.x, shared="trunk")
    got = gradients(ordered, problem.params, problem.x, shared="trunk", heads={"a": "head1", "z": ["head0"]})
    assert_parity(got, want)
    whole = gradients(outputs, problem.params, problem.x)
    alone = gradients(outputs, problem.params, problem.x, shared=["trunk", "head1"], heads=("head0", []))
    assert_parity((alone["head0"], alone["head1"]), (want["head0"], whole["head1"]))
    with pytest.raises(ValueError, match=r"heads must have one entry for each loss, keys \['z', 'a'\]; got"):
        gradients(ordered, problem.params, problem.x, shared="trunk", heads=("head0", "head1"))


def test_a_trunk_that_no_loss_reaches_gets_zeros_and_says_so():
    problem = heads()

    def stopped(params, x):
        return outputs({**params, "trunk": jax.lax.stop_gradient(params["trunk"])}, x)

    with pytest.warns(UserWarning, match=r"no loss depends on params\['trunk'\]\['layer0'\]\['bias'\].*zero"):
        rows = gradients(stopped, problem.params, problem.x, shared="trunk")
    assert rows["trunk"]["layer0"]["weight"].shape == (2, 3, 2)
    assert not any(leaf.any() for leaf in jax.tree.leaves(rows["trunk"]))
    with pytest.warns(UserWarning, match=r"no loss depends on params\['trunk'\]"):
        assert not any(
            leaf.any() for leaf in jax.tree.leaves(gradients(stopped, problem.params, problem.x, wrt="trunk"))
        )


def test_wrt_leaves_zeros_elsewhere():
    problem = heads()
    rows, full = (gradients(outputs, problem.params, problem.x, wrt=wrt) for wrt in ("trunk", None))
    assert_parity(rows["trunk"], full["trunk"])
    assert rows["head0"]["layer0"]["weight"].shape == (2, 5, 3)
    assert not any(leaf.any() for leaf in jax.tree.leaves(rows["head0"]))


def test_an_integer_leaf_may_be_held():
    rows = gradients(lambda p: (p["w"] * 2.0, p["w"] ** 2), {"w": jnp.array(3.0), "step": jnp.asarray(1)}, wrt="w")
    assert rows["w"].tolist() == [2.0, 6.0]
    assert rows["step"].tolist() == [0, 0]


def test_losses_with_loops_and_rules_of_their_own():
    """scan, cond, checkpoint and custom_vjp, each in the part of one loss."""

    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * g * x**2,))

    def losses(p):
        looped, _ = jax.lax.scan(lambda c, _: (c * jnp.sin(p["a"]), None), p["b"], length=3)
        chosen = jax.lax.cond(p["c"] > 0, lambda: p["c"] ** 2, lambda: p["c"])
        return looped, chosen * jax.checkpoint(jnp.sin)(p["a"]), cube(p["c"])

    params = {"a": jnp.array(0.5), "b": jnp.array(2.0), "c": jnp.array(1.5)}
    rows = gradients(losses, params)
    for k in range(3):
        assert_parity(_tree.take(rows, k), jax.jit(jax.grad(lambda p, k=k: losses(p)[k]))(params))
    assert rows["b"].tolist()[1:] == [0.0, 0.0]


def test_one_forward_and_a_backward_for_each():
    """No more operations than (1 + 2 K) / 3 gradients, and no other head in a head's row."""
    problem = heads(6)

    def flops(fun):
        return jax.jit(fun).lower(problem.params, problem.x).compile().cost_analysis()["flops"]

    unit = flops(jax.grad(lambda p, x: sum(outputs(p, x))))
    assert flops(functools.partial(gradients, outputs)) <= unit * (1 + 2 * 6) / 3
    assert flops(functools.partial(gradients, outputs)) < flops(functools.partial(gradients, heads_scaled)) * 0.8


def heads_scaled(params, x):
    """An array that is no stack: every row then passes through all heads."""
    return jnp.stack(outputs(params, x)) * jnp.ones(6)


@pytest.mark.parametrize(
    ("losses_fn", "error", "message"),
    [
        (lambda w: (), ValueError, r"at least one loss; got \(\)"),
        (lambda w: {}, ValueError, "at least one loss"),
        (lambda w: None, ValueError, "at least one loss; got None"),
        (lambda w: w[:0], ValueError, r"at least one loss.*got float64\[0\]"),
        (lambda w: w.sum(), ValueError, r"shape \(K,\).*float64\[\]; for one loss use gradient.parameter_gradient"),
        (lambda w: jnp.outer(w, w), ValueError, r"got float64\[3,3\]"),
        (lambda w: jnp.arange(2), TypeError, r"got int64\[2\]"),
        (lambda w: 1.0, TypeError, "got a float"),
        (lambda w: (w.sum(), w), ValueError, r"every loss must be a scalar.*\n  loss\[1\]: got float64\[3\]"),
        (lambda w: {"a": w.sum(), "b": w[:1]}, ValueError, r"loss\['b'\]: got float64\[1\]"),
        (
            lambda w: (w.sum(), jnp.asarray(1)),
            TypeError,
            r"must return real floating-point scalars[^\n]*:\n  loss\[1\]: got int64\[\]",
        ),
        (lambda w: (w.sum(), 1, "x"), TypeError, r"loss\[1\]: got a int\n  loss\[2\]: got a str"),
        (lambda w: (w.sum(), jax.lax.complex(w[0], w[1])), TypeError, r"loss\[1\]: got complex128\[\]"),
    ],
)
def test_rejects_what_is_no_list_of_losses(losses_fn, error, message):
    with pytest.raises(error, match=message):
        gradients(losses_fn, jnp.ones(3))


def test_rejects_integer_leaves_and_chunks_that_are_none():
    with pytest.raises(TypeError, match=r"params\['step'\]: got int64"):
        gradients(lambda p: (p["w"],), {"w": jnp.ones(()), "step": jnp.asarray(1)})
    with pytest.raises(ValueError, match="chunk must be at least 1; got 0"):
        gradients(lambda w: w, jnp.ones(3), chunk=0)
    with pytest.raises(ValueError, match="no differentiable leaves"):
        gradients(lambda _: (1.0,), {})
