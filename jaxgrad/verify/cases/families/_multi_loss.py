"""Cases B: several backwards through one forward."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import gradient, multi_loss
from jaxgrad.verify import judge
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from jaxgrad.verify.judge._tolerances import PLANTED


def heads_params(trunk: tuple[int, ...], head: tuple[int, ...], count: int) -> dict[str, Any]:
    """Draw a trunk and several heads: ``{"trunk": ..., "head0": ..., ...}``."""
    heads = {f"head{k}": mlp_params((trunk[-1], *head), 10 + k) for k in range(count)}
    return {"trunk": mlp_params(trunk, 0), **heads}


def outputs(params: Any, x: Any) -> tuple[Any, ...]:
    """Return the mean output of every head, in JAX; the trunk runs once."""
    shared = jnp.tanh(mlp_jax(params["trunk"], x))
    return tuple(mlp_jax(params[f"head{k}"], shared).mean() for k in range(len(params) - 1))


def outputs_torch(params: Any, x: Any) -> tuple[Any, ...]:
    """Return the mean output of every head, in torch."""
    import torch

    shared = torch.tanh(mlp_torch(params["trunk"], x))
    return tuple(mlp_torch(params[f"head{k}"], shared).mean() for k in range(len(params) - 1))


def two_heads() -> tuple[dict[str, Any], np.ndarray]:
    """Draw the network of the cases, a trunk 2-3 and two heads 3-5-1, and one point."""
    return heads_params((2, 3), (5, 1), 2), np.array([0.5, -1.5])


def adam_states(params: Any, states: Any) -> Any:
    """Return Adam's count of steps and moments for each leaf, from optax."""
    structure: Any = jax.tree.structure(params)
    adams = [state[0] for state in structure.flatten_up_to(states)]
    return structure.unflatten([{"steps": adam.count, "m": adam.mu, "v": adam.nu} for adam in adams])


def adam_states_torch(params: Any, states: Any) -> Any:
    """Return the same from a ``state_dict``, where a leaf that was never moved has no state."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, structure = pytree.tree_flatten(params)
    found = [states["state"].get(i, {}) for i in range(len(leaves))]
    read = [
        {
            "steps": state.get("step", torch.zeros(())).int(),
            "m": state.get("exp_avg", torch.zeros_like(leaf)),
            "v": state.get("exp_avg_sq", torch.zeros_like(leaf)),
        }
        for state, leaf in zip(found, leaves, strict=True)
    ]
    return pytree.tree_unflatten(read, structure)


def head_output(params: Any, x: Any) -> Any:
    """Return the mean output of the trunk with one head, in JAX: one program for every head."""
    return mlp_jax(params["head"], jnp.tanh(mlp_jax(params["trunk"], x))).mean()


@case("B1", "The gradient of each head from one forward")
def each_head(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Trunk 2-3, heads 3-5-1; the leaves of the other head get zeros."""
    import torch_ref.multi_loss

    params, x = two_heads()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)

    def others() -> tuple[bool, str]:
        rows = multi_loss.gradients(outputs, p, point)
        leaves = [np.asarray(leaf)[1 - k] for k in (0, 1) for leaf in jax.tree.leaves(rows[f"head{k}"])]
        largest = max(float(np.abs(leaf).max()) for leaf in leaves)
        return largest == 0, f"largest entry {largest:g}"

    return [
        Quantity(
            "against backward(retain_graph=True)",
            lambda: multi_loss.losses_and_gradients(outputs, p, point),
            lambda: torch_ref.multi_loss.losses_and_gradients(outputs_torch, pt, xt),
        ),
        Criterion("the other head's leaves get exactly zero", others),
    ]


ROUNDS = 2
"""Calls in a row, so that the states of the first are seen to reach the second."""

ADAM = optax.adam(0.01)


def updated(update: Callable[..., Any], params: Any, x: Any) -> Any:
    """Return parameters and states of Adam after some rounds of updates, in JAX."""
    states = multi_loss.init_states(ADAM, params)
    for _ in range(ROUNDS):
        params, states, _ = update(outputs, params, states, x, optimizer=ADAM)
    return {"params": params, "states": adam_states(params, states)}


def updated_torch(update: Callable[..., Any], params: Any, x: Any) -> Any:
    """Return the same in torch."""
    import torch

    import torch_ref.multi_loss

    adam = functools.partial(torch.optim.Adam, lr=0.01)
    states = torch_ref.multi_loss.init_states(adam, params)
    for _ in range(ROUNDS):
        params, states, _ = update(outputs_torch, params, states, x, optimizer=adam)
    return {"params": params, "states": adam_states_torch(params, states)}


