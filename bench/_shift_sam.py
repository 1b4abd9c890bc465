"""Rows of the family ``shift``: SAM and its relatives, against torch's way of moving weights in place."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref.shift
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from bench._shift_problem import MLP, SMALL, InPlace, loss, loss_torch, ours, setting
from jaxgrad import shift
from jaxgrad.verify.cases.families._networks import mlp_params

__all__ = ["ROWS"]

RADIUS = 0.05


def sam_problem(size: Sizes) -> Problem:
    """SAM against the in-place form of torch's optimizers."""
    s = setting(size)
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
    )


def extragradient_problem(size: Sizes) -> Problem:
    """The extragradient against the in-place form."""
    s = setting(size)
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
    )


def exact_problem(size: Sizes) -> Problem:
    """The gradient through the perturbation, against the same written out in JAX and in torch; no library has it."""
    s = setting(size)

    @jax.jit
    def written_out(params: Any, x: Any, y: Any) -> Any:
        def at_worst(params: Any) -> Any:
            slope = jax.grad(loss)(params, x, y)
            step = RADIUS / optax.tree.norm(slope)
            return loss(jax.tree.map(lambda w, g: w + step * g, params, slope), x, y)

        return jax.grad(at_worst)(params)

    place = InPlace(s.params_torch, s.data_torch)

    def double_backward() -> Any:
        value = loss_torch(place.params, *place.data)
        slopes = torch.autograd.grad(value, place.leaves, create_graph=True)
        step = RADIUS / torch.stack([g.norm() for g in slopes]).norm()
        moved = [w + step * g for w, g in zip(place.leaves, slopes, strict=True)]
        worst = loss_torch(place.tree(moved), *place.data)
        return place.tree(torch.autograd.grad(worst, place.leaves))

    return Problem(
        [
            ours(functools.partial(shift.sam_gradient, loss, radius=RADIUS, exact=True), s.params, *s.data),
            Contender("torch, double backward", "torch", double_backward),
            Contender(
                "jax.grad, written out",
                "jax",
                lambda: written_out(s.params, *s.data),
                Program(written_out, (s.params, *s.data)),
            ),
        ],
        gradient=s.gradient,
    )


def fisher_problem(size: Sizes) -> Problem:
    """Fisher-SAM with a diagonal that is given."""
    s = setting(size)
    moves = jax.tree.map(np.square, mlp_params(size.mlp, 1))
    fisher, theirs = to_jax(moves, size.dtype), to_torch(moves, size.dtype)
    place, flat = InPlace(s.params_torch, s.data_torch), jax.tree.leaves(theirs)

    def in_place() -> Any:
        slopes = place.gradient()
        natural = torch._foreach_div(slopes, torch._foreach_add(flat, 1.0))
        square = torch.stack([(a * b).sum() for a, b in zip(slopes, natural, strict=True)]).sum()
        return place.tree(place.at(torch._foreach_mul(natural, RADIUS / square.sqrt())))

    return Problem(
        [
            ours(functools.partial(shift.fisher_sam_gradient, loss, radius=RADIUS), s.params, fisher, *s.data),
            Contender("torch in place", "torch", in_place),
        ],
        gradient=s.gradient,
    )


def looksam_problem(size: Sizes, step: int = 1) -> Problem:
    """A step between two looks, whose price is that of one gradient."""
    s = setting(size)
    moves = mlp_params(size.mlp, 1)
    state = shift.LookSAMState(jnp.asarray(step), to_jax(moves, size.dtype))
    place, flat = InPlace(s.params_torch, s.data_torch), jax.tree.leaves(to_torch(moves, size.dtype))

    def in_place() -> Any:
        slopes = place.gradient()
        size, kept = (torch.stack(torch._foreach_norm(tree)).norm() for tree in (slopes, flat))
        return place.tree(torch._foreach_add(slopes, torch._foreach_mul(flat, 0.7 * size / kept)))

    call = ours(functools.partial(shift.looksam_gradient, loss, radius=RADIUS), s.params, state, *s.data)
    return Problem(
        [
            Contender(call.name, "jax", call.run, call.program, read=lambda result: result[0]),
            Contender("torch in place", "torch", in_place),
        ],
        gradient=s.gradient,
    )


