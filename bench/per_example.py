"""Rows of the family ``per_example``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.per_example
from bench import _per_example_models as models
from bench import _per_example_rivals as libraries
from bench._inputs import to_jax, to_torch
from bench._per_example_models import Network
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import per_example

CLIP_NORM = 1.0


def mapped(fun: Callable[..., Any], batch: tuple[Any, ...]) -> Callable[..., Any]:
    """Map a function of parameters and one example over a batch, in JAX."""
    return jax.vmap(fun, in_axes=(None,) + (0,) * len(batch))


def plain_gradient(network: Network) -> Callable[..., Any]:
    """Return the jitted gradient of the mean loss, in the chunks in which it is fastest."""

    def mean(params: Any, *batch: Any) -> Any:
        return jnp.mean(mapped(network.loss, batch)(params, *batch))

    def chunked(params: Any, *batch: Any) -> Any:
        chunks = jax.tree.map(lambda x: x.reshape(-1, network.chunk, *x.shape[1:]), batch)
        count = jax.tree.leaves(chunks)[0].shape[0]

        def add(total: Any, chunk: Any) -> tuple[Any, None]:
            return jax.tree.map(lambda t, g: t + g / count, total, jax.grad(mean)(params, *chunk)), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), chunks)[0]

    return jax.jit(chunked if network.chunk else jax.grad(mean))


def vmap_and_clip(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Materialise with ``vmap(grad)``, clip, and sum: what JAX users write today."""

    def clipped(params: Any, *batch: Any) -> Any:
        rows = mapped(jax.grad(loss), batch)(params, *batch)
        norms = jnp.sqrt(sum(jnp.sum(g.reshape(g.shape[0], -1) ** 2, 1) for g in jax.tree.leaves(rows)))
        return jax.tree.map(lambda g: jnp.tensordot(jnp.minimum(1, CLIP_NORM / norms), g, 1), rows)

    return jax.jit(clipped)


def vmap_and_clip_torch(loss: Callable[..., Any], params: Any, batch: tuple[Any, ...]) -> Any:
    """Materialise with torch.func, clip, and sum."""
    return libraries.clip_rows(
        torch.func.vmap(torch.func.grad(loss), in_dims=(None,) + (0,) * len(batch))(params, *batch), CLIP_NORM
    )


def clipping_contenders(network: Network, dtype: Any) -> list[Contender]:
    """Return the ways to a clipped sum, on inputs of a dtype."""
    params, batch = to_jax((network.params, network.batch), dtype)
    ours = functools.partial(per_example.clipped_sum, network.loss, clip_norm=CLIP_NORM)
    rows = vmap_and_clip(network.loss)
    contenders = [
        Contender("jaxgrad", "jax", lambda: ours(params, *batch), Program(ours, (params, *batch)), lambda r: r[0]),
        Contender("jax.vmap(grad)", "jax", lambda: rows(params, *batch), Program(rows, (params, *batch))),
    ]
    if network.loss_torch is not None:
        loss_torch, (pt, bt) = network.loss_torch, to_torch((network.params, network.batch), dtype)
        contenders.append(Contender("torch.func", "torch", lambda: vmap_and_clip_torch(loss_torch, pt, bt)))
    return [*contenders, *libraries.clipped_sums(network, dtype, CLIP_NORM)]


def clipped_sum_problem(build: Callable[..., Network], size: Sizes) -> Problem:
    """Clipped sum against ``vmap(grad)`` of both frameworks, and one plain gradient."""
    network = build(**size.values)
    params, batch = to_jax((network.params, network.batch), size.dtype)
    gradient = plain_gradient(network)
    return Problem(
        clipping_contenders(network, size.dtype),
        gradient=Contender("jax.grad", "jax", lambda: gradient(params, *batch), Program(gradient, (params, *batch))),
    )


def dense_network(size: Sizes) -> Network:
    """The network of the rows that have a naive reference."""
    return models.mlp(size.sizes, size.batch)


