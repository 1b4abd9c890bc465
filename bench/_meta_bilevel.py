"""Rows of the family ``meta`` with an inner minimum or two losses: implicit, bilevel and evolution gradients."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.meta
from bench._inputs import to_jax, to_torch
from bench._meta_tasks import SGD, SGD_TORCH, loss, loss_torch, ours, setting
from bench._row import Contender, Problem, Program, Sizes
from jaxgrad import meta

__all__ = ["bilevel_problem", "evolution_problem", "implicit_problem"]


SOLVED = 1e-4
"""Our conjugate gradients stop at their tolerance; the twin solves with the whole matrix."""


def implicit_problem(size: Sizes) -> Problem:
    """Steps on the proximal problem, and a solve to the rounding."""
    inputs, theirs, gradient = setting(size)
    options = {"strength": 4.0, "num_steps": size.steps}
    twin = functools.partial(torch_ref.meta.implicit_gradient, loss_torch, optimizer=SGD_TORCH, **options)
    return Problem(
        [
            ours(meta.implicit_gradient, inputs, **options),
            Contender("torch_ref", "torch", lambda: twin(*theirs)),
        ],
        gradient=gradient,
        agreement=SOLVED,
    )


def decayed(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """The loss of a task, and a weight decay for every layer."""
    squares = {name: sum(jnp.sum(leaf**2) for leaf in layer.values()) for name, layer in params.items()}
    return loss(params, x, y) + sum(jnp.exp(hyper[name]) * squares[name] for name in squares)


def decayed_torch(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """The loss of a task, and a weight decay for every layer, in torch."""
    squares = {name: sum((leaf**2).sum() for leaf in layer.values()) for name, layer in params.items()}
    return loss_torch(params, x, y) + sum(torch.exp(hyper[name]) * squares[name] for name in squares)


def bilevel_problem(method: str) -> Callable[[Sizes], Problem]:
    """Return the build of a row: the gradient of another task's loss by the decays of its layers."""

    def build(size: Sizes) -> Problem:
        (params, *data), (params_torch, *data_torch), gradient = setting(size)
        tasks, theirs = [[tuple(leaf[0] for leaf in one) for one in pair] for pair in (data, data_torch)]
        hyper, hyper_torch = (to(np.zeros(()), size.dtype) for to in (to_jax, to_torch))
        given = params, dict.fromkeys(params, hyper), *tasks
        given_torch = params_torch, dict.fromkeys(params_torch, hyper_torch), *theirs
        # with a damping the ReLU network's Hessian is positive definite, and both solves are to the rounding
        options: Any = {"num_steps": size.steps, "method": method, "damping": 4.0}

        def judged(params: Any, hyper: Any, x: Any, y: Any) -> Any:
            del hyper
            return loss(params, x, y)

        def judged_torch(params: Any, hyper: Any, x: Any, y: Any) -> Any:
            del hyper
            return loss_torch(params, x, y)

        call = functools.partial(meta.hypergradient, decayed, judged, optimizer=SGD, num_iterations=100, **options)
        twin = functools.partial(
            torch_ref.meta.hypergradient, decayed_torch, judged_torch, optimizer=SGD_TORCH, **options
        )
        return Problem(
            [
                Contender("jaxgrad", "jax", lambda: call(*given), Program(call, given)),
                Contender("torch_ref", "torch", lambda: twin(*given_torch)),
            ],
            gradient=gradient,
            agreement=SOLVED if method == "implicit" else None,
        )

    return build


def shifted(params: Any, shift: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a wave that is lifted by the hyper-parameter."""
    return loss(params, x, y + shift)


def shifted_torch(params: Any, shift: Any, x: Any, y: Any) -> Any:
    """Mean squared error of a wave that is lifted by the hyper-parameter, in torch."""
    return loss_torch(params, x, y + shift)


def evolution_problem(size: Sizes) -> Problem:
    """One window of steps, with pairs of trajectories."""
    (params, support, query), (params_torch, support_torch, query_torch), gradient = setting(size)
    inner, outer = (tuple(leaf[0] for leaf in data) for data in (support, query))
    inner_torch, outer_torch = (tuple(leaf[0] for leaf in data) for data in (support_torch, query_torch))
    shifts = np.random.default_rng(0).normal(size=(size.pairs, 1)).astype(size.dtype) * 0.1
    (hyper, samples), (hyper_torch, samples_torch) = (
        to((np.zeros(1), shifts), size.dtype) for to in (to_jax, to_torch)
    )
    options: Any = {"num_steps": size.steps, "scale": 0.1}
    call = functools.partial(meta.evolution_gradient, shifted, shifted, optimizer=SGD, **options)
    twin = functools.partial(
        torch_ref.meta.evolution_gradient, shifted_torch, shifted_torch, optimizer=SGD_TORCH, **options
    )
    given, given_torch = (params, hyper, inner, outer), (params_torch, hyper_torch, inner_torch, outer_torch)

    def estimate(params: Any, hyper: Any, inner: Any, outer: Any, samples: Any) -> Any:
        return call(params, hyper, inner, outer, samples=samples).estimate

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: estimate(*given, samples), Program(estimate, (*given, samples))),
            Contender("torch_ref", "torch", lambda: twin(*given_torch, samples=[samples_torch])[0]),
        ],
        gradient=gradient,
    )
