"""Rows of the family ``inr`` that make targets of pictures."""

import functools
from typing import Any

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
    points = np.random.default_rng(1).uniform(-1, 1, (64 if quick else 4096, 2))
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


ROWS = [
    Row("image_targets", "64 x 64 x 3, Sobel", functools.partial(targets_problem, "sobel")),
    Row("image_targets, spectral", "64 x 64 x 3", functools.partial(targets_problem, "spectral")),
    Row("refined_targets", "64 x 64 x 3, twice as fine", refined_problem),
    Row("targets_at", "64 x 64 x 3, 4096 points", functools.partial(points_problem, "spectral")),
    Row("targets_at, spline", "64 x 64 x 3, 4096 points", functools.partial(points_problem, "spline")),
    Row("ceiling", "16 x 16 x 3, Sobel", ceiling_problem),
]
