"""`gradient.global_norm`, `clip_by_value` and `clip_by_global_norm`: torch's rule, zero, infinity, any tree."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils import _pytree as pytree

import torch_ref.gradient
from jaxgrad import _tree
from jaxgrad.gradient import clip_by_global_norm, clip_by_value, global_norm
from tests.bridge import assert_parity, random_like, to_jax, to_torch

pytestmark = pytest.mark.usefixtures("compiled_quickly")

TREE = to_jax({"a": np.random.default_rng(3).normal(size=(3, 2)), "b": {"c": np.random.default_rng(4).normal(size=4)}})
NORM = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(TREE))))


def test_norm_of_the_tree_is_that_of_the_concatenation_and_of_the_norms():
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(TREE)]
    got = global_norm(TREE)
    assert_parity(got, torch_ref.gradient.global_norm(to_torch(TREE)))
    assert_parity(got, np.linalg.norm(np.concatenate(leaves)))
    assert_parity(got, np.linalg.norm([np.linalg.norm(leaf) for leaf in leaves]))
    assert_parity(got, NORM)


@pytest.mark.parametrize("share", [0.3, 1.0, 1.7, 0.0])
def test_clip_by_norm_matches_torch(share):
    got = clip_by_global_norm(TREE, share * NORM)
    assert_parity(got, torch_ref.gradient.clip_by_global_norm(to_torch(TREE), share * NORM), dtypes=True)
    assert_parity(got, by_torch(TREE, share * NORM))


def by_torch(tree, max_norm):
    """Clip with torch's own function, which works on the gradients of parameters."""
    leaves, structure = pytree.tree_flatten(to_torch(tree))
    parameters = [torch.nn.Parameter(torch.zeros_like(leaf)) for leaf in leaves]
    for parameter, leaf in zip(parameters, leaves, strict=True):
        parameter.grad = leaf
    total = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    return pytree.tree_unflatten([parameter.grad for parameter in parameters], structure), total


def test_at_the_limit_itself_the_scale_is_a_hair_below_one():
    tree = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    clipped, norm = clip_by_global_norm(tree, 5.0)
    assert norm == 5
    assert_parity(clipped, {"a": np.array([3 * 5 / (5 + 1e-6)]), "b": np.array([4 * 5 / (5 + 1e-6)])}, tolerance=1e-15)
    assert clipped["a"][0] < 3


def clip(tree, max_norm):
    return clip_by_global_norm(tree, max_norm)


@jax.jit
def pushed(tree, direction, max_norm):
    """Return the clipped tree and its norm, and their derivatives along a direction."""
    return jax.jvp(lambda tree: clip(tree, max_norm), (tree,), (direction,))


@jax.jit
def pulled(tree, direction, max_norm):
    """Return the gradient of the clipped tree's inner product with a direction."""
    return jax.grad(lambda tree: _tree.dot(clip(tree, max_norm)[0], direction))(tree)


@pytest.mark.parametrize("share", [0.3, 1.7])
def test_derivative_of_the_clipped_tree_matches_torch(share):
    direction = random_like(TREE, 4)
    leaves, structure = pytree.tree_flatten(to_torch(TREE))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    clipped, _ = torch_ref.gradient.clip_by_global_norm(pytree.tree_unflatten(leaves, structure), share * NORM)
    vectors = pytree.tree_leaves(to_torch(direction))
    product = sum((c * d).sum() for c, d in zip(pytree.tree_leaves(clipped), vectors, strict=True))
    want = pytree.tree_unflatten(list(torch.autograd.grad(product, leaves)), structure)
    assert_parity(pulled(TREE, direction, share * NORM), want)


@pytest.mark.parametrize("max_norm", [0.0, 1e-7, 1.0, np.inf])
def test_a_zero_tree_stays_zero_and_its_derivative_finite(max_norm):
    zero = jax.tree.map(jnp.zeros_like, TREE)
    (clipped, norm), (moved, slope) = pushed(zero, TREE, max_norm)
    assert_parity((clipped, norm), (zero, np.zeros(())))
    # near zero the rule is a multiplication by a constant
    factor = min(1.0, max_norm / 1e-6)
    want = jax.tree.map(lambda leaf: factor * np.asarray(leaf), TREE)
    assert_parity((moved, slope), (want, np.zeros(())))
    assert_parity(pulled(zero, TREE, max_norm), want)


