"""Rows of the family ``shift``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.shift
from bench import _shift_noise, _shift_sam
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from bench._shift_problem import MLP, SMALL, InPlace, loss, loss_torch, ours, setting
from jaxgrad import shift
from jaxgrad.verify.cases.families._networks import mlp_params


def gradient_problem(size: Sizes) -> Problem:
    """A given shift, against torch in place and torch.func."""
    s = setting(size)
    moves = mlp_params(size.mlp, 1)
    a, at = to_jax(moves, size.dtype), to_torch(moves, size.dtype)
    place, flat = InPlace(s.params_torch, s.data_torch), jax.tree.leaves(at)

    def functional() -> Any:
        moved = jax.tree.map(torch.add, s.params_torch, at)
        return torch.func.grad(loss_torch)(moved, *s.data_torch)

    return Problem(
        [
            ours(functools.partial(shift.gradient, loss), s.params, a, *s.data),
            Contender("torch in place", "torch", lambda: place.tree(place.at(flat))),
            Contender("torch.func", "torch", functional),
            Contender(
                "torch_ref", "torch", lambda: torch_ref.shift.gradient(loss_torch, s.params_torch, at, *s.data_torch)
            ),
        ],
        gradient=s.gradient,
    )


def expected_problem(size: Sizes) -> Problem:
    """The mean over several shifts, against torch in place and JAX's ``vmap``."""
    s = setting(size)
    moves = jax.tree.map(
        lambda *leaves: 0.01 * np.stack(leaves), *[mlp_params(size.mlp, 1 + k) for k in range(size.shifts)]
    )
    a, at = to_jax(moves, size.dtype), to_torch(moves, size.dtype)
    place = InPlace(s.params_torch, s.data_torch)
    rows = [[leaf[k] for leaf in jax.tree.leaves(at)] for k in range(size.shifts)]

    def in_place() -> Any:
        total = list(place.at(rows[0]))
        for row in rows[1:]:
            torch._foreach_add_(total, place.at(row))
        return place.tree(torch._foreach_div(total, size.shifts))

    @jax.jit
    def vmapped(params: Any, shifts: Any, x: Any, y: Any) -> Any:
        def one(a: Any) -> Any:
            return jax.grad(loss)(jax.tree.map(jnp.add, params, a), x, y)

        return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(one)(shifts))

    return Problem(
        [
            ours(functools.partial(shift.expected_gradient, loss), s.params, a, *s.data),
            Contender("torch in place", "torch", in_place),
            Contender(
                "jax.vmap(grad)",
                "jax",
                lambda: vmapped(s.params, a, *s.data),
                Program(vmapped, (s.params, a, *s.data)),
            ),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.expected_gradient(loss_torch, s.params_torch, at, *s.data_torch),
            ),
        ],
        gradient=s.gradient,
    )


def random_problem(size: Sizes) -> Problem:
    """The draws against ``jax.random.normal`` leaf by leaf with the same keys; torch's numbers are others."""
    s = setting(size)
    draw = functools.partial(shift.random_shifts, key=jax.random.key(0), num_shifts=size.shifts)

    @jax.jit
    def leaf_by_leaf(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(0), len(leaves))
        draws = [
            jax.random.normal(k, (size.shifts, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, draws)

    return Problem(
        [
            ours(draw, s.params),
            Contender("jax.random.normal", "jax", lambda: leaf_by_leaf(s.params), Program(leaf_by_leaf, (s.params,))),
        ],
        gradient=s.gradient,
    )


SHIFTS = {"shifts": 8}

ROWS = [
    Row("gradient", "MLP {mlp}, batch {batch}", gradient_problem, MLP, SMALL),
    *_shift_sam.ROWS,
    Row("expected_gradient", "MLP {mlp}, batch {batch}, {shifts} shifts", expected_problem, MLP | SHIFTS, SMALL),
    Row("random_shifts", "MLP {mlp}, {shifts} shifts", random_problem, MLP | SHIFTS, SMALL),
    *_shift_noise.ROWS,
]