@case("B2", "Two updates in a row, both gradients from the first forward")
def simultaneous(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Adam with a state for each leaf: the trunk makes two steps a round, each head one."""
    import torch_ref.multi_loss

    params, x = two_heads()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)

    def counts() -> tuple[bool, str]:
        states = updated(multi_loss.simultaneous_updates, p, point)["states"]
        steps = {name: int(tree["layer0"]["weight"]["steps"]) for name, tree in states.items()}
        return steps == {"trunk": 2 * ROUNDS, "head0": ROUNDS, "head1": ROUNDS}, f"after {ROUNDS} rounds {steps}"

    return [
        Quantity(
            "parameters and states of Adam",
            lambda: updated(multi_loss.simultaneous_updates, p, point),
            lambda: updated_torch(torch_ref.multi_loss.simultaneous_updates, pt, xt),
        ),
        Criterion("the trunk makes two steps, each head one", counts),
    ]


@case("B3", "Two updates in a row, a fresh forward between them")
def sequential(dtype: np.dtype) -> list[Quantity | Criterion]:
    """As B2, but the second gradient is taken where the first update led."""
    import torch_ref.multi_loss

    params, x = two_heads()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)

    def distance() -> tuple[bool, str]:
        one, other = (
            updated(f, p, point)["params"] for f in (multi_loss.simultaneous_updates, multi_loss.sequential_updates)
        )
        apart = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), one, other)
        gap = judge.whole(jax.tree.leaves(apart)) / judge.whole(jax.tree.leaves(other))
        return gap > PLANTED, f"relative distance {gap:.1e}"

    return [
        Quantity(
            "parameters and states of Adam",
            lambda: updated(multi_loss.sequential_updates, p, point),
            lambda: updated_torch(torch_ref.multi_loss.sequential_updates, pt, xt),
        ),
        Criterion("differs from B2", distance),
    ]


HEADS = 8


@case("B4", "K heads, K gradients, for well under the price of K")
def many_heads(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Eight heads on one trunk: equal to eight gradients by themselves, in operations and in time below them."""
    import torch

    import torch_ref.gradient

    params = heads_params((32, 64, 64, 64), (8, 1), HEADS)
    x = np.random.default_rng(4).normal(size=(256, 32))
    (p, points), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)
    alone = [{"trunk": p["trunk"], "head": p[f"head{k}"]} for k in range(HEADS)]
    # the one program that is compared, counted and timed
    rows = jax.jit(functools.partial(multi_loss.gradients, outputs))

    def together() -> Any:
        return rows(p, points)

    def one_by_one() -> Any:
        return [gradient.parameter_gradient(head_output, params, points) for params in alone]

    def one_by_one_torch() -> Any:
        losses = [lambda q, x, k=k: outputs_torch(q, x)[k] for k in range(HEADS)]
        rows = [torch_ref.gradient.parameter_gradient(loss, pt, xt) for loss in losses]
        return jax.tree.map(lambda *leaves: torch.stack(leaves), *rows)

    def operations() -> tuple[bool, str]:
        ours = flops(rows, p, points)
        unit = flops(jax.jit(jax.grad(lambda q, x: sum(outputs(q, x)))), p, points)
        limit = (1 + 2 * HEADS) / 3
        return ours / unit <= limit, f"{ours / unit:.2f} gradients of the sum for {HEADS} losses (limit {limit:.2f})"

    def seconds() -> tuple[bool, str]:
        ratio = shortest(together) / shortest(one_by_one)
        return ratio < 0.9, f"{ratio:.2f} of the time of {HEADS} separate gradients"

    return [
        Quantity("8 gradients against 8 separate ones", together, one_by_one_torch),
        Criterion("floating-point operations", operations),
        Criterion("processor time", seconds),
    ]


def flops(compiled: Any, *args: Any) -> float:
    """Return XLA's count of the floating-point operations of a jitted function, which no noise touches."""
    costs: Any = compiled.lower(*args).compile().cost_analysis()
    return costs["flops"]


def shortest(run: Callable[[], Any], rounds: int = 15) -> float:
    """Return the shortest processor time of several runs; other work on the machine only adds to it."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    times = []
    for _ in range(rounds):
        start = clock()
        jax.block_until_ready(run())
        times.append(clock() - start)
    return min(times)
