"""``python -m bench.sam_digits``: what SAM, ASAM and the exact SAM do to a convolutional network on digits.

A few hundred digits, some of them with a wrong label, from the same first weights and in the same order for every
method. Then, for each: the accuracy on digits that were not trained on, the largest eigenvalue of the Hessian of the
training loss, and the accuracy when every weight is moved by noise in proportion to the weights of its leaf.
"""

import functools
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench._command import check_picture, leave, picture_at, run_command
from bench._digits import digits
from jaxgrad import curvature, gradient, shift

CHANNELS = (1, 8, 16)
CLASSES = 10
BATCH, RATE, MOMENTUM = 50, 0.05, 0.9
BLOCK = 50
"""Steps in one program; Ctrl-C is heard between two of them."""
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
SHOWN = 3
"""Which noise is in the table."""
DRAWS = 16

METHODS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "SAM": {"exact": False},
    "ASAM": {"adaptive": True},
    "exact SAM": {"exact": True},
}
COLORS = ("#555555", "#1f4e79", "#d1703c", "#3b8f5a")


def convolved(x: Any, kernel: Any, bias: Any) -> Any:
    """Convolve pictures with kernels of 3 x 3: one matrix product, which XLA runs fast in a loop on a CPU."""
    height, width = x.shape[1:3]
    framed = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [framed[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, -1) @ kernel + bias


def network(params: Any, x: Any) -> Any:
    """The logits of two convolutions, a maximum over 2 x 2 pixels after the first, and a linear layer."""
    x = jax.nn.relu(convolved(x.reshape(-1, 8, 8, 1), **params["first"]))
    x = x.reshape(-1, 4, 2, 4, 2, CHANNELS[1]).max((2, 4))
    x = jax.nn.relu(convolved(x, **params["second"]))
    return x.reshape(len(x), -1) @ params["out"]["kernel"] + params["out"]["bias"]


def drawn(seed: int) -> Any:
    """Return the first weights of a seed."""
    fans = {"first": 9 * CHANNELS[0], "second": 9 * CHANNELS[1], "out": 16 * CHANNELS[2]}
    outputs = {"first": CHANNELS[1], "second": CHANNELS[2], "out": CLASSES}
    keys = dict(zip(fans, jax.random.split(jax.random.key(seed), len(fans)), strict=True))
    return {
        name: {
            "kernel": jax.random.normal(keys[name], (fans[name], outputs[name])) * np.sqrt(2 / fans[name]),
            "bias": jnp.zeros(outputs[name]),
        }
        for name in fans
    }


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network(params, x), y))


def accuracy(params: Any, x: Any, y: Any) -> Any:
    """The share of digits that are told right."""
    return jnp.mean(jnp.argmax(network(params, x), -1) == y)


def slope(name: str, radius: Any, params: Any, x: Any, y: Any) -> Any:
    """Return the gradient that a method descends along."""
    options = METHODS[name]
    if not options:
        return gradient.parameter_gradient(loss, params, x, y)
    return shift.sam_gradient(loss, params, x, y, radius=radius, **options)


@functools.partial(jax.jit, static_argnames=("name", "steps"))
def block(state: Any, data: Any, key: Any, first: Any, radius: Any, *, name: str, steps: int) -> Any:
    """Take `BLOCK` steps; what is in a batch follows from the number of the step alone."""
    optimizer = optax.sgd(optax.cosine_decay_schedule(RATE, steps), MOMENTUM)

    def step(state: Any, number: Any) -> tuple[Any, None]:
        params, moments = state
        rows = jax.random.choice(jax.random.fold_in(key, number), len(data[1]), (BATCH,), replace=False)
        updates, moments = optimizer.update(slope(name, radius, params, data[0][rows], data[1][rows]), moments)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, state, first + jnp.arange(BLOCK))[0]


class Found(NamedTuple):
    """What is known of a trained network."""

    loss: Any
    accuracy: Any
    eigenvalue: Any
    converged: Any
    noisy: Any
    """The accuracy at each of `NOISE`, the mean over `DRAWS`."""


@jax.jit
def noisy_accuracy(params: Any, x: Any, y: Any, key: Any, noise: Any) -> Any:
    """Return the mean accuracy under noise of a size relative to the root mean square of each leaf."""
    scale = jax.tree.map(lambda w: jnp.full_like(w, noise * jnp.sqrt(jnp.mean(w**2))), params)
    moves = shift.random_shifts(params, key=key, num_shifts=DRAWS, scale=scale)
    return jnp.mean(jax.vmap(lambda move: accuracy(jax.tree.map(jnp.add, params, move), x, y))(moves))


def judged(params: Any, data: Any, tests: Any, key: Any, products: int) -> Found:
    """Look at one network."""
    product = functools.partial(curvature.hvp, loss)
    pairs = curvature.eigenpairs(product, params, *data, k=1, key=key, num_products=products)
    noisy = [float(noisy_accuracy(params, *tests, key, jnp.float32(noise))) for noise in NOISE]
    return Found(
        float(loss(params, *data)),
        float(accuracy(params, *tests)),
        float(pairs.values[0]),
        bool(pairs.converged[0]),
        np.array(noisy),
    )


