"""Rows of the family ``nth``."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.experimental.jet import jet

import torch_ref.nth
from bench._inputs import to_jax, to_torch
from bench._rivals import of_library
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import nth
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
    return Contender(name, "jax", lambda: program(*args), Program(program, args))


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


def orders_problem(size: Sizes) -> Problem:
    """All orders of the network at many points; nesting only where it still compiles in seconds."""
    order: int = size.order
    trees = (np.random.default_rng(0).uniform(-1, 1, size.points), mlp_params(size.mlp, 0))
    (x, params), (xt, pt) = to_jax(trees, size.dtype), to_torch(trees, size.dtype)
    ours = functools.partial(nth.derivatives, of_numbers)
    contenders = [
        Contender(
            "jaxgrad",
            "jax",
            lambda: ours(x, order, params),
            Program(ours, (x, order, params)),
        ),
    ]
    if order <= 20:
        contenders.append(contender("jet", functools.partial(jet_rows, order), x, params))
    if order <= 6:
        contenders.append(contender("nested jvp", functools.partial(nested_jvp, order), x, params))
    if order <= 4:
        contenders.append(contender("nested grad", functools.partial(nested_grad, order), x, params))
    # torch's nesting takes ten seconds and gigabytes on the wide network at order 8
    if order <= (6 if max(size.mlp) > 64 else 8):
        run = functools.partial(torch_ref.nth.derivatives, of_numbers_torch, xt, order, pt)
        contenders.append(Contender("torch_ref", "torch", run))
    gradient = jax.jit(jax.grad(lambda z, p: jnp.sum(of_numbers(z, p))))
    unit = Contender("jax.grad", "jax", lambda: gradient(x, params), Program(gradient, (x, params)))
    return Problem(contenders, unit)


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
    """Return the rivals, with spaces in their names."""
    return {name.replace("_", " "): own for name, own in operators.items()}


def rival(name: str, fun: Callable[..., Any], *args: Any) -> Contender:
    """Return a jitted contender; folx is optional."""
    found = contender(name, fun, *args)
    if name != "folx":
        return found
    return of_library("folx", name, lambda: found.run, "jax", program=found.program)


def operator_problem(
    operator: Callable[..., Any],
    rivals: dict[str, Callable[..., Any]],
    size: Sizes,
    training: bool = False,
) -> Problem:
    """A differential operator of a network at some points, or the gradient of its mean square."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (size.points, size.mlp[0]))
    x, params = to_jax((drawn, mlp_params(size.mlp, 0)), size.dtype)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        values = batched(own)
        return jax.grad(lambda z, p: jnp.mean(values(z, p) ** 2), argnums=1) if training else values

    contenders = [rival(name, whole(own), x, params) for name, own in {"jaxgrad": operator, **rivals}.items()]
    gradient = jax.grad(lambda z, p: jnp.sum(jax.vmap(lambda y: of_point(y, p))(z)), argnums=1 if training else 0)
    return Problem(contenders, contender("jax.grad", gradient, x, params))


def torch_hessian_trace(x: Any, params: Any) -> Any:
    """The Laplacian at many points from torch.func, its best plain form."""
    own = torch.func.hessian(lambda z: of_point_torch(z, params))
    return torch.func.vmap(lambda z: torch.trace(own(z)))(x)


def torch_training_gradient(x: Any, params: Any) -> Any:
    """The gradient of its mean square in the parameters."""
    return torch.func.grad(lambda p: torch.mean(torch_hessian_trace(x, p) ** 2))(params)


def laplacian_problem(training: bool, size: Sizes) -> Problem:
    """The Laplacian, against folx, jet, the trace of the Hessian and torch."""
    rivals = rivals_of(folx=folx_laplacian, trace_of_hessian=hessian_trace)
    if not training:
        rivals |= rivals_of(jet=jet_laplacian)
    problem = operator_problem(nth.laplacian, rivals, size, training=training)
    x, params = problem.contenders[0].program.args
    xt, pt = to_torch(jax.device_get((x, params)), size.dtype)
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


