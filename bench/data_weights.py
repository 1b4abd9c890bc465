"""``python -m bench.data_weights``: find the training digits whose labels were flipped, and train without them.

A tenth of the labels is flipped. Three scores are to find them: the derivative of a clean validation loss by the weight
of every training digit, through all of training; EKFAC's influence on the same loss; and the digit's own training loss.
Then a second training leaves out the worst tenth by each score, and is judged on digits that nothing has seen. The
results of every seed are kept in ``--folder``, so that a command that was killed goes on from there.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_folder, leave, picture_at
from bench._digits import accuracy, digits, drawn, loss_of_one, mean_loss, network
from jaxgrad import curvature, meta

COMMAND = "bench.data_weights"
HIDDEN = 16
DECAY = 3e-3
"""The weight decay, and so the damping of the curvature."""
OPTIMIZER = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(0.5, momentum=0.9))
"""Steps that are large for training and small enough for its derivative to mean something, as the command says."""
METHODS = ("data weights", "EKFAC influence", "training loss")
WITHOUT = ("none", "a random tenth", *METHODS, "the flipped")
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


def of_a_seed(seed: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Flip labels, score the digits, and train anew: the whole experiment, from one seed."""
    from sklearn.metrics import roc_auc_score

    rng, count = np.random.default_rng(seed), sizes["train"]
    (x, y), rest = digits(count, sizes["validation"] + sizes["test"], seed)
    validation, test = ([leaf[s] for leaf in rest] for s in (np.s_[: sizes["validation"]], np.s_[sizes["validation"] :]))
    validation = tuple(validation)
    worst = max(1, round(sizes["flipped"] * count))
    flipped = rng.permutation(count)[:worst]
    labels = np.asarray(y).copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, worst)) % 10
    train = x, jnp.asarray(labels)
    shape = sizes["networks"], sizes["steps"], sizes["batch"]
    starts = [drawn((64, HIDDEN, 10), seed * sizes["networks"] + i) for i in range(sizes["networks"])]
    firsts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    orders = orders_of(np.arange(count), *shape, rng)
    slopes, params = derivatives(firsts, orders, train, validation)
    losses = jax.vmap(lambda one: loss_of_one(one, *train))(params).mean(0)
    scores = dict(zip(METHODS, (slopes.mean(0), influences(params, train, validation), losses), strict=True))
    mark = np.isin(np.arange(count), flipped)
    smooth = is_trusted(starts[0], orders[0], train, validation)
    out = {name: np.argsort(-np.asarray(score), kind="stable")[:worst] for name, score in scores.items()}
    out |= {"none": [], "a random tenth": rng.permutation(count)[:worst], "the flipped": flipped}
    again = {}
    for name in WITHOUT:
        kept = np.setdiff1d(np.arange(count), out[name])
        ends = trained(firsts, orders_of(kept, *shape, np.random.default_rng(seed + 1000)), train)
        ends = [jax.tree.map(lambda leaf, i=i: leaf[i], ends) for i in range(sizes["networks"])]
        again[name] = np.mean([(accuracy(end, *test), float(mean_loss(end, *test))) for end in ends], 0)
    return {
        "areas": np.array([roc_auc_score(mark, np.asarray(scores[name], float)) for name in METHODS]),
        "again": np.stack([again[name] for name in WITHOUT]),
        "smooth": np.array([float(smooth.smoothness), float(smooth.trusted)]),
    }


def opened(folder: Path | None, sizes: dict[str, Any]) -> None:
    """Make the folder, or take up the one of an earlier run of the same sizes."""
    if folder is None:
        return
    check_folder(COMMAND, folder)
    if folder.exists() and not folder.is_dir():
        leave(COMMAND, f"--folder must be a directory; {folder} is a file")
    folder.mkdir(exist_ok=True)
    told = folder / "run.json"
    if told.exists():
        before = json.loads(told.read_text())
        other = [f"--{name} {before.get(name)}" for name in sizes if before.get(name) != sizes[name]]
        if other:
            leave(COMMAND, f"{folder} holds a run with {', '.join(other)}: name another --folder, or ask for the same")
    elif any(file.suffix != ".part" for file in folder.iterdir()):
        leave(COMMAND, f"{folder} holds files, and none of them is run.json of this command: name another --folder")
    else:
        write(told, lambda file: file.write(json.dumps(sizes).encode()))


def write(path: Path, fill: Any) -> None:
    """Write a file so that it is there as a whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def kept(folder: Path | None, seed: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the results of a seed, those of an earlier run where they are there."""
    path = None if folder is None else folder / f"seed{seed}.npz"
    if path is not None and path.exists():
        with np.load(path) as found:
            return dict(found)
    results = of_a_seed(seed, sizes)
    if path is not None:
        write(path, lambda file: np.savez(file, **results))
    return results


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
        right.set(xlabel="percentage points of test accuracy", title="gained by training without the worst tenth")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How often the whole experiment is made.")] = 5,
    networks: Annotated[int, typer.Option(min=1, help="First parameters and orders that scores are averaged over.")] = 4,
    train: Annotated[int, typer.Option(min=10, help="How many training digits.")] = 500,
    validation: Annotated[int, typer.Option(min=1, help="How many clean digits the scores see.")] = 300,
    test: Annotated[int, typer.Option(min=1, help="How many digits the second training is judged on.")] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Digits of a step.")] = 50,
    flipped: Annotated[float, typer.Option(min=0.01, max=0.5, help="The share of labels that are flipped.")] = 0.1,
    folder: Annotated[Path | None, typer.Option(help="Keep the results of every seed here, and go on from them.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Flip labels, find them by three scores, train without the worst, and print how it went."""
    check_folder(COMMAND, picture)
    sizes = {"networks": networks, "train": train, "validation": validation, "test": test, "steps": steps}
    sizes |= {"batch": batch, "flipped": flipped}
    digits(train, validation + test)
    opened(folder, sizes)
    results = []
    with Progress(console=Console(stderr=True)) as progress:
        for seed in progress.track(range(seeds), description="seeds"):
            results.append(kept(folder, seed, sizes))
    areas, again, smooth = (np.stack([result[name] for result in results]) for name in ("areas", "again", "smooth"))
    print(f"{train} digits, {flipped:.0%} of the labels flipped; {seeds} seeds x {networks} networks of {steps} steps")
    print(f"smoothness of training {smooth[:, 0].mean():.3f}; its derivative trusted in {smooth[:, 1].sum():.0f} of {seeds}")
    print("area under the curve, mean over the seeds and its standard error:")
    for i, name in enumerate(METHODS):
        print(f"  {name:16} {told(areas[:, i])}")
    print("second training, without the worst by each score: test accuracy, test loss, accuracy over that without none:")
    for i, name in enumerate(WITHOUT):
        print(f"  {name:16} {told(again[:, i, 0])}  {told(again[:, i, 1])}  {told(again[:, i, 0] - again[:, 0, 0])}")
    if picture:
        draw(picture, areas, again)


if __name__ == "__main__":
    typer.run(main)
