"""Rows of the derivatives of fields, of the losses made of them, and of waves."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as pytree

import torch_ref.inr
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import inr
from jaxgrad.verify.cases.families._siren import siren_jax, siren_params, siren_torch

__all__ = ["ROWS"]


def field(size: Sizes) -> tuple[Any, np.ndarray]:
    """Draw a SIREN and points in the square."""
    return siren_params(size.siren, 0), np.random.default_rng(0).uniform(-1, 1, (size.points, 2))


def by_params(loss: Callable[..., Any], params: Any, *data: Any) -> Any:
    """Differentiate a torch loss by its parameters."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = loss(pytree.tree_unflatten(leaves, structure), *data)
    return pytree.tree_unflatten(torch.autograd.grad(value, leaves, materialize_grads=True), structure)


def last(found: Any) -> Any:
    """Return the derivatives of the highest order alone."""
    return [part for part in found if part is not None][-1]


def derivatives_problem(second: Literal["laplacian", "hessian"] | None, size: Sizes) -> Problem:
    """Three colours by two coordinates: carried through the batch, against a backward pass a channel and slope."""
    p, x = to_jax(field(size), size.dtype)
    pt, xt = to_torch(field(size), size.dtype)
    forward = jax.jit(siren_jax)
    run = functools.partial(inr.coordinate_derivatives, siren_jax, second=second)
    run_torch = functools.partial(torch_ref.inr.coordinate_derivatives, siren_torch, second=second)
    nested, nested_torch = MAPPED[second], MAPPED_TORCH[second]
    each = jax.jit(jax.vmap(nested(siren_jax), (None, 0)))
    each_torch = torch.func.vmap(nested_torch(siren_torch), (None, 0))
    name = "hessian" if second else "jacrev"
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: run(p, x), Program(run, (p, x)), last),
            Contender(f"vmap({name})", "jax", lambda: each(p, x), Program(each, (p, x))),
            Contender("torch_ref", "torch", lambda: run_torch(pt, xt), read=last),
            Contender(f"torch.func.{name}", "torch", lambda: each_torch(pt, xt)),
        ],
        gradient=Contender("one forward", "jax", lambda: forward(p, x), Program(forward, (p, x))),
    )


def trace_of(hessian: Callable[..., Any], trace: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the function of a point that sums the diagonal of every channel's Hessian."""
    return lambda f: lambda params, x: trace(hessian(f, argnums=1)(params, x))


def trace_torch(hessians: torch.Tensor) -> torch.Tensor:
    """Sum the diagonals of the last two axes."""
    return torch.diagonal(hessians, dim1=-2, dim2=-1).sum(-1)


MAPPED: dict[str | None, Callable[..., Any]] = {
    None: functools.partial(jax.jacrev, argnums=1),
    "laplacian": trace_of(jax.hessian, lambda h: jnp.trace(h, axis1=-2, axis2=-1)),
    "hessian": functools.partial(jax.hessian, argnums=1),
}
MAPPED_TORCH: dict[str | None, Callable[..., Any]] = {
    None: functools.partial(torch.func.jacrev, argnums=1),
    "laplacian": trace_of(torch.func.hessian, trace_torch),
    "hessian": functools.partial(torch.func.hessian, argnums=1),
}
"""What users write instead, for a point that is mapped over."""

SHAPES = {"values": (3,), "gradients": (3, 2), "laplacians": (3,)}
"""The targets of each loss, at one point."""


def loss_problem(name: str, wanted: tuple[str, ...], second: str | None, size: Sizes) -> Problem:
    """A training step's gradient by the parameters; the unit is that of fitting by value."""
    params, points = field(size)
    rng = np.random.default_rng(1)
    drawn = {key: rng.normal(size=(len(points), *shape)) for key, shape in SHAPES.items()}
    p, x, targets = to_jax((params, points, drawn), size.dtype)
    pt, xt, targets_torch = to_torch((params, points, drawn), size.dtype)
    ours, theirs = getattr(inr, name), getattr(torch_ref.inr, name)

    def given(all_targets: Any) -> tuple[list[Any], dict[str, Any]]:
        chosen = {key: all_targets[key] for key in wanted}
        return ([], chosen) if name == "combined_loss" else (list(chosen.values()), {})

    def loss(params: Any, x: Any, targets: Any) -> Any:
        positional, named = given(targets)
        return ours(siren_jax, params, x, *positional, **named)

    def loss_torch(params: Any, x: Any, targets: Any) -> Any:
        positional, named = given(targets)
        return theirs(siren_torch, params, x, *positional, **named)

    def loss_mapped(params: Any, x: Any, targets: Any) -> Any:
        found = torch.func.vmap(MAPPED_TORCH[second](siren_torch), (None, 0))(params, x)
        return ((found - targets[wanted[0]]) ** 2).mean()

    step, unit = jax.jit(jax.grad(loss)), jax.jit(jax.grad(functools.partial(inr.value_loss, siren_jax)))
    mapped = Contender("vmap", "torch", lambda: by_params(loss_mapped, pt, xt, targets_torch))
    by_value = (p, x, targets["values"])
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(p, x, targets), Program(step, (p, x, targets))),
            Contender("torch_ref", "torch", lambda: by_params(loss_torch, pt, xt, targets_torch)),
            *([mapped] if name in ("gradient_loss", "laplacian_loss") else []),
        ],
        gradient=Contender("gradient by value", "jax", lambda: unit(*by_value), Program(unit, by_value)),
    )