def ode_problem(size: Sizes) -> Problem:
    """The series of an ODE's solution at many states."""
    order: int = size.order
    drawn = np.random.default_rng(0).uniform(-1, 1, (size.states, size.mlp[0]))
    x, params = to_jax((drawn, mlp_params(size.mlp, 0)), size.dtype)

    def whole(own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda z, p: jax.vmap(lambda y: own(y, p))(z)

    rivals = {"jet": functools.partial(ode_by_jet, order)}
    if order <= 4:
        rivals["nested jvp"] = functools.partial(ode_by_jvp, order)
    owns = {"jaxgrad": lambda z, p: nth.ode_series(flow, z, order, p), **rivals}
    contenders = [contender(name, whole(own), x, params) for name, own in owns.items()]
    gradient = jax.grad(lambda z, p: jnp.sum(jax.vmap(lambda y: flow(y, p))(z)))
    return Problem(contenders, contender("jax.grad", gradient, x, params))


def ode_row(order: int) -> Row:
    """Return the row of the series of an ODE's solution."""
    full, small = {"mlp": (4, 64, 64, 4), "states": 256, "order": order}, {"mlp": (4, 16, 4), "states": 8}
    return Row("ode_series", "MLP {mlp}, {states} states, n = {order}", ode_problem, full, small)


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


def exact_or_estimated(size: Sizes) -> Problem:
    """The estimate at eight points beside the exact Laplacian: a guess with the error of sixteen directions."""
    problem = operator_problem(stde, {"nth.laplacian": nth.laplacian}, size)
    # the standard error is about half the value here, whatever the dimension
    return replace(problem, agreement=2.0)


def orders_row(mlp: tuple[int, ...], order: int) -> Row:
    """Return the row of all orders up to one."""
    full = {"mlp": mlp, "points": 1024, "order": order}
    return Row("derivatives", "MLP {mlp}, {points} points, n = {order}", orders_problem, full, {"points": 64})


def operator_row(name: str, what: str, dim: int, build: Callable[[Sizes], Problem], points: int = 256) -> Row:
    """Return the row of an operator of a network of ``dim`` variables."""
    full, small = {"mlp": (dim, 128, 128, 128, 128, 1), "points": points}, {"mlp": (dim, 16, 16, 1), "points": 8}
    template = "MLP {mlp}, {points} points" + (f", {what}" if what else "")
    return Row(name, template, build, full, small)


def against(operator: Callable[..., Any], rivals: dict[str, Callable[..., Any]]) -> Callable[[Sizes], Problem]:
    """Return the build of an operator and what it is compared with."""
    return functools.partial(operator_problem, operator, rivals)


WHAT = {False: "", True: "gradient of its mean square"}
ALL = against(nth.value_gradient_laplacian, rivals_of(folx=folx_all, hessian=value_gradient_hessian))
EIGHT = against(in_chunks(8), {"all at once": nth.value_gradient_laplacian})
ALONG = against(directional, {"nested jvp": jvp_along(4), "jet": jax_jet_along})
BY_JET = against(jet_along, {"nested jvp": jvp_along(4), "jax's jet": jax_jet_along})

ROWS = [
    *[orders_row((1, 64, 64, 1), order) for order in (4, 1, 2, 6, 8, 10, 20, 30)],
    *[orders_row((1, 128, 128, 128, 1), order) for order in (1, 2, 4, 6, 8, 10, 20)],
    *[
        operator_row("laplacian", WHAT[training], dim, functools.partial(laplacian_problem, training))
        for training in (False, True)
        for dim in (2, 16, 64)
    ],
    operator_row("value_gradient_laplacian", "", 16, ALL),
    operator_row("value_gradient_laplacian, 8 directions at once", "", 64, EIGHT),
    operator_row("weighted_laplacian", "a matrix", 16, against(weighted, {"hessian": weighted_hessian})),
    *[ode_row(order) for order in (4, 8)],
    operator_row("biharmonic", "", 5, against(nth.biharmonic, rivals_of(folx=folx_biharmonic))),
    operator_row("directional", "n = 4", 16, ALONG),
    operator_row("jet", "n = 4", 16, BY_JET),
    operator_row("mixed_partial", "orders (2, 1)", 2, against(mixed, {"nested jvp": mixed_by_jvp})),
    operator_row("divergence", "of a gradient", 16, against(divergence, rivals_of(trace_of_hessian=hessian_trace))),
    operator_row("stochastic_operator", "Laplacian", 1000, against(stde, {"nested jvp": stde_by_jvp})),
    *[operator_row("stochastic_operator", "", dim, exact_or_estimated, points=8) for dim in (1_000, 10_000)],
]
