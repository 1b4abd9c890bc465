"""``python -m bench.influence``: which training digits does a network owe its test losses to?

Judged by the linear data-modelling score: the network is trained anew on random halves of the training digits, and for
every test digit the rank correlation is taken, over these halves, between its loss and what the influences of the
members of the half foretell. Everything is averaged over several first parameters, the losses and the influences.
"""

import functools
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, leave, picture_at, run_command
from bench._digits import accuracy, digits, drawn, loss_of_one, network, trained
from jaxgrad import curvature

HIDDEN = 16
DECAY = 3e-3
"""The weight decay of the objective, and so the damping of its curvature."""
METHODS = ("gradient dot", "CG", "EKFAC", "EKFAC + CG")
TOGETHER = 25
"""How many networks one program trains."""


def losses_of_halves(halves: Any, start: Any, train: Any, test: Any, steps: int) -> Any:
    """Train a network on each half, all at once, and return their test losses: ``(halves, tests)``."""

    def of_one(half: Any) -> Any:
        params = trained(start, train[0][half], train[1][half], DECAY, steps)
        return loss_of_one(params, *test)

    return jax.vmap(of_one)(halves)


def scores(method: str, params: Any, train: Any, test: Any, products: int) -> Any:
    """Return the influence of every training digit on every test loss, by one of the methods."""
    influence = functools.partial(curvature.influence, loss_of_one, params, train, test)
    if method == "gradient dot":
        return influence()

    def ekfac() -> Any:
        return curvature.ekfac(network, params, *train, kind="exact", output_loss="softmax_cross_entropy")

    if method == "EKFAC":
        return influence(inverse=ekfac(), damping=DECAY)
    preconditioner = ekfac() if method == "EKFAC + CG" else None

    def ggn(params: Any, vector: Any) -> Any:
        return curvature.ggn_product(network, params, vector, *train, output_loss="softmax_cross_entropy")

    def solved(vector: Any) -> Any:
        return curvature.solve(
            ggn, params, vector, damping=DECAY, preconditioner=preconditioner, max_products=products
        ).solution

    return influence(inverse=solved)


def rank_correlations(foretold: Any, measured: Any) -> Any:
    """Return Spearman's correlation of the columns of two matrices."""

    def ranks(matrix: Any) -> Any:
        order = np.argsort(np.argsort(matrix, 0), 0).astype(float)
        centred = order - order.mean(0)
        return centred / np.linalg.norm(centred, axis=0)

    return np.sum(ranks(foretold) * ranks(measured), 0)


def interval(values: Any, rng: Any) -> tuple[float, float, float]:
    """Return a mean and the ends of its 95% bootstrap interval."""
    means = rng.choice(values, (2000, len(values))).mean(1)
    return float(values.mean()), *map(float, np.quantile(means, (0.025, 0.975)))


def draw(path: Path, rows: dict[str, tuple[float, float, float]], title: str) -> None:
    """Draw a bar for each method, with its interval."""
    with picture_at(path, 6, 3.6, dpi=120) as figure:
        axes = figure.subplots()
        means = np.array([row[0] for row in rows.values()])
        errors = np.abs(np.array([row[1:] for row in rows.values()]).T - means)
        bars = axes.bar(
            list(rows), means, yerr=errors, capsize=4, color=["0.7", "#7fa8d1", "#4a7fb5", "#1f4e79"], width=0.6
        )
        axes.bar_label(bars, [f"{mean:.2f}" for mean in means], label_type="center", color="white", fontweight="bold")
        axes.set(ylabel="linear data-modelling score", ylim=(min(0, means.min()), 1))
        axes.set_title(title, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)


def main(
    models: Annotated[
        int, typer.Option(min=4, max=100_000, help="How many halves a network is trained on, for every seed.")
    ] = 100,
    seeds: Annotated[
        int, typer.Option(min=1, max=1_000, help="How many first parameters the results are averaged over.")
    ] = 2,
    train: Annotated[int, typer.Option(min=8, help="How many training digits.")] = 512,
    test: Annotated[int, typer.Option(min=2, help="How many test digits.")] = 100,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Steps of Adam on the whole batch.")] = 600,
    products: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many products a solve may take.")] = 10,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train on halves, and print how well each method foretold the losses."""
    command, start = "bench.influence", time.perf_counter()
    check_picture(command, picture)
    if train % 2:
        leave(command, f"--train must be even, so that it has halves; got {train}")
    data, tests = digits(train, test)
    rng = np.random.default_rng(0)
    halves = np.stack([rng.permutation(train)[: train // 2] for _ in range(models)])
    retrain = jax.jit(losses_of_halves, static_argnums=4)
    whole = jax.jit(trained, static_argnums=(4, 5))
    measured, foretold = np.zeros((models, test)), {method: np.zeros((test, train)) for method in METHODS}
    with Progress(console=Console(stderr=True)) as progress:
        training = progress.add_task("networks on halves", total=seeds * models)
        methods = progress.add_task("influences", total=seeds * len(METHODS))
        for seed in range(seeds):
            first = drawn((64, HIDDEN, 10), seed)
            for at in range(0, models, TOGETHER):
                # the last chunk is filled up, so that there is one program
                chosen = jnp.asarray(np.resize(halves[at : at + TOGETHER], (TOGETHER, train // 2)))
                losses = retrain(chosen, first, data, tests, steps)
                measured[at : at + TOGETHER] += np.asarray(losses)[: models - at] / seeds
                progress.update(training, advance=min(TOGETHER, models - at))
            params = whole(first, *data, DECAY, steps, 1e-2)
            told = f"seed {seed}: test accuracy {accuracy(params, *tests):.1%}"
            for method in METHODS:
                foretold[method] += np.asarray(
                    jax.jit(scores, static_argnums=(0, 4))(method, params, data, tests, products)
                )
                progress.update(methods, advance=1)
            print(told)
    member = np.zeros((models, train))
    np.put_along_axis(member, halves, 1, axis=1)
    each = {method: rank_correlations(member @ found.T, measured) for method, found in foretold.items()}
    rows = {method: interval(values, rng) for method, values in each.items()}
    print(f"{models} halves of {train} digits x {seeds} seeds = {models * seeds} networks retrained, {test} tests")
    print("linear data-modelling score, mean over the tests and its 95% interval:")
    for method, (mean, low, high) in rows.items():
        print(f"  {method:14} {mean:.3f}  {low:.3f} to {high:.3f}")
    for better, worse in (("EKFAC + CG", "EKFAC"), ("EKFAC", "gradient dot")):
        mean, low, high = interval(each[better] - each[worse], rng)
        print(f"  {better} over {worse}: {mean:+.3f}  {low:+.3f} to {high:+.3f}")
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, rows, f"digits, {models * seeds} networks retrained on halves")


if __name__ == "__main__":
    run_command(main)
