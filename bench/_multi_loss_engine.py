"""Rows of ``multi_loss``: what is made of the gradients of several losses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import torch

import torch_ref.multi_loss
from bench import _torchjd
from bench._multi_loss_setting import FULL, SMALL, TRUNK, Setting, jax_contender, losses, losses_torch, setting
from bench._row import Contender, Problem, Row, Sizes
from jaxgrad import multi_loss

__all__ = ["ROWS"]


def to_unit_norms(gram: Any) -> Any:
    """Divide every gradient by its norm."""
    return jnp.diagonal(gram) ** -0.5


def to_unit_norms_torch(gram: Any) -> Any:
    """Do the same in torch."""
    return torch.diagonal(gram) ** -0.5


def by_hand(params: Any, x: Any) -> Any:
    """Return the rows as one matrix times its transpose, as JAX users write it."""
    rows = jax.jacrev(lambda p: jnp.stack(losses(p, x)))(params)
    flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(rows)], 1)
    return flat @ flat.T


def problem(size: Sizes, make: Any) -> Problem:
    """Build the contenders on the networks of the family."""
    s = setting(size)
    return Problem(make(s), gradient=s.gradient)


def gram(s: Setting) -> list[Contender]:
    """Inner products without the rows, against those of the Jacobian."""
    theirs = functools.partial(torch_ref.multi_loss.gram, losses_torch, s.params_torch, s.x_torch)
    return [
        jax_contender("jaxgrad", functools.partial(multi_loss.gram, losses), s.params, s.x),
        jax_contender("jax.jacrev", jax.jit(by_hand), s.params, s.x),
        Contender("torch_ref", "torch", theirs),
    ]


def weighted(s: Setting) -> list[Contender]:
    """One backward of a weighted sum."""
    weights = jnp.linspace(0.5, 1.5, len(s.params) - 1, dtype=s.x.dtype)
    plain = jax.jit(jax.grad(lambda p, x, w: sum(a * b for a, b in zip(w, losses(p, x), strict=True))))
    ours = jax.jit(lambda p, x, w: multi_loss.weighted_gradient(losses, p, x, weights=w))
    return [jax_contender(name, fun, s.params, s.x, weights) for name, fun in (("jaxgrad", ours), ("jax.grad", plain))]


def aggregated(s: Setting) -> list[Contender]:
    """Products, weights, one weighted backward; the rivals hold the rows."""
    ours = functools.partial(multi_loss.aggregated_gradient, losses, weighting=to_unit_norms)
    theirs = functools.partial(torch_ref.multi_loss.aggregated_gradient, losses_torch, s.params_torch, s.x_torch)
    return [
        jax_contender("jaxgrad", ours, s.params, s.x),
        Contender("torch_ref", "torch", lambda: theirs(weighting=to_unit_norms_torch)),
        _torchjd.aggregated(losses_torch, s.params_torch, s.x_torch, weighting=to_unit_norms_torch),
    ]


def of_given_rows(s: Setting) -> list[Contender]:
    """A rule of rows that are there, a tree, against the same in torch."""
    rows = multi_loss.gradients(losses, s.params, s.x)
    theirs = torch_ref.multi_loss.gradients(losses_torch, s.params_torch, s.x_torch)
    ours = functools.partial(multi_loss.aggregate, weighting=to_unit_norms)
    twin = functools.partial(torch_ref.multi_loss.aggregate, theirs, weighting=to_unit_norms_torch)
    return [jax_contender("jaxgrad", ours, rows), Contender("torch_ref", "torch", twin)]


def kept(s: Setting) -> list[Contender]:
    """A forward that is kept, then a backward of each loss in a call of its own; torch retains its graph."""

    def ours() -> Any:
        start = multi_loss.backwards(losses, s.params, s.x)
        return [start.gradient(k) for k in range(len(s.params) - 1)]

    def theirs() -> Any:
        start = torch_ref.multi_loss.backwards(losses_torch, s.params_torch, s.x_torch)
        return [start.gradient(k) for k in range(len(s.params) - 1)]

    return [Contender("jaxgrad", "jax", ours), Contender("torch retain_graph", "torch", theirs)]


def momenta(s: Setting) -> list[Contender]:
    """One step of one loss."""
    count = len(s.params) - 1
    state = multi_loss.init_momentum(s.params, count)
    state = state._replace(momenta=multi_loss.gradients(losses, s.params, s.x), counts=state.counts + 1)
    ours = functools.partial(multi_loss.momentum_gradients, losses, weighting=to_unit_norms)
    held = torch_ref.multi_loss.init_momentum(s.params_torch, count)
    rows = [multi_loss_row(s, k) for k in range(count)]
    held |= {"momenta": rows, "counts": [1] * count}
    theirs = functools.partial(torch_ref.multi_loss.momentum_gradients, losses_torch, s.params_torch, held, s.x_torch)
    return [
        jax_contender("jaxgrad", ours, s.params, state, s.x, read=lambda result: result[0]),
        Contender("torch_ref", "torch", lambda: theirs(weighting=to_unit_norms_torch), read=lambda result: result[0]),
    ]


def multi_loss_row(s: Setting, k: int) -> Any:
    """Return a row of the gradients in torch."""
    rows = torch_ref.multi_loss.gradients(losses_torch, s.params_torch, s.x_torch)
    return jax.tree.map(lambda leaf: leaf[k], rows)


def conflicts(s: Setting) -> list[Contender]:
    """A record of a small matrix, against torch pair by pair."""
    matrix = multi_loss.gram(losses, s.params, s.x)
    theirs = torch.tensor(jax.device_get(matrix))
    return [
        jax_contender("jaxgrad", multi_loss.conflicts, matrix, read=lambda found: found._asdict()),
        Contender("torch_ref", "torch", lambda: torch_ref.multi_loss.conflicts(theirs)),
    ]


def row(name: str, make: Any, heads: int = 8) -> Row:
    """Return a row on the networks of the family."""
    return Row(
        name, f"{{heads}} heads, {TRUNK}", functools.partial(problem, make=make), {**FULL, "heads": heads}, SMALL
    )


ROWS = [
    *(row("gram", gram, heads) for heads in (2, 8)),
    row("weighted_gradient", weighted),
    *(row("aggregated_gradient", aggregated, heads) for heads in (2, 8)),
    row("aggregate", of_given_rows),
    row("backwards", kept),
    row("momentum_gradients", momenta),
    row("conflicts", conflicts),
]
