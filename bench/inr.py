"""Rows of the family ``inr``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as pytree

import torch_ref.inr
from bench import _inr_targets
from bench._row import Contender, Problem, Program, Row
from jaxgrad import inr
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._siren import siren_jax, siren_params, siren_torch


def field(quick: bool) -> tuple[Any, np.ndarray]:
    """Draw a SIREN and points in the square."""
    sizes, points = ((2, 32, 32, 3), 64) if quick else ((2, 256, 256, 256, 256, 3), 4096)
    return siren_params(sizes, 0), np.random.default_rng(0).uniform(-1, 1, (points, 2))


def by_params(loss: Callable[..., Any], params: Any, *data: Any) -> Any:
    """Differentiate a torch loss by its parameters."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = loss(pytree.tree_unflatten(leaves, structure), *data)
    return pytree.tree_unflatten(torch.autograd.grad(value, leaves, materialize_grads=True), structure)


def derivatives_problem(quick: bool) -> Problem:
    """Three colours by two coordinates: forward through the batch against a backward pass a channel."""
    p, x = to_jax(field(quick), np.float32)
    pt, xt = to_torch(field(quick), np.float32)
    forward = jax.jit(siren_jax)
    each = jax.jit(jax.vmap(jax.jacrev(siren_jax, argnums=1), (None, 0)))
    per_point = torch.func.vmap(torch.func.jacrev(siren_torch, argnums=1), (None, 0))
    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: inr.coordinate_derivatives(siren_jax, p, x),
                Program(functools.partial(inr.coordinate_derivatives, siren_jax), (p, x)),
            ),
            Contender("vmap(jacrev)", "jax", lambda: each(p, x), Program(each, (p, x))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.coordinate_derivatives(siren_torch, pt, xt)),
            Contender("torch.func", "torch", lambda: per_point(pt, xt)),
        ],
        gradient=Contender("one forward", "jax", lambda: forward(p, x), Program(forward, (p, x))),
    )


def loss_problem(kind: str, quick: bool) -> Problem:
    """A training step's gradient by the parameters; the unit is that of fitting by value."""
    params, points = field(quick)
    rng = np.random.default_rng(1)
    targets = {"value": rng.uniform(size=(len(points), 3)), "gradient": rng.normal(size=(len(points), 3, 2))}
    p, x, wanted = to_jax((params, points, targets), np.float32)
    pt, xt, wanted_torch = to_torch((params, points, targets), np.float32)
    ours, theirs = getattr(inr, f"{kind}_loss"), getattr(torch_ref.inr, f"{kind}_loss")

    def loss(params: Any, x: Any, target: Any) -> Any:
        return ours(siren_jax, params, x, target)

    def loss_torch(params: Any, x: Any, target: Any) -> Any:
        return theirs(siren_torch, params, x, target)

    def loss_mapped(params: Any, x: Any, target: Any) -> Any:
        found = torch.func.vmap(torch.func.jacrev(siren_torch, argnums=1), (None, 0))(params, x)
        return ((found - target) ** 2).mean()

    mapped = Contender("vmap(jacrev)", "torch", lambda: by_params(loss_mapped, pt, xt, wanted_torch[kind]))
    step, unit = jax.jit(jax.grad(loss)), jax.jit(jax.grad(functools.partial(inr.value_loss, siren_jax)))
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(p, x, wanted[kind]), Program(step, (p, x, wanted[kind]))),
            Contender("torch_ref", "torch", lambda: by_params(loss_torch, pt, xt, wanted_torch[kind])),
            *([mapped] if kind == "gradient" else []),
        ],
        gradient=Contender(
            "gradient by value", "jax", lambda: unit(p, x, wanted["value"]), Program(unit, (p, x, wanted["value"]))
        ),
        agreement=1e-3,
    )


def sine_problem(quick: bool) -> Problem:
    """The sine of one layer's worth of arguments; the unit is ``jnp.sin``."""
    x = np.random.default_rng(0).uniform(-60, 60, (64, 32) if quick else (4096, 256))
    ours, theirs = to_jax(x, np.float32), to_torch(x, np.float32)
    plain = jax.jit(jnp.sin)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: inr.sine(ours), Program(inr.sine, (ours,))),
            Contender("torch_ref", "torch", lambda: torch_ref.inr.sine(theirs)),
        ],
        gradient=Contender("jnp.sin", "jax", lambda: plain(ours), Program(plain, (ours,))),
    )


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


SIZES = "SIREN 2-256x4-3, 4096 points"

ROWS = [
    Row("coordinate_derivatives", SIZES, derivatives_problem),
    Row("value_loss", f"{SIZES}, gradient by weights", functools.partial(loss_problem, "value")),
    Row("gradient_loss", f"{SIZES}, gradient by weights", functools.partial(loss_problem, "gradient")),
    Row("sine", "4096 x 256", sine_problem),
    *_inr_targets.ROWS,
    Row("psnr", "512 x 512 x 3, affine", psnr_problem),
]