def dense_problem(name: str, options: Any, reference: Any, rival: Any, size: Sizes) -> Problem:
    """One function of the family on a dense network against its reference and the plain form with ``vmap(grad)``."""
    network, options = dense_network(size), dict(options)
    if "weights" in options:
        options["weights"] = to_jax(options["weights"](size.batch), size.dtype)
    (params, batch), (pt, bt) = (
        to_jax((network.params, network.batch), size.dtype),
        to_torch((network.params, network.batch), size.dtype),
    )
    ours = functools.partial(getattr(per_example, name), network.loss, **options)
    plain = jax.jit(functools.partial(rival, network.loss))
    gradient = plain_gradient(network)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(params, *batch), Program(ours, (params, *batch)), tuple_of),
            Contender(
                "jax.vmap(grad)", "jax", lambda: plain(params, *batch), Program(plain, (params, *batch)), tuple_of
            ),
            Contender("torch_ref", "torch", lambda: reference(network.loss_torch, pt, *bt), None, tuple_of),
            *libraries.of_function(name, network, size.dtype),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(params, *batch), Program(gradient, (params, *batch))),
    )


def tuple_of(result: Any) -> Any:
    """Give records the paths of plain tuples."""
    return tuple(result) if isinstance(result, tuple) else result


def stacked(loss: Any, params: Any, *batch: Any) -> Any:
    """All gradients by ``vmap(grad)``."""
    return mapped(jax.grad(loss), batch)(params, *batch)


def flat(loss: Any, params: Any, *batch: Any) -> Any:
    """All gradients as rows of one matrix."""
    rows = jax.tree.leaves(stacked(loss, params, *batch))
    return jnp.concatenate([g.reshape(g.shape[0], -1) for g in rows], axis=1)


def moments_of_rows(loss: Any, params: Any, *batch: Any) -> Any:
    """Mean, second moment and variance of stacked gradients."""
    rows = stacked(loss, params, *batch)
    return tuple(jax.tree.map(f, rows) for f in (lambda g: g.mean(0), lambda g: (g**2).mean(0), lambda g: g.var(0)))


def noise_scale_of_rows(loss: Any, params: Any, *batch: Any) -> Any:
    """The noise scale from the covariance of the rows."""
    rows = flat(loss, params, *batch)
    trace = rows.var(0, ddof=1).sum()
    signal = jnp.sum(rows.mean(0) ** 2) - trace / rows.shape[0]
    return trace / signal, trace, signal


def values_problem(size: Sizes) -> Problem:
    """The losses of all examples."""
    rival = lambda loss, params, *batch: mapped(loss, batch)(params, *batch)  # noqa: E731
    return dense_problem("values", {}, torch_ref.per_example.values, rival, size)


def random_projection_problem(size: Sizes) -> Problem:
    """Random projections against directions drawn alike and multiplied with the rows."""
    network, key, dim = dense_network(size), jax.random.key(0), size.dim
    params, batch = to_jax((network.params, network.batch), size.dtype)
    ours = functools.partial(per_example.random_projection, network.loss, key=key, dim=dim)
    gradient = plain_gradient(network)

    def formed(params: Any, *batch: Any) -> Any:
        from jaxgrad.per_example._random_projection import direction

        signs = jax.vmap(lambda k: jnp.concatenate([x.ravel() for x in jax.tree.leaves(direction(k, params))]))
        return flat(network.loss, params, *batch) @ signs(jax.random.split(key, dim)).T / jnp.sqrt(dim)

    rival = jax.jit(formed)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(params, *batch), Program(ours, (params, *batch))),
            Contender("jax.vmap(grad)", "jax", lambda: rival(params, *batch), Program(rival, (params, *batch))),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(params, *batch), Program(gradient, (params, *batch))),
    )


def fisher_problem(size: Sizes) -> Problem:
    """The empirical Fisher matrix times a vector, and its formation, on a network of a few hundred weights."""
    network = dense_network(size)
    trees = (network.params, network.batch)
    (params, batch), (pt, bt) = to_jax(trees, size.dtype), to_torch(trees, size.dtype)
    dense, gradient = functools.partial(per_example.empirical_fisher, network.loss), plain_gradient(network)
    rival = jax.jit(lambda p, *b: flat(network.loss, p, *b).T @ flat(network.loss, p, *b) / size.batch)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: jnp.trace(dense(params, *batch)), Program(dense, (params, *batch))),
            Contender(
                "jax.vmap(grad)", "jax", lambda: jnp.trace(rival(params, *batch)), Program(rival, (params, *batch))
            ),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.per_example.empirical_fisher(network.loss_torch, pt, *bt).trace(),
            ),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(params, *batch), Program(gradient, (params, *batch))),
    )


