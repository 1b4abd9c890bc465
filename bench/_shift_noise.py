"""Rows of the family ``shift`` about many shifts at once: of low rank, from values alone, and IVON's step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.shift
from bench._inputs import to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from bench._shift_problem import MLP, SMALL, Setting, loss, loss_torch, ours, setting
from jaxgrad import shift


def low_rank(s: Setting, count: int, **options: Any) -> tuple[Any, Any]:
    """Draw shifts of rank 1 with NumPy, and return them and the dense stack that they stand for."""
    draw = functools.partial(shift.low_rank_shifts, loss, key=jax.random.key(0), num_shifts=count, rank=1, **options)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(draw, s.params, *s.data)
    thin = jax.tree.map(lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype), shapes)

    def dense(node: Any) -> Any:
        return node.dense() if isinstance(node, shift.LowRank) else node

    return thin, jax.tree.map(dense, thin, is_leaf=lambda node: isinstance(node, shift.LowRank))


def drawn(s: Setting, name: str, fun: Any, **options: Any) -> Contender:
    """Return a contender that draws its shifts itself; it is compared on nothing but its shapes."""
    call = functools.partial(fun, key=jax.random.key(0), **options)
    program = jax.jit(lambda params, *data: call(loss, params, None, *data))
    return Contender(
        name,
        "jax",
        lambda: program(s.params, *s.data),
        Program(program, (s.params, *s.data)),
        read=lambda tree: jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.device_get(tree)),
    )


def also(name: str, fun: Any, *args: Any) -> Contender:
    """Return another contender of ours."""
    return Contender(name, "jax", lambda: fun(*args), Program(fun, args))


def examples_problem(size: Sizes) -> Problem:
    """Each of the examples sees its own shift: thin products, against the dense sums of the same factors."""
    s = setting(size)
    count = s.data[0].shape[0]
    thin, dense = low_rank(s, count, per_example=True)
    each = functools.partial(shift.expected_gradient, loss, per_example=True)
    moves = to_torch(jax.device_get(dense), size.dtype)

    def functional() -> Any:
        def one(a: Any, x: Any, y: Any) -> Any:
            return torch.func.grad(loss_torch)(jax.tree.map(torch.add, s.params_torch, a), x[None], y[None])

        return jax.tree.map(lambda leaf: leaf.mean(0), torch.func.vmap(one)(moves, *s.data_torch))

    return Problem(
        [
            ours(each, s.params, thin, *s.data),
            also("jaxgrad, dense", each, s.params, dense, *s.data),
            Contender("torch.func", "torch", functional),
        ],
        gradient=s.gradient,
    )


def drawn_problem(size: Sizes) -> Problem:
    """Shifts that are drawn, of the whole batch: of rank 1 all at once, one by one, and of full rank."""
    s = setting(size)
    full = functools.partial(shift.expected_gradient, num_samples=size.shifts, scale=0.01)
    return Problem(
        [
            drawn(s, "jaxgrad", full, rank=1),
            drawn(s, "jaxgrad, one by one", full, rank=1, chunk=1),
            drawn(s, "jaxgrad, full rank", full),
        ],
        gradient=s.gradient,
    )


def evolution_problem(size: Sizes) -> Problem:
    """Pairs of shifts of rank 1 against the dense sums, one by one, and against torch.func on a stack of weights."""
    s = setting(size)
    thin, dense = low_rank(s, size.shifts)
    call = functools.partial(shift.evolution_gradient, loss, scale=0.1)
    moves = to_torch(jax.device_get(dense), size.dtype)

    def functional() -> Any:
        def value(a: Any, sign: float) -> Any:
            return loss_torch(jax.tree.map(lambda w, b: w + sign * b, s.params_torch, a), *s.data_torch)

        up, down = (torch.func.vmap(functools.partial(value, sign=sign))(moves) for sign in (1.0, -1.0))
        weights = (up - down) / (2 * 0.1**2 * size.shifts)
        return jax.tree.map(lambda leaf: torch.einsum("k,k...->...", weights, leaf), moves)

    return Problem(
        [
            ours(call, s.params, thin, *s.data),
            also("jaxgrad, dense", call, s.params, dense, *s.data),
            Contender("torch.func", "torch", functional),
        ],
        gradient=s.gradient,
    )


def score_problem(size: Sizes) -> Problem:
    """Values at some shifts, with the mean of the others as baseline, against torch's loop."""
    s = setting(size)
    moves = jax.tree.map(
        lambda leaf: jnp.asarray(0.01 * np.random.default_rng(1).normal(size=(size.shifts, *leaf.shape)), leaf.dtype),
        s.params,
    )
    call = functools.partial(shift.score_function_gradient, loss, scale=0.01)
    at = to_torch(jax.device_get(moves), size.dtype)
    return Problem(
        [
            ours(call, s.params, moves, *s.data),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.score_function_gradient(
                    loss_torch, s.params_torch, at, *s.data_torch, scale=0.01
                ),
            ),
        ],
        gradient=s.gradient,
    )


def ivon_problem(size: Sizes) -> Problem:
    """One update of IVON from a gradient and a shift that are given, against the twin."""
    s = setting(size)
    rng = np.random.default_rng(1)
    slope, move = (
        jax.tree.map(lambda leaf: jnp.asarray(0.01 * rng.normal(size=leaf.shape), leaf.dtype), s.params) for _ in "gs"
    )
    mine, theirs = shift.ivon(0.1, 5e4), torch_ref.shift.ivon(0.1, 5e4)
    state, state_torch = mine.init(s.params), theirs.init(s.params_torch)
    given = to_torch(jax.device_get((slope, move)), size.dtype)
    update = jax.jit(mine.update)
    arguments = (slope, move, state, s.params)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: update(*arguments)[0], Program(update, arguments)),
            Contender("torch_ref", "torch", lambda: theirs.update(*given, state_torch, s.params_torch)[0]),
        ],
        gradient=s.gradient,
    )


EACH, MANY, FEW = MLP | {"batch": 64}, MLP | {"batch": 16, "shifts": 64}, MLP | {"shifts": 8}

ROWS = [
    Row("low_rank_shifts", "MLP {mlp}, {batch} examples, a shift of rank 1 each", examples_problem, EACH, SMALL),
    Row(
        "low_rank_shifts", "MLP {mlp}, batch {batch}, {shifts} shifts drawn", drawn_problem, MANY, SMALL, {"shifts": 8}
    ),
    Row("evolution_gradient", "MLP {mlp}, batch {batch}, {shifts} pairs of rank 1", evolution_problem, MANY, SMALL),
    Row("score_function_gradient", "MLP {mlp}, batch {batch}, {shifts} shifts", score_problem, FEW, SMALL),
    Row("ivon", "MLP {mlp}", ivon_problem, MLP, SMALL),
]