def labels(y: Any, wrong: float, seed: int) -> Any:
    """Return labels of which a share is wrong, each of them another digit than the right one."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(y))[: round(wrong * len(y))]
    found = np.array(y)
    found[chosen] = (found[chosen] + rng.integers(1, CLASSES, len(chosen))) % CLASSES
    return jnp.asarray(found)


def draw(path: Path, results: dict[str, Found]) -> None:
    """Draw the accuracies under noise, and the eigenvalues of all seeds."""
    with picture_at(path, 9.5, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        for i, (name, found) in enumerate(results.items()):
            rows = 100 * found.noisy
            error = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(len(NOISE))
            left.errorbar(NOISE, rows.mean(0), error, color=COLORS[i], label=name, capsize=2)
            right.semilogy(np.full(len(rows), i), found.eigenvalue, "o", color=COLORS[i], alpha=0.6)
        left.set(xlabel="noise, in the weights of a leaf", ylabel="test accuracy, %", title="moved by noise")
        left.legend(fontsize="small")
        right.set_xticks(range(len(results)), list(results))
        right.set_xlim(-0.5, len(results) - 0.5)
        right.set(ylabel="largest eigenvalue of the Hessian", title="every seed a dot")


def tell(results: dict[str, Found]) -> None:
    """Print the table: means over seeds and their standard errors."""

    def shown(rows: Any, form: str) -> str:
        error = f" +- {form.format(rows.std(ddof=1) / np.sqrt(len(rows)))}" if len(rows) > 1 else ""
        return form.format(rows.mean()) + error

    table = Table()
    noise = f"moved by {NOISE[SHOWN]:.0%}"
    for title in ("method", "training loss", "test accuracy", noise, "largest eigenvalue"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for name, found in results.items():
        table.add_row(
            name,
            shown(found.loss, "{:.3f}"),
            shown(found.accuracy, "{:.1%}"),
            shown(found.noisy[:, SHOWN], "{:.1%}"),
            shown(found.eigenvalue, "{:.3g}") + ("" if found.converged.all() else "?"),
        )
    Console().print(table)


def main(
    train: Annotated[int, typer.Option(min=BATCH, help="How many training digits.")] = 500,
    test: Annotated[int, typer.Option(min=2, help="How many test digits.")] = 1000,
    wrong: Annotated[float, typer.Option(min=0.0, max=0.9, help="The share of training labels that are wrong.")] = 0.2,
    steps: Annotated[int, typer.Option(min=BLOCK, help=f"Steps of SGD, in blocks of {BLOCK}.")] = 1500,
    seeds: Annotated[int, typer.Option(min=1, help="First weights, orders of the digits, and wrong labels.")] = 5,
    radius: Annotated[float, typer.Option(min=0.0, help="The radius of SAM and exact SAM.")] = 0.1,
    adaptive_radius: Annotated[float, typer.Option(min=0.0, help="The radius of ASAM.")] = 1.0,
    products: Annotated[int, typer.Option(min=8, help="Products with the Hessian for the eigenvalue.")] = 30,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; several times for several.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train with every method from the same weights, and print what is reached and how sharp it is there."""
    start = time.perf_counter()
    check_picture("bench.sam_digits", picture)
    names = method if method else list(METHODS)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        leave("bench.sam_digits", f"there is no method {unknown[0]!r}; the methods are {', '.join(METHODS)}")
    if steps % BLOCK:
        leave("bench.sam_digits", f"--steps {steps} is no multiple of {BLOCK}")
    (x, y), tests = digits(train, test)
    results: dict[str, Found] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("digits", total=len(names) * seeds * steps)
        for name in names:
            rows, length = [], jnp.float32(adaptive_radius if name == "ASAM" else radius)
            for seed in range(seeds):
                data, key = (x, labels(y, wrong, seed)), jax.random.key(seed)
                params = drawn(seed)
                state: Any = (params, optax.sgd(optax.constant_schedule(RATE), MOMENTUM).init(params))
                for number in range(0, steps, BLOCK):
                    state = block(state, data, key, jnp.int32(number), length, name=name, steps=steps)
                    jax.block_until_ready(state)
                    progress.update(bar, advance=BLOCK, description=f"{name}, seed {seed}")
                rows.append(judged(state[0], data, tests, key, products))
            results[name] = Found(*map(np.stack, zip(*rows, strict=True)))
    print(f"{train} digits, {wrong:.0%} of them with a wrong label; {steps} steps; {seeds} seeds; {test} test digits")
    print(f"radius {radius:g}, for ASAM {adaptive_radius:g}")
    tell(results)
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, results)


if __name__ == "__main__":
    run_command(main)
