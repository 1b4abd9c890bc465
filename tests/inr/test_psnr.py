"""`inr.psnr` against torch, closed forms, its invariances, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

import torch_ref.inr
from jaxgrad.inr import psnr
from tests.bridge import assert_parity, to_torch
from tests.turns import covering

pytestmark = [pytest.mark.usefixtures("compiled_quickly"), pytest.mark.either_lane]

RNG = np.random.default_rng(0)
IMAGE, REFERENCE = jnp.asarray(RNG.uniform(size=(6, 5, 3))), jnp.asarray(RNG.uniform(size=(6, 5, 3)))


@pytest.mark.parametrize("align", ["none", "mean", "affine"])
def test_matches_torch(align):
    want = torch_ref.inr.psnr(to_torch(IMAGE), to_torch(REFERENCE), align=align)
    assert_parity(psnr(IMAGE, REFERENCE, align=align), want)


def test_closed_form():
    assert_parity(psnr(REFERENCE + 0.01, REFERENCE), 40.0)


def test_alignment_removes_what_it_says():
    bias, contrast = jnp.array([[[0.1, -0.2, 0.3]]]), jnp.array([[[2.0, 0.5, -1.0]]])
    assert psnr(REFERENCE + bias, REFERENCE, align="mean") > 250
    assert psnr(REFERENCE * contrast + bias, REFERENCE, align="affine") > 250
    assert psnr(REFERENCE * contrast + bias, REFERENCE, align="mean") < 30


def test_equal_pictures_are_infinitely_alike_and_flat_ones_are_finite():
    assert psnr(REFERENCE, REFERENCE) == jnp.inf
    assert jnp.isfinite(psnr(jnp.zeros_like(REFERENCE), REFERENCE, align="affine"))


@pytest.mark.parametrize(
    ("image", "reference", "words"),
    [
        (np.ones((2, 2, 1)), np.ones((2, 2, 3)), r"image: got float64\[2,2,1\], expected float64\[2,2,3\]"),
        (np.ones(3), np.ones(3), r"image must have shape \(..., channels\)"),
        (np.ones((0, 3)), np.ones((0, 3)), "at least one pixel"),
    ],
)
def test_refuses(image, reference, words):
    with pytest.raises(ValueError, match=words):
        psnr(image, reference)


def test_refuses_an_unknown_alignment():
    with pytest.raises(ValueError, match="align must be one of"):
        psnr(IMAGE, REFERENCE, align="scale")


@pytest.mark.parametrize(("dtype", "align"), covering([jnp.float16, jnp.bfloat16], ["none", "mean", "affine"]))
def test_16_bits_are_measured_in_float32(dtype, align):
    """The squares of small differences underflow in float16, and sums over many pixels round in both."""
    reference = jnp.asarray(RNG.uniform(0.01, 0.02, size=(64, 64, 3)), dtype)
    image = reference + jnp.asarray(1e-4, dtype)
    got = psnr(image, reference, align=align)
    assert got.dtype == jnp.float32
    want = psnr(image.astype(jnp.float64), reference.astype(jnp.float64), align=align)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_refuses_channels_first_where_channels_are_aligned():
    image = jnp.ones((3, 8, 8))
    assert psnr(image, image) == jnp.inf
    with pytest.raises(ValueError, match=r"image of float64\[3,8,8\] seems to have its channels first"):
        psnr(image, image, align="mean")


def test_refuses_integers_with_the_number_to_divide_by():
    with pytest.raises(TypeError, match=r"reference must hold floats from 0 to 1; got uint8.*write reference / 255"):
        psnr(jnp.ones((2, 2, 1)), jnp.ones((2, 2, 1), jnp.uint8))
