"""`multi_loss.gram` against the Jacobian times its transpose, and what memory it takes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.multi_loss
from jaxgrad.multi_loss import gradients, gram
from jaxgrad.multi_loss._inner_products import PIECE
from tests.bridge import assert_parity
from tests.multi_loss.heads import heads, outputs, outputs_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

PROBLEM = heads(3)


def stacked_twice(params, x):
    """An array that is no stack of scalars, beside one that is."""
    first, second, third = outputs(params, x)
    return jnp.concatenate([jnp.stack([first, second]) * jnp.ones(2), third[None]])


@pytest.mark.parametrize(("losses_fn", "chunk"), [(outputs, None), (outputs, 2), (stacked_twice, None)])
def test_matches_torch(losses_fn, chunk):
    want = torch_ref.multi_loss.gram(outputs_torch, PROBLEM.params_torch, PROBLEM.x_torch)
    assert_parity(gram(losses_fn, PROBLEM.params, PROBLEM.x, chunk=chunk), want)


def test_is_symmetric_and_adds_up_over_leaves():
    got = gram(outputs, PROBLEM.params, PROBLEM.x)
    assert_parity(got, got.T, tolerance=0.0)
    parts = [gram(outputs, PROBLEM.params, PROBLEM.x, wrt=wrt) for wrt in ("trunk", "head*")]
    assert_parity(parts[0] + parts[1], got)
    assert_parity(parts[1], jnp.diag(jnp.diagonal(parts[1])), tolerance=0.0)


def test_a_sick_loss_spoils_its_own_row_and_column():
    def losses(params, x, factor):
        first, second, third = outputs(params, x)
        return first, second * factor, third

    got, clean = (gram(losses, PROBLEM.params, PROBLEM.x, factor) for factor in (jnp.nan, 1.0))
    assert_parity(got[::2, ::2], clean[::2, ::2])
    assert jnp.isnan(got[1]).all()
    assert jnp.isnan(got[:, 1]).all()


def test_narrow_rows_are_accumulated_in_float32():
    params = {"w": jnp.full(4096, 1e-2, jnp.bfloat16)}
    got = gram(lambda p: (jnp.sum(p["w"]), 2 * jnp.sum(p["w"])), params)
    assert got.dtype == jnp.float32
    assert_parity(got, jnp.array([[4096.0, 8192.0], [8192.0, 16384.0]], jnp.float32), tolerance=0.0)


def test_small_and_large_entries_lose_nothing_in_float32():
    """A million entries of 1e-20 have a square of 1e-34, and each of theirs is none; one leaf is a unit of its own."""
    scales = jnp.array([1e-20, 3e18, 1.0], jnp.float32)

    def losses(params, x, scales):
        return tuple(scales[k] * (x[k] @ params["w"] + 1e3 * jnp.sum(params["b"][k])) for k in range(3))

    x = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    params = {"w": jnp.ones(1000, jnp.float32), "b": jnp.zeros((3, 2), jnp.float32)}
    want = (x.astype(float) @ x.T.astype(float) + 2e6 * np.eye(3)) * np.outer(scales, scales)
    got = gram(losses, params, x, scales)
    np.testing.assert_array_equal(np.isinf(got), want > np.finfo(np.float32).max)
    np.testing.assert_allclose(got[::2, ::2], want[::2, ::2], rtol=1e-4, atol=0)
    np.testing.assert_allclose(got[1, [0, 2]], want[1, [0, 2]], rtol=1e-4)


def long(w, x):
    """Three losses of a leaf whose rows are multiplied a piece at a time."""
    return tuple(jnp.mean((jnp.tanh(x @ w[:, k % 2]) - k) ** 2) for k in range(3))


def test_derivatives_through_pieces_and_stacks():
    """Of a leaf of more than 4096 entries: the products are a scan there, in units that are chosen as it goes."""
    rng = np.random.default_rng(2)
    w, x = rng.normal(size=(2, 2500, 2)), rng.normal(size=(2, 4, 2500)) / 50
    assert w[0].size > PIECE
    along = rng.normal(size=(3, 3))

    def by_hand(w, x):
        rows = jax.jacrev(lambda w: jnp.stack(long(w, x)))(w).reshape(3, -1)
        return rows @ rows.T

    def of(products):
        def value(w, x):
            return jnp.sum(products(w, x) * along)

        return jax.jit(jax.vmap(lambda w, x: (products(w, x), *jax.jvp(jax.grad(value), (w, x), (w, 0 * x)))))

    # values, gradients and second derivatives of both problems of the stack
    assert_parity(of(functools.partial(gram, long))(w, x), of(by_hand)(w, x))


def test_the_rows_are_not_kept(compiled_fully):
    """Six rows of a trunk of four equal layers take as much again as the whole matrix takes together."""
    width, count = 128, 6
    params = {"trunk": jnp.ones((4, width, width), jnp.float32), "heads": jnp.ones((count, width), jnp.float32)}
    params = {**{f"layer{i}": params["trunk"][i] for i in range(4)}, "heads": params["heads"]}

    def losses(params, x):
        for i in range(4):
            x = jnp.tanh(x @ params[f"layer{i}"])
        return tuple(jnp.mean((x @ params["heads"][k]) ** 2) for k in range(count))

    def bytes_of(fun):
        memory = jax.jit(fun).lower(params, jnp.ones((16, width), jnp.float32)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    trunk = [f"layer{i}" for i in range(4)]
    rows = bytes_of(functools.partial(gradients, losses, wrt=trunk))
    assert bytes_of(functools.partial(gram, losses, wrt=trunk)) <= 0.6 * rows
