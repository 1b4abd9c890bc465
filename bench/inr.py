"""Rows of the family ``inr``."""

import functools

import numpy as np

import torch_ref.inr
from bench import _inr_derivatives
from bench import _inr_networks
from bench._row import Contender, Problem, Program, Row
from jaxgrad import inr
from jaxgrad.verify._bridge import to_jax, to_torch


def targets_problem(quick: bool) -> Problem:
    """Sobel targets of a picture, against a loop over its pixels."""
    image = np.random.default_rng(0).uniform(size=(16, 16, 3) if quick else (64, 64, 3))
    ours, theirs = to_jax(image, np.float32), to_torch(image, np.float32)
    run = functools.partial(inr.image_targets, method="sobel")
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: tuple(run(ours)), Program(run, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.image_targets(theirs, method="sobel")),
        ]
    )


def psnr_problem(quick: bool) -> Problem:
    """A picture against another once an affine map of each channel is removed."""
    pair = np.random.default_rng(0).uniform(size=(2, 32, 32, 3) if quick else (2, 512, 512, 3))
    (a, b), (at, bt) = to_jax(tuple(pair), np.float32), to_torch(tuple(pair), np.float32)
    run = functools.partial(inr.psnr, align="affine")
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: run(a, b), Program(run, (a, b))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.psnr(at, bt, align="affine")),
        ]
    )


ROWS = [
    *_inr_derivatives.ROWS,
    Row("image_targets", "64 x 64 x 3", targets_problem),
    Row("psnr", "512 x 512 x 3, affine", psnr_problem),
    *_inr_networks.ROWS,
]
