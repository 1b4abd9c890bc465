"""Every network that is a field equals its torch twin to the second derivative and through an optimizer's step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx as flax_nnx

from jaxgrad import inr, models
from jaxgrad.models import _fields, linen, nnx
from tests.bridge import assert_parity, to_torch
from tests.models.fields import FIELDS, field, in_nnx, points
from tests.turns import one_in

each = pytest.mark.parametrize("name", FIELDS)
WANTED = np.random.default_rng(1).normal(size=(7, 3, 2))
ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}


def derivatives(apply_fn):
    """Return a function that gives values, Jacobians and Laplacians by the coordinates, point by point."""

    def at_point(params, point):
        hessian = jax.hessian(apply_fn, argnums=1)(params, point)
        return apply_fn(params, point), jax.jacfwd(apply_fn, argnums=1)(params, point), jnp.trace(hessian, 0, 1, 2)

    return jax.vmap(at_point, (None, 0))


# a SIREN is in the zoo, too; the quick ones are those whose twins take another road
@pytest.mark.parametrize("name", one_in(2, list(FIELDS), 1))
def test_values_derivatives_and_a_step_match_torch(name):
    it, x = field(name), jnp.asarray(points())

    def loss(params):
        return inr.gradient_loss(it.apply_fn, params, x, jnp.asarray(WANTED))

    @jax.jit
    def run(params):
        slope = jax.grad(loss)(params)
        adam = optax.adam(1e-2, **ADAM)
        # optax counts its steps in int32
        with jax.numpy_dtype_promotion("standard"):
            updates, _ = adam.update(slope, adam.init(params), params)
        return *derivatives(it.apply_fn)(params, x), slope, optax.apply_updates(params, updates)

    values, jacobian, laplacian, slope, stepped = run(it.params)
    leaves = dict(it.module.named_parameters())
    own, theirs = to_torch(points()).requires_grad_(), to_torch(WANTED)

    # torch by another road: one backward pass a channel, and one more a coordinate
    found = it.module(own)
    firsts = [torch.autograd.grad(found[:, c].sum(), own, create_graph=True)[0] for c in range(3)]
    seconds = [[torch.autograd.grad(g[:, k].sum(), own, retain_graph=True)[0][:, k] for k in range(2)] for g in firsts]
    assert_parity(values, found)
    assert_parity(jacobian, torch.stack(firsts, 1))
    assert_parity(laplacian, torch.stack([sum(by_axis) for by_axis in seconds], 1))
    assert np.linalg.norm(laplacian) > 0.1

    ((torch.stack(firsts, 1) - theirs) ** 2).mean().backward()
    zeros = {key: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for key, leaf in leaves.items()}
    assert_parity(slope, it.mapping.gradients_to_jax(zeros))
    torch.optim.Adam(leaves.values(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8).step()
    after = it.mapping.to_jax(it.module.state_dict())
    with torch.no_grad():
        for key, before in it.mapping.to_torch(it.params).items():
            leaves[key].copy_(torch.from_numpy(before))
            leaves[key].grad = None
    assert_parity(stepped, after)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), it.params, after)
    assert max(jax.tree.leaves(moved)) == pytest.approx(1e-2, rel=1e-3)


@each
def test_linen_and_nnx_are_one_function(name):
    it, (apply_fn, params) = field(name), in_nnx(name)
    x = jnp.asarray(points()).reshape(1, 7, 2)
    got, want = jax.jit(lambda a, b: (apply_fn(a, x), it.apply_fn(b, x)))(params, it.params)
    assert got.shape == (1, 7, 3)
    assert_parity(got, want, tolerance=1e-14)


@each
def test_points_of_16_bits_are_taken_in_float32(name):
    it, x = field(name), jnp.asarray(points(), jnp.bfloat16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), it.params)
    got, want = jax.jit(lambda p, x: (it.apply_fn(p, x), it.apply_fn(p, x.astype(jnp.float32))))(params, x)
    assert got.dtype == want.dtype == jnp.float32
    np.testing.assert_array_equal(got, want)
    exact = it.apply_fn(it.params, x.astype(jnp.float64))
    # sums of a few numbers of size 1, through three layers that multiply an error by their frequency
    np.testing.assert_allclose(got, exact, atol=2e-4)


@each
def test_points_of_another_dimension_are_refused(name):
    with pytest.raises(ValueError, match=r"points must have shape \(\.\.\., 2\).*got float64\[7,3\]"):
        field(name).apply_fn(field(name).params, jnp.ones((7, 3)))


@pytest.mark.parametrize("sizes", [(2, 3), (2, 0, 1), (2, 4.0, 1), ()])
@pytest.mark.parametrize("name", [name for name in FIELDS if name != "Siren"])
def test_sizes_that_make_no_network_are_refused(name, sizes):
    with pytest.raises(ValueError, match="sizes must be positive integers"):
        getattr(linen, name)(sizes).init(jax.random.key(0), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="sizes must be positive integers"):
        getattr(nnx, name)(sizes, rngs=flax_nnx.Rngs(0))


def test_random_frequencies_are_saved_and_not_trained():
    network = linen.FourierFeatures((2, 4, 1), frequencies=3)
    variables = network.init(jax.random.key(0), jnp.ones((1, 2), jnp.float32))
    assert variables["constants"]["frequencies"].shape == (2, 3)
    _, params, state = models.from_linen_with_state(network, variables=variables)
    assert sorted(params) == ["layers_0", "layers_1"]
    assert list(state) == ["constants"]
    module = nnx.FourierFeatures((2, 4, 1), frequencies=3, rngs=flax_nnx.Rngs(0))
    assert list(flax_nnx.state(module, nnx.Constant)) == ["frequencies"]
    assert "frequencies" not in flax_nnx.state(module, flax_nnx.Param)
    _, params = models.from_nnx(module)
    assert sorted(params) == ["layers"]
    # whoever keeps the parameters alone must not get others
    alone = {"params": variables["params"]}
    with pytest.raises(ValueError, match="saved beside the parameters"):
        network.apply(alone, jnp.ones((1, 2), jnp.float32))


def test_all_names_of_both_sides_pair_with_the_constants_too():
    it = field("FourierFeatures")
    together = models.mapping_for(it.module, {**it.params, "frequencies": jnp.ones((2, 5))})
    assert ("frequencies", "frequencies") in together.pairs()


def test_finer_differentiates_its_scale():
    # sin(|x| x + x) has the slope (2 |x| + 1) cos(...); with the scale held, as in the authors' code, |x| + 1
    slope = jax.grad(lambda x: _fields.finer(x, 1.0))(0.5)
    assert slope == pytest.approx(2 * np.cos(0.75), rel=1e-12)


def test_the_omegas_of_a_siren_are_those_given():
    apply_fn, params = models.from_linen(
        linen.Siren((1, 1, 1, 1), first_omega=2.0, hidden_omega=3.0, param_dtype=float),
        jnp.ones((1, 1)),
        key=jax.random.key(0),
    )
    one = jax.tree.map(jnp.ones_like, params)
    assert apply_fn(one, jnp.zeros((1, 1))).item() == pytest.approx(np.sin(3 * (np.sin(2.0) + 1)) + 1)


def test_gradients_that_torch_has_yet_to_negate_cross():
    it = field("Wire")
    gradients = {key: torch.randn(*leaf.shape, dtype=torch.complex128) for key, leaf in it.module.named_parameters()}
    lazy = {key: leaf.conj().imag for key, leaf in gradients.items()}
    assert all(leaf.is_neg() for leaf in lazy.values())
    plain = {key: leaf.imag.clone().neg() for key, leaf in gradients.items()}
    assert_parity(it.mapping.gradients_to_jax(lazy), it.mapping.gradients_to_jax(plain), tolerance=0)
