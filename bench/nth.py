"""Rows of the family ``nth``."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.experimental.jet import jet

import torch_ref.nth
from bench._row import Contender, Problem, Program, Row
from jaxgrad import nth
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


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
    ]
    if order <= 20:
        contenders.append(contender("jet", functools.partial(jet_rows, order), x, params))
    if order <= (4 if quick else 6):
        contenders.append(contender("nested jvp", functools.partial(nested_jvp, order), x, params))
    if order <= 4:
        contenders.append(contender("nested grad", functools.partial(nested_grad, order), x, params))
    # torch's nesting takes ten seconds and gigabytes on the wide network at order 8
    if order <= (4 if quick else 6 if max(sizes) > 64 else 8):
        run = functools.partial(torch_ref.nth.derivatives, of_numbers_torch, xt, order, pt)
        contenders.append(Contender("torch_ref", "torch", run))
    gradient = jax.jit(jax.grad(lambda z, p: jnp.sum(of_numbers(z, p))))
    unit = Contender("jax.grad", "jax", lambda: gradient(x, params), Program(gradient, (x, params)))
    # float32 loses a digit with every few orders, in every contender
    return Problem(contenders, unit, agreement=1e-4 if order <= 10 else 1e-2)


def batched(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Map an operator ``(fun, x, params)`` on `of_point` over points."""
    return lambda x, params: jax.vmap(lambda z: operator(of_point, z, params))(x)


