"""What factors of `kfac` and `ekfac` have in common: their sums, pseudo-gradients in chunks, weighted targets."""

import jax
import jax.numpy as jnp
import pytest

import torch_ref.curvature
from jaxgrad.curvature import ekfac, fisher_product, ggn_product, kfac
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.networks import NETWORKS, chain, chain_torch, draw
from tests.curvature.test_kfac import bare, held_by_path, options_of, to_torch_options

pytestmark = pytest.mark.usefixtures("compiled_quickly")

SQUARES = {"kind": "exact", "output_loss": "squared_error"}
SHARES = {"kind": "exact", "output_loss": "softmax_cross_entropy"}


def of(network, function=kfac, **options):
    return function(network.model, network.params, *network.batch, **options_of(network, "exact", "expand"), **options)


def test_outputs_in_chunks_have_the_factors_of_all_of_them():
    """Two outputs one at a time, of examples in chunks too; six outputs four at a time."""
    network = NETWORKS["shared"]
    assert_parity(held_by_path(of(network, chunk=1, microbatch=3)), held_by_path(of(network)))
    network = NETWORKS["positions"]
    vector = random_like(network.params, 1)
    want, got = (of(network, ekfac, **given).product(vector) for given in ({}, {"chunk": 4}))
    assert_parity(got, want)


def test_batches_with_other_numbers_of_terms_add_up_to_the_mean_over_all_terms():
    """Two sequences of three and two of two; torch goes through a list of them."""
    network = NETWORKS["positions"]
    x, y = network.batch
    ragged = [[*part[:2], *part[2:, :2]] for part in (x, y)]
    three, two = (
        kfac(network.model, network.params, *part, **SQUARES) for part in ((x[:2], y[:2]), (x[2:, :2], y[2:, :2]))
    )
    total = three + two
    targets = [list(map(to_torch, part)) for part in ragged]
    want = torch_ref.curvature.kfac(network.model_torch, network.params_torch, *targets, **SQUARES)
    assert_parity(held_by_path(total), want)
    assert "uses and terms that differ from batch to batch" in total.explain()
    assert_parity(held_by_path(two + total), held_by_path(total + two))
    corrected = ekfac(network.model, network.params, x, y, factors=total, **SQUARES)
    assert corrected.about == total.about


def test_factors_that_do_not_add_up():
    params, x, y = {"w": jnp.ones((3, 2)), "held": jnp.ones(2, jnp.float32)}, draw(4, 3), draw(4, 2)
    factors = kfac(bare, params, x, y, wrt="w", **SQUARES)

    def refuse(match, other):
        with pytest.raises(ValueError, match=match):
            factors + other

    narrow = {name: leaf.astype(jnp.float32) for name, leaf in params.items()}
    given = narrow, x.astype("float32"), y.astype("float32")
    refuse(
        r"(?s)wrt and approximation; these differ in\n  w: float64\[3,2\] as kronecker 3 x 3, 2 x 2 and float32\[3,2\]",
        kfac(bare, *given, wrt="w", **SQUARES),
    )
    refuse(r"these differ in\n  held: nothing and float32\[2\] as diagonal", kfac(bare, params, x, y, **SQUARES))
    refuse('approximation: "expand" and "reduce"', kfac(bare, params, x, y, wrt="w", approximation="reduce", **SQUARES))
    other = {**params, "held": jnp.ones(3, jnp.float32)}
    refuse("the leaves of params that do not count", kfac(bare, other, x, y, wrt="w", **SQUARES))
    with pytest.raises(TypeError, match=r"factors add up with factors of curvature.*; got a int"):
        factors + 0
    for leaf in (factors.product(params)["held"], factors.sample(jax.random.key(0), 1.0)["held"]):
        assert (leaf.dtype, leaf.tolist()) == (jnp.float32, [0.0, 0.0])


def test_a_distribution_weighs_what_is_drawn_as_it_weighs_the_hessian():
    """Whatever it adds up to. Classes of equal chances, drawn once each, are their expectation."""
    params = {"w": jnp.zeros((3, 3))}
    x, y = jnp.asarray(draw(4, 2, 3)), jnp.exp(draw(4, 2, 3, seed=1))
    classes = jnp.broadcast_to(jnp.arange(3)[:, None, None], (3, 4, 2))
    exact = kfac(chain, params, x, y, **SHARES)
    drawn = kfac(chain, params, x, y, **SHARES | {"kind": "mc"}, samples=classes)
    assert_parity(held_by_path(drawn), held_by_path(exact))
    alone = x[:1, :1], y[:1, :1]
    vector = random_like(params, 2)
    # of one use in one example the factors are the matrix
    one = kfac(chain, params, *alone, **SHARES).product(vector)
    name = {"output_loss": "softmax_cross_entropy"}
    assert_parity(one, ggn_product(chain, params, vector, *alone, **name))
    assert_parity(one, fisher_product(chain, params, vector, *alone, kind="mc", samples=classes[:, :1, :1], **name))


def test_distributions_match_torch():
    """Elsewhere too, for given draws."""
    params = {"w": jnp.asarray(draw(3, 3))}
    x, y = draw(4, 2, 3), jnp.exp(draw(4, 2, 3, seed=1))
    samples = jnp.asarray([[[0, 1]] * 4, [[2, 2]] * 4])
    given = to_torch((params, x, y))
    for options in (SHARES, SHARES | {"kind": "mc", "samples": samples}):
        got = kfac(chain, params, x, y, **options)
        want = torch_ref.curvature.kfac(chain_torch, *given, **to_torch_options(options))
        assert_parity(held_by_path(got), want)