def clipped(template: str, build: Callable[..., Network], full: Any, small: Any, judged: Any = None) -> Row:
    """A row of the table of clipped sums."""
    return Row("clipped_sum", template, functools.partial(clipped_sum_problem, build), full, small, judged or {})


DENSE, SMALL = "MLP {sizes}, batch {batch}", {"sizes": (64, 128, 10), "batch": 32}


def dense(name: str, build: Callable[..., Problem]) -> Row:
    """A row on a dense network, whose stacked gradients take 100 MiB; the naive forms are compared on a small one."""
    return Row(name, DENSE, build, {"sizes": (784, 256, 10), "batch": 128}, SMALL, SMALL)


def row(name: str, reference: Any, rival: Any, **options: Any) -> Row:
    """A row of one function against its reference."""
    return dense(name, functools.partial(dense_problem, name, options, reference, rival))


def weights_of(count: int) -> np.ndarray:
    """The weights of a weighted sum, of both signs."""
    return np.linspace(-1, 1, count)


T = torch_ref.per_example
ROWS = [
    clipped(DENSE, models.mlp, {"sizes": (784, 512, 512, 10), "batch": 256}, SMALL),
    clipped(
        DENSE,
        models.mlp,
        {"sizes": (5120, 2560, 1280), "batch": 32},
        {"sizes": (128, 64, 32), "batch": 16},
        {"sizes": (1280, 640, 320)},  # the rivals' rows of the whole one fit into memory in float32 alone
    ),
    clipped(
        "CNN {side}x{side}, {channels} channels, {hidden} dense, batch {batch}",
        models.cnn,
        {"side": 28, "channels": (16, 32), "hidden": 128, "batch": 256},
        {"side": 8, "channels": (4, 8), "hidden": 16, "batch": 16},
        {"batch": 32},  # XLA's convolutions in float64 take most of a minute for the whole batch
    ),
    clipped(
        "transformer {layers} x {width}, T {length}, batch {batch}",
        models.transformer,
        {"layers": 2, "width": 128, "length": 64, "batch": 64},
        {"layers": 1, "width": 16, "length": 8, "batch": 16},
    ),
    clipped(
        "tied language model {vocabulary} x {width}, T {length}, batch {batch}",
        models.language_model,
        {"vocabulary": 1024, "width": 128, "length": 32, "batch": 32},
        {"vocabulary": 64, "width": 16, "length": 8, "batch": 8},
    ),
    clipped(
        "LSTM {width} over {length} steps, batch {batch}",
        models.lstm,
        {"width": 128, "length": 32, "batch": 64},
        {"width": 16, "length": 8, "batch": 8},
    ),
    clipped(
        "nn.scan stack of {layers} x {width}, batch {batch}",
        models.stack,
        {"layers": 6, "width": 256, "batch": 256},
        {"layers": 3, "width": 32, "batch": 16},
    ),
    dense("values", values_problem),
    row("gradients", T.gradients, stacked),
    row("norms", T.norms, lambda *a: jnp.linalg.norm(flat(*a), axis=1)),
    row(
        "weighted_sum",
        lambda *a: T.weighted_sum(*a, weights=torch.as_tensor(weights_of(len(a[2]))).to(a[2])),
        lambda *a: jax.tree.map(lambda g: jnp.tensordot(weights_of(len(a[2])), g, 1), stacked(*a)),
        weights=weights_of,
    ),
    row("gram", T.gram, lambda *a: flat(*a) @ flat(*a).T),
    row("moments", T.moments, moments_of_rows),
    row("noise_scale", T.noise_scale, noise_scale_of_rows),
    Row(
        "random_projection",
        f"{DENSE}, {{dim}} directions",
        random_projection_problem,
        SMALL | {"dim": 128},
        {"dim": 16},
    ),
    Row("empirical_fisher", DENSE, fisher_problem, {"sizes": (16, 16, 4), "batch": 32}),
]
