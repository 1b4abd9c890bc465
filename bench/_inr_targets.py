"""Rows of the family ``inr`` that make targets of pictures."""

import functools
from typing import Any

import jax
import numpy as np
import torch

import torch_ref.inr
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import inr


def picture(size: Sizes) -> np.ndarray:
    """Draw a picture of noise: it has every wave."""
    return np.random.default_rng(0).uniform(size=(size.height, size.width, 3))


def targets_problem(method: Any, size: Sizes) -> Problem:
    """Targets at the pixels, against a loop over them or the whole field at each."""
    ours, theirs = to_jax(picture(size), size.dtype), to_torch(picture(size), size.dtype)
    run = functools.partial(inr.image_targets, method=method)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(ours)), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.image_targets(theirs, method=method)),
        ],
    )


def refined_problem(size: Sizes) -> Problem:
    """A grid twice as fine, by transforms, against the sum of all waves at each point."""
    ours, theirs = to_jax(picture(size), size.dtype), to_torch(picture(size), size.dtype)
    run = functools.partial(inr.refined_targets, factor=2)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(ours)), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.refined_targets(theirs, factor=2)),
        ],
    )


def points_problem(method: Any, size: Sizes) -> Problem:
    """Targets at random points, against the field differentiated by autograd."""
    points = np.random.default_rng(1).uniform(-1, 1, (size.points, 2))
    ours, theirs = (cast((picture(size), points), size.dtype) for cast in (to_jax, to_torch))
    run = functools.partial(inr.targets_at, method=method)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(*ours)), Program(run, ours)),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.targets_at(*theirs, method=method)),
        ],
    )


def ceiling_problem(size: Sizes) -> Problem:
    """The best fit to Sobel's derivatives by transforms, against a dense least-squares solve of all waves."""
    image = picture(size)
    ours = inr.image_targets(to_jax(image, size.dtype), method="sobel")
    theirs, shape = to_torch(tuple(ours), size.dtype), image.shape[:2]
    run = functools.partial(inr.ceiling, shape=shape)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: run(ours), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.ceiling(theirs, shape=shape)),
        ],
    )


def sampler_problem(size: Sizes) -> Problem:
    """One jittered point in every pixel; the pixels are compared, for torch draws its own numbers."""
    shape, side = (size.side, size.side), size.side
    run = functools.partial(inr.sample_points, count=side**2, method="jittered", shape=shape, dtype=size.dtype)
    key = jax.random.key(0)

    def pixel(points: Any) -> np.ndarray:
        points = points.cpu() if isinstance(points, torch.Tensor) else points
        return np.floor((np.asarray(points) + 1) * ((side - 1) / 2) + 0.5)

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: pixel(run(key)), Program(run, (key,))),
            Contender(
                "torch_ref",
                "torch",
                lambda: pixel(torch_ref.inr.sample_points(0, side**2, method="jittered", shape=shape)),
            ),
        ]
    )


def by_error_problem(size: Sizes) -> Problem:
    """Points drawn by their errors; the mean of the weighted errors is that of all, whatever was drawn."""
    errors = np.random.default_rng(0).uniform(size=size.points) ** 4
    ours, theirs = to_jax(errors, size.dtype), to_torch(errors, size.dtype)
    run, key = functools.partial(inr.sample_by_error, count=64), jax.random.key(0)

    def mean(drawn: Any, errors: Any) -> Any:
        return (drawn[1] * errors[drawn[0]]).mean()

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: mean(run(key, ours), ours), Program(run, (key, ours))),
            Contender("torch_ref", "torch", lambda: mean(torch_ref.inr.sample_by_error(0, theirs, 64), theirs)),
        ]
    )


PICTURE, SMALL = {"height": 64, "width": 64}, {"height": 16, "width": 16}
PIXELS = "{height} x {width} pixels"


def points_row(name: str, method: str, side: int, points: int) -> Row:
    """Return the row of targets at random points."""
    build, full = functools.partial(points_problem, method), {"height": side, "width": side, "points": points}
    return Row(name, f"{PIXELS}, {{points}} points", build, full, {**SMALL, "points": 64})


ROWS = [
    Row("image_targets", f"{PIXELS}, Sobel", functools.partial(targets_problem, "sobel"), PICTURE, SMALL),
    Row("image_targets, spectral", PIXELS, functools.partial(targets_problem, "spectral"), PICTURE, SMALL),
    Row("refined_targets", f"{PIXELS}, twice as fine", refined_problem, PICTURE, SMALL),
    points_row("targets_at", "spectral", 64, 4096),
    points_row("targets_at, spline", "spline", 32, 256),
    Row("sample_points", "{side} x {side}, one a pixel", sampler_problem, {"side": 128}, {"side": 16}),
    Row("sample_by_error", "64 of {points}", by_error_problem, {"points": 4096}, {"points": 256}),
    Row("ceiling", f"{PIXELS}, Sobel", ceiling_problem, SMALL, {"height": 12, "width": 10}),
]