def test_zero_gradients_of_a_loss_can_be_clipped_and_differentiated():
    def clipped_gradient(w):
        return clip_by_global_norm(jax.grad(lambda w: jnp.sum(w**4))(w), 1.0)[0]

    assert_parity(jax.jit(jax.jacrev(clipped_gradient))(jnp.zeros(3)), np.zeros((3, 3)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_large_and_small_numbers_keep_their_norm(dtype):
    large, tiny = float(jnp.finfo(dtype).max) / 8, float(jnp.finfo(dtype).tiny) * 8
    for size in (large, tiny):
        tree = {"a": jnp.full(4, size, dtype), "b": jnp.zeros(3, dtype)}
        (clipped, norm), want = clip_by_global_norm(tree, size), 2 * size
        np.testing.assert_allclose(float(norm), want, rtol=2e-3 if dtype == jnp.bfloat16 else 1e-6)
        if size == large:
            np.testing.assert_allclose(np.asarray(clipped["a"], float), size / 2, rtol=8e-3)
        assert clipped["a"].dtype == dtype


def test_infinity_and_nan_show_in_the_norm_as_in_torch():
    for bad in (np.inf, np.nan):
        tree = {"a": jnp.array([bad, 1.0]), "b": jnp.ones(2)}
        got, want = clip_by_global_norm(tree, 1.0), by_torch(tree, 1.0)
        for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_array_equal(np.asarray(ours), theirs.numpy())
    np.testing.assert_array_equal(clip_by_value(jnp.array([np.inf, -np.inf, np.nan]), 2.0), [2.0, -2.0, np.nan])


def test_clip_by_value_matches_torch():
    assert_parity(clip_by_value(TREE, 0.4), torch_ref.gradient.clip_by_value(to_torch(TREE), 0.4), dtypes=True)
    slope = jax.grad(lambda t: jnp.sum(clip_by_value(t, 1.0) ** 2))(jnp.array([-2.0, 0.5, 3.0]))
    assert_parity(slope, np.array([0.0, 1.0, 0.0]))


def test_limits_may_be_traced():
    rows, norms = jax.jit(jax.vmap(lambda c: clip_by_global_norm(TREE, c)))(jnp.array([0.5, 2 * NORM]))
    assert_parity(_tree.take(rows, 0), clip_by_global_norm(TREE, 0.5)[0])
    assert_parity(_tree.take(rows, 1), TREE)
    assert_parity(norms, np.full(2, NORM))
    assert_parity(jax.jit(clip_by_value)(TREE, 0.4), clip_by_value(TREE, 0.4))


SHAPES = (((),), ((3,), (2, 2)), ((0,), (5,)))
"""Trees of one scalar, of two leaves, and with an empty leaf: few, so that few programs are compiled."""

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False, allow_subnormal=False)
TREES = st.sampled_from(SHAPES).flatmap(
    lambda shapes: st.fixed_dictionaries(
        {f"leaf{i}": hnp.arrays(np.float64, shape, elements=NUMBERS) for i, shape in enumerate(shapes)}
    )
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(tree=TREES, max_norm=st.just(0.0) | st.floats(1e-9, 1e6))
def test_any_clipped_tree_is_short_enough_and_keeps_its_direction(tree, max_norm):
    clipped, norm = clip_by_global_norm(tree, np.float64(max_norm))
    flat, cut = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (tree, clipped))
    np.testing.assert_allclose(norm, math.hypot(*flat), rtol=1e-12)
    assert math.hypot(*cut) <= max_norm * (1 + 1e-12)
    if norm + 1e-6 <= max_norm:
        np.testing.assert_array_equal(cut, flat)
    # a positive multiple of the tree: the cosine is 1
    np.testing.assert_allclose(cut * float(norm), flat * math.hypot(*cut), rtol=1e-9, atol=1e-280)


def test_rejects_what_does_not_fit():
    for clip, name in ((clip_by_value, "limit"), (clip_by_global_norm, "max_norm")):
        with pytest.raises(ValueError, match=f"{name} must not be negative or NaN; got -1.0"):
            clip(TREE, -1.0)
        with pytest.raises(ValueError, match=f"{name} must not be negative or NaN; got nan"):
            clip(TREE, float("nan"))
        with pytest.raises(ValueError, match=rf"{name} must be one number, of shape \(\); got float64\[2\]"):
            clip(TREE, jnp.ones(2))
        with pytest.raises(TypeError, match=f"{name} must be a real number; got bool"):
            clip(TREE, jnp.array(True))
        with pytest.raises(TypeError, match=r"tree must have leaves that are real.*\n.*tree\['n'\]: got int"):
            clip({"n": jnp.arange(3)}, 1.0)
    with pytest.raises(ValueError, match="tree has no differentiable leaves"):
        global_norm({})
