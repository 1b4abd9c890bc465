"""Rows of the family ``shift``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.shift
from bench import _shift_noise
from bench._row import Contender, Problem, Program, Row
from bench._shift_problem import AGREEMENT, InPlace, loss, loss_torch, ours, setting
from jaxgrad import shift
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_params


def gradient_problem(quick: bool) -> Problem:
    """A given shift, against torch in place and torch.func."""
    s = setting(quick)
    moves = mlp_params(s.sizes, 1)
    a, at = to_jax(moves, np.float32), to_torch(moves, np.float32)
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
        agreement=AGREEMENT,
    )


def sam_problem(quick: bool) -> Problem:
    """SAM against the in-place form of torch's optimizers."""
    s = setting(quick)
    place = InPlace(s.params_torch, s.data_torch)

    def in_place() -> Any:
        slopes = place.gradient()
        scale = 0.05 / (torch.stack(torch._foreach_norm(slopes)).norm() + 1e-12)
        return place.tree(place.at(torch._foreach_mul(slopes, scale)))

    return Problem(
        [
            ours(functools.partial(shift.sam_gradient, loss, radius=0.05), s.params, *s.data),
            Contender("torch in place", "torch", in_place),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.sam_gradient(loss_torch, s.params_torch, *s.data_torch, radius=0.05),
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def extragradient_problem(quick: bool) -> Problem:
    """The extragradient against the in-place form."""
    s = setting(quick)
    place = InPlace(s.params_torch, s.data_torch)
    return Problem(
        [
            ours(functools.partial(shift.extragradient, loss, learning_rate=0.1), s.params, *s.data),
            Contender(
                "torch in place", "torch", lambda: place.tree(place.at(torch._foreach_mul(place.gradient(), -0.1)))
            ),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.extragradient(loss_torch, s.params_torch, *s.data_torch, learning_rate=0.1),
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def expected_problem(quick: bool, count: int = 8) -> Problem:
    """The mean over several shifts, against torch in place and JAX's ``vmap``."""
    s = setting(quick)
    moves = jax.tree.map(lambda *leaves: 0.01 * np.stack(leaves), *[mlp_params(s.sizes, 1 + k) for k in range(count)])
    a, at = to_jax(moves, np.float32), to_torch(moves, np.float32)
    place = InPlace(s.params_torch, s.data_torch)
    rows = [[leaf[k] for leaf in jax.tree.leaves(at)] for k in range(count)]

    def in_place() -> Any:
        total = list(place.at(rows[0]))
        for row in rows[1:]:
            torch._foreach_add_(total, place.at(row))
        return place.tree(torch._foreach_div(total, count))

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
        agreement=AGREEMENT,
    )


def random_problem(quick: bool) -> Problem:
    """The draws against ``jax.random.normal`` leaf by leaf with the same keys; torch's numbers are others."""
    s = setting(quick)
    draw = functools.partial(shift.random_shifts, key=jax.random.key(0), num_shifts=8)

    @jax.jit
    def leaf_by_leaf(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(0), len(leaves))
        draws = [jax.random.normal(k, (8, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, draws)

    return Problem(
        [
            ours(draw, s.params),
            Contender("jax.random.normal", "jax", lambda: leaf_by_leaf(s.params), Program(leaf_by_leaf, (s.params,))),
        ],
        gradient=s.gradient,
    )


ROWS = [
    Row("gradient", "MLP 784-512-512-10, batch 256", gradient_problem),
    Row("sam_gradient", "MLP 784-512-512-10, batch 256", sam_problem),
    Row("extragradient", "MLP 784-512-512-10, batch 256", extragradient_problem),
    Row("expected_gradient", "MLP 784-512-512-10, batch 256, 8 shifts", expected_problem),
    Row("random_shifts", "MLP 784-512-512-10, 8 shifts", random_problem),
    *_shift_noise.ROWS,
]