def hessian_trace(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The Laplacian as the trace of ``jax.hessian``."""
    return jnp.trace(jax.hessian(fun)(x, params))


def jet_laplacian(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The Laplacian from ``jax.experimental.jet``, one direction a row of a ``vmap``."""

    def along(v: Any) -> Any:
        return jet(lambda z: fun(z, params), (x,), ([v, jnp.zeros_like(v)],))[1][1]

    return jnp.sum(jax.vmap(along)(jnp.eye(x.size, dtype=x.dtype)))


def folx_laplacian(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The Laplacian from folx, the published forward Laplacian."""
    import folx

    return folx.forward_laplacian(lambda z: fun(z, params))(x).laplacian


def folx_biharmonic(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The Laplacian of the Laplacian from folx."""
    return folx_laplacian(lambda z, p: folx_laplacian(fun, z, p), x, params)


def rivals_of(**operators: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return the rivals, folx only where it is installed."""
    found = importlib.util.find_spec("folx") is not None
    return {name.replace("_", " "): o for name, o in operators.items() if found or not name.startswith("folx")}


def operator_problem(
    operator: Callable[..., Any],
    dim: int,
    rivals: dict[str, Callable[..., Any]],
    quick: bool,
    training: bool = False,
    points: int = 256,
) -> Problem:
    """A differential operator of a 4 x 128 network at some points, or the gradient of its mean square."""
    sizes, points = ((dim, 16, 16, 1), 8) if quick else ((dim, 128, 128, 128, 128, 1), points)
    x, params = to_jax((np.random.default_rng(0).uniform(-1, 1, (points, dim)), mlp_params(sizes, 0)), np.float32)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        values = batched(own)
        return jax.grad(lambda z, p: jnp.mean(values(z, p) ** 2), argnums=1) if training else values

    contenders = [contender(name, whole(own), x, params) for name, own in {"jaxgrad": operator, **rivals}.items()]
    gradient = jax.grad(lambda z, p: jnp.sum(jax.vmap(lambda y: of_point(y, p))(z)), argnums=1 if training else 0)
    return Problem(contenders, contender("jax.grad", gradient, x, params), agreement=1e-3)


def torch_hessian_trace(x: Any, params: Any) -> Any:
    """The Laplacian at many points from torch.func, its best plain form."""
    own = torch.func.hessian(lambda z: of_point_torch(z, params))
    return torch.func.vmap(lambda z: torch.trace(own(z)))(x)


def torch_training_gradient(x: Any, params: Any) -> Any:
    """The gradient of its mean square in the parameters."""
    return torch.func.grad(lambda p: torch.mean(torch_hessian_trace(x, p) ** 2))(params)


def laplacian_problem(dim: int, training: bool, quick: bool) -> Problem:
    """The Laplacian, against folx, jet, the trace of the Hessian and torch."""
    rivals = rivals_of(folx=folx_laplacian, trace_of_hessian=hessian_trace)
    if not training:
        rivals |= rivals_of(jet=jet_laplacian)
    problem = operator_problem(nth.laplacian, dim, rivals, quick, training=training)
    x, params = problem.contenders[0].program.args
    xt, pt = to_torch(jax.device_get((x, params)), np.float32)
    own = torch_training_gradient if training else torch_hessian_trace
    return replace(problem, contenders=[*problem.contenders, Contender("torch.func", "torch", lambda: own(xt, pt))])


def value_gradient_hessian(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """Value, gradient and Laplacian, each by itself."""
    return (*jax.value_and_grad(fun)(x, params), hessian_trace(fun, x, params))


def folx_all(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The three from folx."""
    import folx

    found = folx.forward_laplacian(lambda z: fun(z, params))(x)
    return found.x, found.jacobian.dense_array, found.laplacian


def weighted(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The sum of second derivatives with a full matrix of weights."""
    return nth.weighted_laplacian(fun, x, jnp.outer(x, x) + jnp.eye(x.size, dtype=x.dtype), params)


def weighted_hessian(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The same from ``jax.hessian``."""
    return jnp.sum((jnp.outer(x, x) + jnp.eye(x.size, dtype=x.dtype)) * jax.hessian(fun)(x, params))


def in_chunks(chunk: int) -> Callable[..., Any]:
    """Return our value, gradient and Laplacian with some directions at once."""
    return lambda fun, x, params: nth.value_gradient_laplacian(fun, x, params, chunk=chunk)


def flow(x: Any, params: Any) -> Any:
    """A network as the right-hand side of an ODE."""
    return mlp_jax(params, x)


def ode_by_jvp(order: int, x: Any, params: Any) -> Any:
    """The derivatives of a solution by the total derivative of the right-hand side, nested."""
    chain = [lambda z: z]
    for _ in range(order):
        chain.append(lambda z, last=chain[-1]: jax.jvp(last, (z,), (flow(z, params),))[1])
    return jnp.stack([row(x) for row in chain])


def ode_by_jet(order: int, x: Any, params: Any) -> Any:
    """The same by ``jax.experimental.jet``, one coefficient more a round, as probabilistic solvers do."""
    terms = [flow(x, params)]
    for _ in range(order - 1):
        value, further = jet(lambda z: flow(z, params), (x,), (terms,))
        terms = [value, *further]
    return jnp.stack([x, *terms])


def ode_problem(order: int, quick: bool) -> Problem:
    """The series of an ODE's solution at many states."""
    sizes, points = ((4, 16, 4), 8) if quick else ((4, 64, 64, 4), 256)
    x, params = to_jax((np.random.default_rng(0).uniform(-1, 1, (points, 4)), mlp_params(sizes, 0)), np.float32)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda z, p: jax.vmap(lambda y: own(y, p))(z)

    rivals = {"jet": functools.partial(ode_by_jet, order)}
    if order <= 4:
        rivals["nested jvp"] = functools.partial(ode_by_jvp, order)
    owns = {"jaxgrad": lambda z, p: nth.ode_series(flow, z, order, p), **rivals}
    contenders = [contender(name, whole(own), x, params) for name, own in owns.items()]
    gradient = jax.grad(lambda z, p: jnp.sum(jax.vmap(lambda y: flow(y, p))(z)))
    return Problem(contenders, contender("jax.grad", gradient, x, params), agreement=1e-3)


def ode_row(order: int) -> Row:
    """Return the row of the series of an ODE's solution."""
    return Row("ode_series", f"MLP 4-64-64-4, 256 states, n = {order}", lambda q: ode_problem(order, q))


def jvp_along(order: int) -> Callable[..., Any]:
    """Return the derivative along the vector of ones by nested jvp."""

    def operator(fun: Callable[..., Any], x: Any, params: Any) -> Any:
        inner = lambda z: fun(z, params)  # noqa: E731 - the start of the recursion
        for _ in range(order):
            inner = lambda z, last=inner: jax.jvp(last, (z,), (jnp.ones_like(z),))[1]  # noqa: E731
        return inner(x)

    return operator


def directional(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The fourth derivative along the vector of ones."""
    return nth.directional(fun, x, jnp.ones_like(x), 4, params)


def jet_along(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The same by our jet."""
    return nth.jet(lambda z: fun(z, params), (x,), ([jnp.ones_like(x), None, None, None],))[1][-1]


def jax_jet_along(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The same by ``jax.experimental.jet``."""
    return jet(lambda z: fun(z, params), (x,), ([jnp.ones_like(x), *[jnp.zeros_like(x)] * 3],))[1][-1]


def mixed(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """Two derivatives by the first variable and one by the second."""
    return nth.mixed_partial(fun, x, (2, 1, *[0] * (x.size - 2)), params)


def mixed_by_jvp(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The same by nested jvp."""
    inner = lambda z: fun(z, params)  # noqa: E731 - the start of the recursion
    for i in (0, 0, 1):
        inner = lambda z, last=inner, i=i: jax.jvp(last, (z,), (jnp.zeros_like(z).at[i].set(1),))[1]  # noqa: E731
    return inner(x)


def divergence(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The divergence of a gradient field."""
    return nth.divergence(jax.grad(fun), x, params)


PROBES = 16


def stde(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The Laplacian estimated from sixteen directions."""
    return nth.stochastic_operator(fun, x, params, key=jax.random.key(0), num_samples=PROBES)[0]


def stde_by_jvp(fun: Callable[..., Any], x: Any, params: Any) -> Any:
    """The same estimate by nested jvp."""
    probes = jax.random.rademacher(jax.random.key(0), (PROBES, x.size), dtype=x.dtype)

    def along(v: Any) -> Any:
        return jax.jvp(lambda z: jax.jvp(lambda y: fun(y, params), (z,), (v,))[1], (x,), (v,))[1]

    return jnp.mean(jax.vmap(along)(probes))


def exact_or_estimated(dim: int, quick: bool) -> Problem:
    """The estimate at eight points beside the exact Laplacian: a guess with the error of sixteen directions."""
    problem = operator_problem(stde, dim, {"nth.laplacian": nth.laplacian}, quick, points=8)
    # the standard error is about half the value here, whatever the dimension
    return replace(problem, agreement=2.0)


def orders_row(sizes: tuple[int, ...], order: int) -> Row:
    """Return the row of all orders up to one."""
    name = "-".join(map(str, sizes))
    return Row("derivatives", f"MLP {name}, 1024 points, n = {order}", lambda q: orders_problem(sizes, order, q))


def operator_row(name: str, sizes: str, *problem: Any, **options: Any) -> Row:
    """Return the row of an operator."""
    return Row(name, f"MLP 4 x 128, 256 points, {sizes}", lambda q: operator_problem(*problem, q, **options))


def laplacian_row(dim: int, training: bool) -> Row:
    """Return a row of the Laplacian, or of the training gradient of its square."""
    what = "gradient of its mean square, " if training else ""
    return Row("laplacian", f"MLP 4 x 128, 256 points, {what}d = {dim}", lambda q: laplacian_problem(dim, training, q))


def estimate_row(dim: int) -> Row:
    """Return the row of the estimate beside the exact operator."""
    return Row("stochastic_operator", f"MLP 4 x 128, 8 points, d = {dim}", lambda q: exact_or_estimated(dim, q))


ROWS = [
    *[orders_row((1, 64, 64, 1), order) for order in (1, 2, 4, 6, 8, 10, 20, 30)],
    *[orders_row((1, 128, 128, 128, 1), order) for order in (1, 2, 4, 6, 8, 10, 20)],
    *[laplacian_row(dim, training) for training in (False, True) for dim in (2, 16, 64)],
    operator_row(
        "value_gradient_laplacian",
        "d = 16",
        nth.value_gradient_laplacian,
        16,
        rivals_of(folx=folx_all, hessian=value_gradient_hessian),
    ),
    operator_row(
        "value_gradient_laplacian, 8 directions at once",
        "d = 64",
        in_chunks(8),
        64,
        {"all at once": nth.value_gradient_laplacian},
    ),
    operator_row("weighted_laplacian", "a matrix, d = 16", weighted, 16, {"hessian": weighted_hessian}),
    *[ode_row(order) for order in (4, 8)],
    operator_row("biharmonic", "d = 5", nth.biharmonic, 5, rivals_of(folx=folx_biharmonic)),
    operator_row("directional", "d = 16, n = 4", directional, 16, {"nested jvp": jvp_along(4), "jet": jax_jet_along}),
    operator_row("jet", "d = 16, n = 4", jet_along, 16, {"nested jvp": jvp_along(4), "jax's jet": jax_jet_along}),
    operator_row("mixed_partial", "d = 2, orders (2, 1)", mixed, 2, {"nested jvp": mixed_by_jvp}),
    operator_row("divergence", "of a gradient, d = 16", divergence, 16, rivals_of(trace_of_hessian=hessian_trace)),
    operator_row("stochastic_operator", "Laplacian, d = 1000", stde, 1000, {"nested jvp": stde_by_jvp}),
    *[estimate_row(dim) for dim in (1_000, 10_000)],
]
