"""``python -m bench.data_weights``: find the training digits whose labels were flipped, and train without them.

A tenth of the labels is flipped. Three scores are to find them: the derivative of a clean validation loss by the weight
of every training digit, through all of training; EKFAC's influence on the same loss; and the digit's own training loss.
Then a second training leaves out as many, the worst by each score, and is judged on digits that nothing has seen. The
results of every seed are kept in ``--folder``, so that a command that was killed goes on from there.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, picture_at, run_command
from bench._digits import accuracy, digits, drawn, loss_of_one, mean_loss, network
from bench._resume import Run
from jaxgrad import curvature, meta

COMMAND = "bench.data_weights"
HIDDEN = 16
DECAY = 3e-3
"""The weight decay, and so the damping of the curvature."""
OPTIMIZER = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(0.05, momentum=0.9))
"""Steps that are small enough for the derivative of training to mean something: at ten times the rate it finds nothing.

The command asks `meta.smoothness`, which says so.
"""
METHODS = ("data weights", "EKFAC influence", "training loss")
WITHOUT = ("none", "as many at random", *METHODS, "the flipped")
"""What the second training leaves out."""


def orders_of(kept: Any, networks: int, steps: int, batch: int, rng: Any) -> Any:
    """Return, for every network, batches from one shuffling of the kept digits after the other."""
    passes = -(-steps * batch // len(kept))
    rows = [np.concatenate([rng.permutation(kept) for _ in range(passes)]) for _ in range(networks)]
    return np.stack(rows)[:, : steps * batch].reshape(networks, steps, batch).astype(np.int32)


@jax.jit
def derivatives(firsts: Any, orders: Any, train: Any, validation: Any) -> Any:
    """Return the derivatives by the weights, through the training of every network, and the trained networks."""

    def of_one(first: Any, order: Any) -> Any:
        options: Any = {"optimizer": OPTIMIZER, "full_output": True, "memory": "nested"}
        found = meta.data_weights_gradient(loss_of_one, first, train, order, validation, **options)
        return found.gradient, found.params

    return jax.lax.map(lambda both: of_one(*both), (firsts, orders))


@jax.jit
def is_trusted(first: Any, order: Any, train: Any, validation: Any) -> Any:
    """Ask whether training is smooth enough for its derivative to mean something."""
    return meta.smoothness(loss_of_one, first, train, order, validation, optimizer=OPTIMIZER)


@jax.jit
def influences(params: Any, train: Any, validation: Any) -> Any:
    """Return EKFAC's influence of every training digit on the validation loss, the mean over the networks."""

    def of_one(params: Any) -> Any:
        inverse = curvature.ekfac(network, params, *train, kind="exact", output_loss="softmax_cross_entropy")
        return curvature.influence(loss_of_one, params, train, validation, inverse=inverse, damping=DECAY).mean(0)

    return jax.lax.map(of_one, params).mean(0)


@jax.jit
def trained(firsts: Any, orders: Any, train: Any) -> Any:
    """Train every network on its batches."""

    def batch_loss(params: Any, places: Any) -> Any:
        return mean_loss(params, *(leaf[places] for leaf in train))

    def of_one(first: Any, order: Any) -> Any:
        options: Any = {"optimizer": OPTIMIZER, "num_steps": len(order), "per_step": True}
        return meta.adapt(batch_loss, first, (order,), **options)

    return jax.vmap(of_one)(firsts, orders)


def flip(labels: Any, share: float, rng: Any) -> tuple[Any, Any]:
    """Return labels, a share of them turned into other ones, and which these are."""
    flipped = rng.permutation(len(labels))[: max(1, round(share * len(labels)))]
    labels = np.asarray(labels).copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, len(flipped))) % 10
    return jnp.asarray(labels), flipped