def sine_problem(size: Sizes) -> Problem:
    """The sine of one layer's worth of arguments; the unit is ``jnp.sin``."""
    return waves_problem(inr.sine, torch_ref.inr.sine, jax.jit(jnp.sin), "jnp.sin", size)


def sine_cosine_problem(size: Sizes) -> Problem:
    """The sine and the cosine of one layer's worth of arguments; the unit is jnp's two."""
    plain = jax.jit(lambda x: (jnp.sin(x), jnp.cos(x)))
    return waves_problem(inr.sine_cosine, torch_ref.inr.sine_cosine, plain, "jnp.sin, jnp.cos", size)


def waves_problem(ours: Any, theirs: Any, plain: Any, name: str, size: Sizes) -> Problem:
    """Compare waves on arguments of a SIREN's size."""
    drawn = np.random.default_rng(0).uniform(-60, 60, (size.points, size.width))
    x, xt = to_jax(drawn, size.dtype), to_torch(drawn, size.dtype)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(x), Program(ours, (x,))),
            Contender("torch_ref", "torch", lambda: theirs(xt)),
        ],
        gradient=Contender(name, "jax", lambda: plain(x), Program(plain, (x,))),
    )


SIZES = "SIREN {siren}, {points} points"
TRAINED = f"{SIZES}, gradient by weights"
ALL = ("values", "gradients", "laplacians")
FULL, SMALL = {"siren": (2, 256, 256, 256, 256, 3), "points": 4096}, {"siren": (2, 32, 32, 3), "points": 64}
WAVES, FEW = {"points": 4096, "width": 256}, {"points": 64, "width": 32}


def row(name: str, template: str, build: Callable[..., Problem], *given: Any) -> Row:
    """Return a row on the field of the family."""
    return Row(name, template, functools.partial(build, *given), FULL, SMALL, {"points": 512})


ROWS = [
    row("coordinate_derivatives", SIZES, derivatives_problem, None),
    row("coordinate_derivatives", f"{SIZES}, Laplacian", derivatives_problem, "laplacian"),
    row("coordinate_derivatives", f"{SIZES}, Hessian", derivatives_problem, "hessian"),
    row("value_loss", TRAINED, loss_problem, "value_loss", ("values",), None),
    row("gradient_loss", TRAINED, loss_problem, "gradient_loss", ("gradients",), None),
    row("laplacian_loss", TRAINED, loss_problem, "laplacian_loss", ("laplacians",), "laplacian"),
    row("combined_loss", f"{TRAINED}, all three", loss_problem, "combined_loss", ALL, None),
    row("eikonal_loss", TRAINED, loss_problem, "eikonal_loss", (), None),
    Row("sine", "{points} x {width}", sine_problem, WAVES, FEW),
    Row("sine_cosine", "{points} x {width}", sine_cosine_problem, WAVES, FEW),
]
