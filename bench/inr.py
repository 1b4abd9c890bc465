"""Rows of the family ``inr``."""

import functools

import numpy as np

import torch_ref.inr
from bench import _inr_derivatives, _inr_networks, _inr_targets
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import inr


def psnr_problem(size: Sizes) -> Problem:
    """A picture against another once an affine map of each channel is removed."""
    pair = np.random.default_rng(0).uniform(size=(2, size.side, size.side, 3))
    (a, b), (at, bt) = to_jax(tuple(pair), size.dtype), to_torch(tuple(pair), size.dtype)
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
    Row("psnr", "{side} x {side} x 3, affine", psnr_problem, {"side": 512}, {"side": 32}),
    *_inr_networks.ROWS,
]