def of_a_seed(seed: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Flip labels, score the digits, and train anew: the whole experiment, from one seed."""
    from sklearn.metrics import roc_auc_score

    rng, count, seen = np.random.default_rng(seed), sizes["train"], sizes["validation"]
    (x, y), rest = digits(count, seen + sizes["test"], seed)
    validation, test = tuple(leaf[:seen] for leaf in rest), tuple(leaf[seen:] for leaf in rest)
    labels, flipped = flip(y, sizes["flipped"], rng)
    train, shape = (x, labels), (sizes["networks"], sizes["steps"], sizes["batch"])
    starts = [drawn((64, HIDDEN, 10), seed * sizes["networks"] + i) for i in range(sizes["networks"])]
    firsts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    orders = orders_of(np.arange(count), *shape, rng)
    slopes, params = derivatives(firsts, orders, train, validation)
    losses = jax.vmap(lambda one: loss_of_one(one, *train))(params).mean(0)
    scores = {
        name: np.asarray(score, float)
        for name, score in zip(METHODS, (slopes.mean(0), influences(params, train, validation), losses), strict=True)
    }
    smooth = is_trusted(starts[0], orders[0], train, validation)
    out = {name: np.argsort(-score, kind="stable")[: len(flipped)] for name, score in scores.items()}
    out |= {"none": [], "as many at random": rng.permutation(count)[: len(flipped)], "the flipped": flipped}

    def again(name: str) -> Any:
        kept = np.setdiff1d(np.arange(count), out[name])
        ends = trained(firsts, orders_of(kept, *shape, np.random.default_rng(seed + 1000)), train)
        ends = [jax.tree.map(lambda leaf, i=i: leaf[i], ends) for i in range(sizes["networks"])]
        return np.mean([(accuracy(end, *test), float(mean_loss(end, *test))) for end in ends], 0)

    mark = np.isin(np.arange(count), flipped)
    return {
        "areas": np.array([roc_auc_score(mark, scores[name]) for name in METHODS]),
        "again": np.stack([again(name) for name in WITHOUT]),
        "smooth": np.array([float(smooth.smoothness), float(smooth.trusted)]),
    }


def told(values: Any) -> str:
    """Return a mean over seeds, and its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.4f} +- {error:.4f}"


def draw(path: Path, areas: Any, again: Any) -> None:
    """Draw how well the flipped labels are found, and the second trainings."""
    with picture_at(path, 9, 3.6, dpi=120) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
        bars = left.bar(METHODS, areas.mean(0), color=["#1f4e79", "#7fa8d1", "0.7"], width=0.6)
        left.bar_label(bars, [f"{area:.3f}" for area in areas.mean(0)], label_type="center", color="white")
        left.set(ylabel="area under the curve", ylim=(0, 1), title="flipped labels found")
        left.tick_params(axis="x", labelsize="small")
        gain = 100 * (again[:, :, 0] - again[:, :1, 0])[:, 1:]
        error = gain.std(0, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else None
        colors = ["0.85", "#1f4e79", "#7fa8d1", "0.7", "0.4"]
        right.barh(WITHOUT[:0:-1], gain.mean(0)[::-1], xerr=None if error is None else error[::-1], color=colors[::-1])
        right.axvline(0, color="black", linewidth=0.8)
        right.set(xlabel="percentage points of test accuracy", title="gained by training without the worst")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How often the whole experiment is made.")] = 5,
    networks: Annotated[int, typer.Option(min=1, help="Starts and orders that scores are averaged over.")] = 8,
    train: Annotated[int, typer.Option(min=10, help="How many training digits.")] = 500,
    validation: Annotated[int, typer.Option(min=1, help="How many clean digits the scores see.")] = 300,
    test: Annotated[int, typer.Option(min=1, help="How many digits the second training is judged on.")] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Digits of a step.")] = 50,
    flipped: Annotated[float, typer.Option(min=0.01, max=0.5, help="The share of labels that are flipped.")] = 0.1,
    folder: Annotated[Path | None, typer.Option(help="Keep the results of every seed here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Flip labels, find them by three scores, train without the worst, and print how it went."""
    check_picture(COMMAND, picture)
    sizes = {"seeds": seeds, "networks": networks, "train": train, "validation": validation, "test": test}
    sizes |= {"steps": steps, "batch": batch, "flipped": flipped}
    digits(train, validation + test)
    run = Run(COMMAND, folder, sizes)
    results = {"areas": np.full((seeds, 3), np.nan), "again": np.full((seeds, 6, 2), np.nan)}
    results["smooth"] = np.full((seeds, 2), np.nan)
    done = run.last()
    if done:
        results = {name: np.array(rows) for name, rows in run.at(done, results).items()}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("seeds", total=seeds, completed=done)
        for seed in range(done, seeds):
            for name, row in of_a_seed(seed, sizes).items():
                results[name][seed] = row
            run.keep(seed + 1, results)
            progress.update(bar, advance=1)
    areas, again, smooth = (results[name] for name in ("areas", "again", "smooth"))
    print(f"{train} digits, {flipped:.0%} of the labels flipped; {seeds} seeds x {networks} networks of {steps} steps")
    trusted = f"its derivative trusted in {smooth[:, 1].sum():.0f} of {seeds}"
    print(f"smoothness of training {smooth[:, 0].mean():.3f}; {trusted}")
    print("area under the curve, mean over the seeds and its standard error:")
    for i, name in enumerate(METHODS):
        print(f"  {name:16} {told(areas[:, i])}")
    print(
        "second training, without the worst by each score: test accuracy, test loss, accuracy over that without none:"
    )
    for i, name in enumerate(WITHOUT):
        print(f"  {name:17} {told(again[:, i, 0])}  {told(again[:, i, 1])}  {told(again[:, i, 0] - again[:, 0, 0])}")
    if picture:
        draw(picture, areas, again)


if __name__ == "__main__":
    run_command(main)
