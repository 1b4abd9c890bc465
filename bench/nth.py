"""Rows of the family ``nth``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.jet import jet

import torch_ref.nth
from bench._row import Contender, Problem, Program, Row
from jaxgrad import nth
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._networks import mlp_jax, mlp_params, mlp_torch


def of_numbers(x: Any, params: Any) -> Any:
    """The tanh network 1-...-1, entry by entry."""
    return mlp_jax(params, x[:, None])[:, 0]


def of_numbers_torch(x: Any, params: Any) -> Any:
    """The same in torch."""
    return mlp_torch(params, x[:, None])[:, 0]


def of_point(x: Any, params: Any) -> Any:
    """The tanh network at one point, a scalar."""
    return mlp_jax(params, x)[0]


def of_point_torch(x: Any, params: Any) -> Any:
    """The same in torch."""
    return mlp_torch(params, x)[0]


def contender(name: str, fun: Callable[..., Any], *args: Any) -> Contender:
    """Return a jitted JAX contender."""
    program = jax.jit(fun)
    return Contender(name, "jax", lambda: program(*args), Program(fun, args))


def nested_jvp(order: int, x: Any, params: Any) -> Any:
    """Every derivative by ``jvp`` of ``jvp``."""

    def extend(rows: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
        def longer(z: Any) -> tuple[Any, ...]:
            values, slopes = jax.jvp(rows, (z,), (jnp.ones_like(z),))
            return (*values, slopes[-1])

        return longer

    rows = lambda z: (of_numbers(z, params),)  # noqa: E731 - the start of the recursion
    for _ in range(order):
        rows = extend(rows)
    return jnp.stack(rows(x))


def nested_grad(order: int, x: Any, params: Any) -> Any:
    """Every derivative by ``grad`` of the sum of the one before."""
    funs = [lambda z: of_numbers(z, params)]
    for _ in range(order):
        funs.append(jax.grad(lambda z, last=funs[-1]: jnp.sum(last(z))))
    return jnp.stack([fun(x) for fun in funs])


def jet_rows(order: int, x: Any, params: Any) -> Any:
    """Every derivative by ``jax.experimental.jet``."""
    seeds = [jnp.ones_like(x), *[jnp.zeros_like(x)] * (order - 1)]
    value, series = jet(lambda z: of_numbers(z, params), (x,), (seeds,))
    return jnp.stack([value, *series])


def orders_problem(sizes: tuple[int, ...], order: int, quick: bool) -> Problem:
    """All orders of the network at many points; nesting only where it still compiles in seconds."""
    points = 64 if quick else 1024
    trees = (np.random.default_rng(0).uniform(-1, 1, points), mlp_params(sizes, 0))
    (x, params), (xt, pt) = to_jax(trees, np.float32), to_torch(trees, np.float32)
    ours = functools.partial(nth.derivatives, of_numbers)
    contenders = [
        Contender(
            "jaxgrad",
            "jax",
            lambda: ours(x, order, params),
            Program(lambda z, p: ours(z, order, p), (x, params)),
        ),
        contender("jet", functools.partial(jet_rows, order), x, params),
    ]
    if order <= (4 if quick else 6):
        contenders.append(contender("nested jvp", functools.partial(nested_jvp, order), x, params))
    if order <= 4:
        contenders.append(contender("nested grad", functools.partial(nested_grad, order), x, params))
    if order <= (4 if quick else 8):
        run = functools.partial(torch_ref.nth.derivatives, of_numbers_torch, xt, order, pt)
        contenders.append(Contender("torch_ref", "torch", run))
    gradient = jax.jit(jax.grad(lambda z, p: jnp.sum(of_numbers(z, p))))
    unit = Contender("jax.grad", "jax", lambda: gradient(x, params), Program(gradient, (x, params)))
    # float32 loses a digit with every few orders, in every contender
    return Problem(contenders, unit, agreement=1e-4 if order <= 10 else 1e-2)


def hessian_trace(x: Any, params: Any) -> Any:
    """The Laplacian at many points as the trace of ``jax.hessian``."""
    return jax.vmap(lambda z: jnp.trace(jax.hessian(of_point)(z, params)))(x)


def batched(operator: Callable[..., Any], fun: Callable[..., Any]) -> Callable[..., Any]:
    """Map an operator of the family over points."""
    return lambda x, params: jax.vmap(lambda z: operator(fun, z, params))(x)


def operator_problem(
    operator: str, dim: int, rivals: Callable[[], dict[str, Callable[..., Any]]], quick: bool
) -> Problem:
    """A differential operator of a 4 x 128 network at 256 points, in ``dim`` variables."""
    sizes, points = ((dim, 16, 16, 1), 8) if quick else ((dim, 128, 128, 128, 128, 1), 256)
    trees = (np.random.default_rng(0).uniform(-1, 1, (points, dim)), mlp_params(sizes, 0))
    (x, params), (xt, pt) = to_jax(trees, np.float32), to_torch(trees, np.float32)
    twin = getattr(torch_ref.nth, operator)
    import torch

    return Problem(
        [
            contender("jaxgrad", batched(getattr(nth, operator), of_point), x, params),
            *[contender(name, fun, x, params) for name, fun in rivals().items()],
            Contender("torch_ref", "torch", lambda: torch.stack([twin(of_point_torch, z, pt) for z in xt])),
        ]
    )


def orders_row(sizes: tuple[int, ...], order: int) -> Row:
    """Return the row of all orders up to one."""
    name = "-".join(map(str, sizes))
    return Row("derivatives", f"MLP {name}, 1024 points, n = {order}", lambda q: orders_problem(sizes, order, q))


ROWS = [
    *[orders_row((1, 64, 64, 1), order) for order in (1, 2, 4, 6, 8, 10, 20)],
    *[orders_row((1, 128, 128, 128, 1), order) for order in (1, 2, 4, 6, 8, 10, 20)],
    Row(
        "laplacian",
        "MLP d-4x128-1, 256 points, d = 2",
        lambda q: operator_problem("laplacian", 2, lambda: {"trace(hessian)": hessian_trace}, q),
    ),
]
