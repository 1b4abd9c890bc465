"""``python -m bench.pinn``: a clamped beam by a physics-informed network, and the price of its fourth derivatives.

The static Euler-Bernoulli beam ``u'''' = q`` on ``[0, 1]``, clamped at both ends, under the load for which
``u(x) = sin(pi x)^2`` solves it: ``q(x) = -8 pi^4 cos(2 pi x)``. The boundary conditions hold by construction,
``u(x) = (x (1 - x))^2 N(x)``, so the loss is the mean square of the residual alone. The same network is timed
in torch with nested ``autograd.grad``, on one thread.
"""

import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, picture_at, run_command
from jaxgrad import nth
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch
from jaxgrad.verify.judge import compare, worst

SIZES = (1, 64, 64, 64, 1)
POINTS = 1024
SCALE = 8 * np.pi**4


def deflection(x: Any, params: Any) -> Any:
    """The beam's deflection at the points ``x``, with both clamped ends built in."""
    return (x * (1 - x)) ** 2 * 16 * mlp_jax(params, 2 * x[:, None] - 1)[:, 0]


def loss(params: Any, x: Any) -> Any:
    """Mean square of the residual, in units of the load."""
    bending = nth.derivative(deflection, x, 4, params)
    return jnp.mean((bending / SCALE + jnp.cos(2 * jnp.pi * x)) ** 2)


def loss_torch(params: Any, x: Any) -> Any:
    """The same by nested ``autograd.grad``."""
    x = x.detach().requires_grad_()
    row = (x * (1 - x)) ** 2 * 16 * mlp_torch(params, 2 * x[:, None] - 1)[:, 0]
    for _ in range(4):
        (row,) = torch.autograd.grad(row.sum(), x, create_graph=True)
    return ((row / SCALE + torch.cos(2 * torch.pi * x.detach())) ** 2).mean()


def step_torch(params: Any, x: Any) -> list[Any]:
    """Return the gradient of one training step in torch."""
    leaves = [leaf.requires_grad_() for layer in params.values() for leaf in layer.values()]
    return list(torch.autograd.grad(loss_torch(params, x), leaves))


def seconds(run: Any, calls: int) -> float:
    """Return the median time of a call."""
    samples = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(run())
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def compare_steps(params: Any, x: Any) -> tuple[float, float]:
    """Return the seconds of one gradient of the loss, ours and torch's, after they have agreed."""
    gradient = jax.jit(jax.grad(loss))
    params_torch, x_torch = to_torch(params), to_torch(x)
    ours = gradient(params, x)
    theirs = iter(step_torch(params_torch, x_torch))
    tree = {name: {key: next(theirs) for key in layer} for name, layer in params_torch.items()}
    difference = worst(compare(ours, tree))
    assert difference.error < 1e-2, f"the two gradients differ: {difference}"
    return seconds(lambda: gradient(params, x), 30), seconds(lambda: step_torch(params_torch, x_torch), 5)


def train(params: Any, x: Any, steps: int) -> tuple[Any, list[float]]:
    """Train by Adam with a falling rate, a hundred steps in one program."""
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))
    losses, state, block = [], optimizer.init(params), 100

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, x)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    hundred = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=block))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("beam", total=steps)
        for _ in range(max(1, steps // block)):
            (params, state), values = hundred((params, state))
            losses.append(float(values[-1]))
            progress.update(task, advance=block, description=f"beam, residual {losses[-1]:.1e}")
    return params, losses


def draw(path: Path, x: Any, found: Any, exact: Any, losses: list[float]) -> None:
    """Draw the deflection, its error and the residual over the steps."""
    with picture_at(path, 11, 3) as figure:
        (left, middle, right) = figure.subplots(1, 3)
        left.plot(x, exact, label="closed form")
        left.plot(x, found, "--", label="network")
        left.set(title="deflection", xlabel="x")
        left.legend()
        middle.plot(x, found - exact)
        middle.set(title="error", xlabel="x")
        right.semilogy(100 * np.arange(1, len(losses) + 1), losses)
        right.set(title="mean square residual", xlabel="step")


def main(
    steps: Annotated[int, typer.Option(min=100, help="Training steps of Adam, in hundreds.")] = 5000,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train the network, and print its error against the closed form and the time of a step."""
    check_picture("bench.pinn", picture)
    torch.set_num_threads(1)
    params, x = to_jax((mlp_params(SIZES, 0), np.linspace(0, 1, POINTS)), np.float32)
    ours, theirs = compare_steps(params, x)
    print(
        f"gradient of the loss: {1e3 * ours:.2f} ms; torch nested autograd {1e3 * theirs:.1f} ms, {theirs / ours:.1f}x"
    )
    start = time.perf_counter()
    params, losses = train(params, x, steps)
    print(f"{len(losses) * 100} steps in {time.perf_counter() - start:.1f} s, mean square residual {losses[-1]:.2e}")
    found, exact = np.asarray(deflection(x, params)), np.sin(np.pi * np.asarray(x, np.float64)) ** 2
    print(f"relative L2 error of the deflection: {np.linalg.norm(found - exact) / np.linalg.norm(exact):.2e}")
    if picture:
        draw(picture, np.asarray(x), found, exact, losses)


if __name__ == "__main__":
    run_command(main)
