"""Rows of the family ``inr`` that make targets of pictures."""

import functools
from typing import Any

import jax
import numpy as np

import torch_ref.inr
from bench._row import Contender, Problem, Program, Row
from jaxgrad import inr
from jaxgrad.verify._bridge import to_jax, to_torch


def picture(quick: bool) -> np.ndarray:
    """Draw a picture of noise: it has every wave."""
    return np.random.default_rng(0).uniform(size=(16, 16, 3) if quick else (64, 64, 3))


def targets_problem(method: Any, quick: bool) -> Problem:
    """Targets at the pixels, against a loop over them or the whole field at each."""
    ours, theirs = to_jax(picture(quick), np.float32), to_torch(picture(quick), np.float32)
    run = functools.partial(inr.image_targets, method=method)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(ours)), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.image_targets(theirs, method=method)),
        ],
        agreement=1e-3,
    )


def refined_problem(quick: bool) -> Problem:
    """A grid twice as fine, by transforms, against the sum of all waves at each point."""
    ours, theirs = to_jax(picture(quick), np.float32), to_torch(picture(quick), np.float32)
    run = functools.partial(inr.refined_targets, factor=2)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(ours)), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.refined_targets(theirs, factor=2)),
        ],
        agreement=1e-3,
    )


def points_problem(method: Any, quick: bool) -> Problem:
    """Targets at random points, against the field differentiated by autograd."""
    points = np.random.default_rng(1).uniform(-1, 1, (64 if quick else 4096 if method == "spectral" else 256, 2))
    ours, theirs = (cast((picture(quick), points), np.float32) for cast in (to_jax, to_torch))
    run = functools.partial(inr.targets_at, method=method)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(*ours)), Program(run, ours)),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.targets_at(*theirs, method=method)),
        ],
        agreement=1e-3,
    )


def ceiling_problem(quick: bool) -> Problem:
    """The best fit to Sobel's derivatives by transforms, against a dense least-squares solve of all waves."""
    image = picture(quick=True)[:12, :10] if quick else picture(quick=True)
    ours = inr.image_targets(to_jax(image, np.float32), method="sobel")
    theirs, shape = to_torch(tuple(ours), np.float32), image.shape[:2]
    run = functools.partial(inr.ceiling, shape=shape)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: run(ours), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.ceiling(theirs, shape=shape)),
        ],
        agreement=1e-3,
    )


def sampler_problem(quick: bool) -> Problem:
    """One jittered point in every pixel; the pixels are compared, for torch draws its own numbers."""
    shape = (16, 16) if quick else (128, 128)
    size = shape[0]
    run = functools.partial(inr.sample_points, count=size**2, method="jittered", shape=shape, dtype=np.float32)
    key = jax.random.key(0)

    def pixel(points: Any) -> np.ndarray:
        return np.floor((np.asarray(points) + 1) * ((size - 1) / 2) + 0.5)

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: pixel(run(key)), Program(run, (key,))),
            Contender(
                "torch_ref",
                "torch",
                lambda: pixel(torch_ref.inr.sample_points(0, size**2, method="jittered", shape=shape)),
            ),
        ]
    )


def by_error_problem(quick: bool) -> Problem:
    """Points drawn by their errors; the mean of the weighted errors is that of all, whatever was drawn."""
    errors = np.random.default_rng(0).uniform(size=256 if quick else 4096) ** 4
    ours, theirs = to_jax(errors, np.float32), to_torch(errors, np.float32)
    run, key = functools.partial(inr.sample_by_error, count=64), jax.random.key(0)

    def mean(drawn: Any, errors: Any) -> Any:
        return (drawn[1] * errors[drawn[0]]).mean()

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: mean(run(key, ours), ours), Program(run, (key, ours))),
            Contender("torch_ref", "torch", lambda: mean(torch_ref.inr.sample_by_error(0, theirs, 64), theirs)),
        ]
    )


ROWS = [
    Row("image_targets", "64 x 64 x 3, Sobel", functools.partial(targets_problem, "sobel")),
    Row("image_targets, spectral", "64 x 64 x 3", functools.partial(targets_problem, "spectral")),
    Row("refined_targets", "64 x 64 x 3, twice as fine", refined_problem),
    Row("targets_at", "64 x 64 x 3, 4096 points", functools.partial(points_problem, "spectral")),
    Row("targets_at, spline", "64 x 64 x 3, 256 points", functools.partial(points_problem, "spline")),
    Row("sample_points", "128 x 128, one a pixel", sampler_problem),
    Row("sample_by_error", "64 of 4096", by_error_problem),
    Row("ceiling", "16 x 16 x 3, Sobel", ceiling_problem),
]