def msam_problem(size: Sizes) -> Problem:
    """Momentum-SAM: one gradient, along a trace."""
    s = setting(size)
    moves = mlp_params(size.mlp, 1)
    state = shift.MSAMState(to_jax(moves, size.dtype))
    place, flat = InPlace(s.params_torch, s.data_torch), jax.tree.leaves(to_torch(moves, size.dtype))

    def in_place() -> Any:
        scale = RADIUS / torch.stack(torch._foreach_norm(flat)).norm()
        slopes = place.at(torch._foreach_mul(flat, scale))
        return place.tree(slopes), place.tree(torch._foreach_add(torch._foreach_mul(flat, 0.9), slopes))

    call = ours(functools.partial(shift.msam_gradient, loss, radius=RADIUS), s.params, state, *s.data)
    return Problem(
        [
            Contender(call.name, "jax", call.run, call.program, read=lambda result: (result[0], result[1].trace)),
            Contender("torch in place", "torch", in_place),
        ],
        gradient=s.gradient,
    )


def transform_problem(size: Sizes) -> Problem:
    """A whole step of SGD with momentum on SAM's gradients, against `optax.contrib.sam` and torch in place."""
    s, base = setting(size), optax.sgd(0.1, momentum=0.9)
    mine = shift.sam_transform(base, radius=RADIUS)
    climbing = optax.chain(optax.contrib.normalize(), optax.sgd(RADIUS))
    theirs = optax.contrib.sam(base, climbing, sync_period=2, opaque_mode=True)
    place = InPlace(s.params_torch, s.data_torch)
    traces = [torch.zeros_like(leaf) for leaf in place.leaves]

    def step(optimizer: Any) -> Any:
        @jax.jit
        def one(params: Any, state: Any, x: Any, y: Any) -> Any:
            def grad_fn(p: Any, *_: Any) -> Any:
                return jax.grad(loss)(p, x, y)

            return optimizer.update(grad_fn(params), state, params, grad_fn=grad_fn)

        return one

    def in_place() -> Any:
        slopes = place.gradient()
        slopes = place.at(torch._foreach_mul(slopes, RADIUS / torch.stack(torch._foreach_norm(slopes)).norm()))
        trace = torch._foreach_add(torch._foreach_mul(traces, 0.9), slopes)
        return place.tree(torch._foreach_mul(trace, -0.1))

    def contender(name: str, optimizer: Any) -> Contender:
        run, args = step(optimizer), (s.params, optimizer.init(s.params), *s.data)
        return Contender(name, "jax", lambda: run(*args), Program(run, args), read=lambda result: result[0])

    return Problem(
        [
            contender("jaxgrad", mine),
            Contender("torch in place", "torch", in_place),
            contender("optax.contrib.sam", theirs),
        ],
        gradient=s.gradient,
    )


SIZES = "MLP {mlp}, batch {batch}"

ROWS = [
    Row("sam_gradient", SIZES, sam_problem, MLP, SMALL),
    Row("sam_gradient, exact", SIZES, exact_problem, MLP, SMALL),
    Row("fisher_sam_gradient", SIZES, fisher_problem, MLP, SMALL),
    Row("looksam_gradient", f"{SIZES}, between two looks", looksam_problem, MLP, SMALL),
    Row("msam_gradient", SIZES, msam_problem, MLP, SMALL),
    Row("sam_transform", f"{SIZES}, SGD with momentum", transform_problem, MLP, SMALL),
    Row("extragradient", SIZES, extragradient_problem, MLP, SMALL),
]
