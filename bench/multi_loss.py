"""Rows of the family ``multi_loss``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref.multi_loss
from bench import _multi_loss_engine, _multi_loss_rules, _multi_loss_scalarizers, _torchjd
from bench._multi_loss_setting import FULL, SMALL, TRUNK, jax_contender, losses, losses_torch, setting
from bench._row import Contender, Problem, Row, Sizes
from jaxgrad import multi_loss


@jax.jit
def vmapped_pullback(params: Any, x: Any) -> Any:
    """One ``vjp`` of the stacked losses, mapped over the rows of the identity."""
    values, pullback = jax.vjp(lambda p: jnp.stack(losses(p, x)), params)
    return jax.vmap(lambda seed: pullback(seed)[0])(jnp.eye(values.size, dtype=values.dtype))


def one_loss(k: int, params: Any, x: Any) -> Any:
    """Return one of the losses."""
    return losses(params, x)[k]


def batched_torch(params: Any, x: Any) -> Any:
    """One forward, and all backwards as one batched call of autograd."""
    leaves, structure = jax.tree.flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    values = torch.stack(losses_torch(jax.tree.unflatten(structure, leaves), x))
    rows = torch.autograd.grad(values, leaves, torch.eye(len(values)), is_grads_batched=True)
    return jax.tree.unflatten(structure, rows)


def gradients_problem(size: Sizes) -> Problem:
    """K rows against torch's retained and batched backwards, and what JAX users write."""
    s, count = setting(size), size.heads
    separate = [jax.jit(jax.grad(functools.partial(one_loss, k))) for k in range(count)]

    def one_by_one() -> Any:
        return jax.tree.map(lambda *rows: jnp.stack(rows), *[gradient(s.params, s.x) for gradient in separate])

    return Problem(
        [
            jax_contender("jaxgrad", functools.partial(multi_loss.gradients, losses), s.params, s.x),
            jax_contender("together", functools.partial(multi_loss.gradients, losses, chunk=count), s.params, s.x),
            jax_contender("jax.vmap(vjp)", vmapped_pullback, s.params, s.x),
            Contender("K jitted jax.grad", "jax", one_by_one),
            Contender(
                "torch retain_graph",
                "torch",
                lambda: torch_ref.multi_loss.gradients(losses_torch, s.params_torch, s.x_torch),
            ),
            Contender("torch batched", "torch", lambda: batched_torch(s.params_torch, s.x_torch)),
            *_torchjd.rows(losses_torch, s.params_torch, s.x_torch),
        ],
        gradient=s.gradient,
    )


def updates_problem(name: str, size: Sizes) -> Problem:
    """Two losses, Adam, against the torch form; both make states of their own for each leaf."""
    s, adam = setting(size), optax.adam(1e-3)
    adam_torch = functools.partial(torch.optim.Adam, lr=1e-3)
    ours, theirs = getattr(multi_loss, name), getattr(torch_ref.multi_loss, name)
    states = multi_loss.init_states(adam, s.params)
    states_torch = torch_ref.multi_loss.init_states(adam_torch, s.params_torch)
    update = functools.partial(ours, losses, optimizer=adam)

    def moves(result: Any) -> Any:
        # the parameters hardly move, so that their difference is what must agree
        return jax.tree.map(lambda new, old: np.asarray(new) - np.asarray(old), result[0], s.params)

    return Problem(
        [
            jax_contender("jaxgrad", update, s.params, states, s.x, read=moves),
            Contender(
                "torch_ref",
                "torch",
                lambda: theirs(losses_torch, s.params_torch, states_torch, s.x_torch, optimizer=adam_torch),
                read=moves,
            ),
        ],
        gradient=s.gradient,
    )


def states_problem(size: Sizes) -> Problem:
    """A state for each leaf, against optax leaf by leaf."""
    s, adam = setting(size), optax.adam(1e-3)
    leaf_by_leaf = jax.jit(lambda params: jax.tree.map(adam.init, params))
    return Problem(
        [
            jax_contender("jaxgrad", functools.partial(multi_loss.init_states, adam), s.params),
            jax_contender("optax", leaf_by_leaf, s.params),
        ],
        gradient=s.gradient,
    )


def row(name: str, build: Callable[[Sizes], Problem], heads: int, what: str = "") -> Row:
    """Return a row on the networks of the family."""
    return Row(name, f"{{heads}} heads, {what}{TRUNK}", build, {**FULL, "heads": heads}, SMALL)


ROWS = [
    *(row("gradients", gradients_problem, heads) for heads in (2, 8)),
    *(
        row(name, functools.partial(updates_problem, name), 2, "Adam, ")
        for name in ("simultaneous_updates", "sequential_updates")
    ),
    *_multi_loss_engine.ROWS,
    row("init_states", states_problem, 2, "Adam, "),
    *_multi_loss_rules.ROWS,
    *_multi_loss_scalarizers.ROWS,
]
