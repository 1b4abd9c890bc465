"""Rows of the family ``inr``."""

import functools

import numpy as np

import torch_ref.inr
from bench import _inr_derivatives, _inr_networks, _inr_targets
from bench._row import Contender, Problem, Program, Row
from jaxgrad import inr
from jaxgrad.verify._bridge import to_jax, to_torch


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
    *_inr_targets.ROWS,
    Row("psnr", "512 x 512 x 3, affine", psnr_problem),
    *_inr_networks.ROWS,
]
