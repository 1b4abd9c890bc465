"""Cost lines of the targets of a picture, in operations, and of slopes of what a field is fitted by."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import inr
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, dimension

part = functools.partial
CHANNELS = 3
POINTS = 4096


def zeros(shape):
    return jnp.zeros(shape, jnp.float32)


def of_picture(fun):
    """Return the program of a function of a picture of a height and twice that width."""
    return lambda height: lambda params, x: fun(zeros((height, 2 * height, CHANNELS)))


def entries(height):
    return 2 * height**2 * CHANNELS


def waves(fun):
    return lambda number: lambda params, x: fun(jnp.broadcast_to(x[0, 0], (number,)))


def refined(method, factor):
    return lambda params, x: inr.refined_targets(zeros((128, 256, CHANNELS)), factor=factor, method=method)


def judged(match):
    """Return programs of the ceiling of the targets of a picture."""

    def program(height):
        number = 2 * height**2
        shapes = (number, 2), (number, CHANNELS), (number, CHANNELS, 2), (number, CHANNELS)
        targets = inr.ImageTargets(*map(zeros, shapes))
        return lambda params, x: inr.ceiling(targets, shape=(height, 2 * height), match=match)

    return program


def at_points(method, height, channels, count):
    """Return the program of the targets of a picture at points."""
    picture, points = zeros((height, 2 * height, channels)), zeros((count, 2))
    return lambda params, x: inr.targets_at(picture, points, method=method, channels=channels)


def coordinates(second):
    """Return programs of the slope of a function of a field's derivatives."""

    def total(params, x):
        found = inr.coordinate_derivatives(mlp_jax, params, x, second=second)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(found))

    return lambda _: jax.grad(total)


def combined(slope, laplacians=False):
    """Return programs of the loss by values and gradients, or of its slope."""

    def program(d):
        values = zeros((BATCH, WIDTH))
        wanted = {"values": values, "gradients": zeros((BATCH, WIDTH, d))}
        wanted |= {"laplacians": values} if laplacians else {}

        def measured(params, x):
            return inr.combined_loss(mlp_jax, params, x, **wanted)

        return jax.grad(measured) if slope else measured

    return program


def refined_by_waves(factor):
    return 8 * 256 + 6 * 128 / factor + 2 * 384 / factor**2


def refined_by_splines(factor):
    return 41 + 24 / factor + 4 * 384 / factor**2


SIZES = (2, 3)
SLOPE = "a gradient by ``params`` about three times that"
CLAIMS = [
    *(
        Claim(
            "inr.image_targets",
            words,
            "operation",
            part(lambda share, height: share * 3 * height * entries(height), share),
            of_picture(part(inr.image_targets, method=method)),
            (128, 256),
            within=CLOSE,
        )
        for method, share, words in (
            ("central", 4, "``4 (H + W)`` operations an entry of the picture"),
            ("sobel", 4, "``4 (H + W)`` operations an entry of the picture"),
            ("spline", 4, "``4 (H + W)`` operations an entry of the picture"),
            ("spectral", 8, 'twice as many for ``"spectral"``'),
        )
    ),
    *(
        Claim(
            "inr.refined_targets",
            words,
            "operation",
            part(lambda claimed, factor: claimed(factor) * factor**2 * entries(128), claimed),
            part(refined, method),
            (1, 2, 4),
            within=CLOSE,
        )
        for method, words, claimed in (
            ("spectral", "``8 W + 6 H / factor + 2 (H + W) / factor**2`` for waves", refined_by_waves),
            ("spline", "``41 + 24 / factor + 4 (H + W) / factor**2`` for a spline", refined_by_splines),
        )
    ),
    *(
        Claim(
            "inr.ceiling",
            words,
            "operation",
            part(lambda share, height: share * 3 * height * entries(height), share),
            judged(match),
            (128, 256),
            within=CLOSE,
        )
        for match, share, words in (
            ("gradient", 6, "About ``6 (H + W)`` multiplications and additions an entry of the picture"),
            ("laplacian", 4, "``4 (H + W)`` by Laplacian"),
        )
    ),
    Claim(
        "inr.targets_at",
        "``6 H W C`` floating-point operations a point for waves",
        "operation",
        lambda height: 6 * entries(height) * POINTS,
        lambda height: at_points("spectral", height, CHANNELS, POINTS),
        (256,),
        within=(0.95, 1.1),  # and the picture
    ),
    Claim(
        "inr.targets_at",
        "and ``2 H W C (H + W)`` for the picture",
        "operation",
        lambda height: 2 * 3 * height * entries(height),
        lambda height: at_points("spectral", height, CHANNELS, 1),
        (128, 256),
        within=CLOSE,
    ),
    Claim(
        "inr.targets_at",
        "for a spline about ``200 (C + 1)`` a point",
        "operation",
        lambda channels: 200 * (channels + 1) * 100 * POINTS,
        lambda channels: at_points("spline", 8, channels, 100 * POINTS),
        (1, 3, 8),
    ),
    Claim(
        "inr.targets_at",
        "and ``4 H W C (H + W)``.",
        "operation",
        lambda height: 4 * 3 * height * entries(height),
        lambda height: at_points("spline", height, CHANNELS, 1),
        (128, 256),
        within=CLOSE,
    ),
    Claim("inr.sine", "About 30 operations an entry", "operation", lambda n: 30 * n, waves(inr.sine), (64,)),
    Claim(
        "inr.sine_cosine", "About 60 operations an entry", "operation", lambda n: 60 * n, waves(inr.sine_cosine), (64,)
    ),
    *(
        Claim(
            "inr.coordinate_derivatives",
            "a gradient of it by ``params`` costs three times that",
            "evaluation",
            claimed,
            coordinates(second),
            SIZES,
            dimension,
            within=CLOSE,
        )
        for second, claimed in (
            (None, lambda d: 3 * (1 + d)),
            ("laplacian", lambda d: 3 * (2 + d)),
            ("hessian", lambda d: 3 * (1 + d + d * (d + 1) / 2)),
        )
    ),
    Claim(
        "inr.combined_loss",
        "``1 + d`` with gradients",
        "evaluation",
        lambda d: 1 + d,
        combined(slope=False),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.combined_loss", SLOPE, "evaluation", lambda d: 3 * (1 + d), combined(True), SIZES, dimension, within=CLOSE
    ),
    Claim(
        "inr.combined_loss",
        SLOPE,
        "evaluation",
        lambda d: 3 * (2 + d),
        combined(slope=True, laplacians=True),
        SIZES,
        dimension,
        within=CLOSE,
    ),
    Claim(
        "inr.eikonal_loss",
        "its gradient by ``params`` about three times that",
        "evaluation",
        lambda d: 3 * (4 * (1 + d) + d) / 5,  # the last of five layers gives no value
        lambda _: jax.grad(part(inr.eikonal_loss, mlp_jax)),
        SIZES,
        dimension,
        within=CLOSE,
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)
