"""``python -m bench.laplace``: Laplace's approximation of a digits classifier, by EKFAC.

A network is trained with each of several weight decays, all in one program. The evidence, for which no digit is held
out, picks one; the predictive covariance of the logits then widens its predictions: they are means over logits that are
drawn from it.
"""

import functools
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from bench._command import check_picture, picture_at, run_command
from bench._digits import digits, drawn, mean_loss, network, trained
from jaxgrad import _tree, curvature

HIDDEN = 16
DECAYS = np.geomspace(1e-5, 1e-1, 9)
BINS = 10
DRAWS = 200
"""How many logits are drawn for a prediction. (The probit approximation reads the variance of each logit alone, and so
takes for uncertain what moves them all alike, which no data can tell and no prediction needs.)"""


class Quality(NamedTuple):
    """How good the probabilities of a classifier are."""

    loss: float
    """The mean negative logarithm of the probability of the right class."""
    calibration: float
    """The expected calibration error: how far confidence and accuracy are apart, over bins of equal width."""
    accuracy: float
    confidences: Any
    """Of every bin that has digits, their mean confidence."""
    accuracies: Any
    """And their accuracy."""


def quality(probabilities: Any, labels: Any) -> Quality:
    """Judge probabilities by labels."""
    p, y = np.asarray(probabilities), np.asarray(labels)
    confidence, right = p.max(1), p.argmax(1) == y
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    filled = [k for k in range(BINS) if np.any(place == k)]
    means = np.array([(confidence[place == k].mean(), right[place == k].mean()) for k in filled])
    share = np.array([np.mean(place == k) for k in filled])
    error = float(share @ np.abs(means[:, 0] - means[:, 1]))
    loss = float(-np.mean(np.log(p[np.arange(len(y)), y])))
    return Quality(loss, error, float(right.mean()), means[:, 0], means[:, 1])


@jax.jit
def curved(params: Any, x: Any, y: Any) -> Any:
    """Return the curvature of the mean loss."""
    return curvature.ekfac(network, params, x, y, kind="exact", output_loss="softmax_cross_entropy")


@jax.jit
def probabilities(params: Any, about: Any, decay: Any, size: Any, x: Any) -> tuple[Any, Any]:
    """Return the probabilities of the trained network, and those of its Laplace approximation."""
    logits = network(params, x)
    covariance = curvature.predictive_covariance(
        network, params, about, x, prior_precision=decay * size, num_examples=size, chunk=50
    )
    drawn = jax.random.multivariate_normal(jax.random.key(0), logits, covariance, (DRAWS, len(x)), method="svd")
    return jax.nn.softmax(logits), jnp.mean(jax.nn.softmax(drawn), 0)


def turned(x: Any) -> Any:
    """Turn pictures by a quarter."""
    return jnp.rot90(x.reshape(-1, 8, 8), axes=(1, 2)).reshape(x.shape)


def draw(path: Path, evidences: Any, losses: Any, pairs: dict[str, tuple[Quality, Quality]]) -> None:
    """Draw the evidence and the test loss over the decays, and the reliability of the picked network."""
    with picture_at(path, 12, 3.8) as figure:
        (left, *others) = figure.subplots(1, 3)
        first = left.semilogx(DECAYS, evidences, "o-", color="#1f4e79", label="log-evidence")
        left.set(
            xlabel="weight decay",
            ylabel="log-evidence of the training digits, nats",
            title="the evidence picks a decay",
        )
        other = left.twinx()
        second = other.semilogx(DECAYS, losses, "s--", color="#d1703c", label="test loss")
        other.set_ylabel("test loss, nats a digit")
        left.axvline(DECAYS[np.argmax(evidences)], color="0.8", zorder=0)
        left.legend(handles=[*first, *second], loc="upper left", fontsize="small")
        for axes, (title, pair), corner in zip(others, pairs.items(), ("lower right", "upper left"), strict=True):
            axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            for found, label, color in zip(pair, ("trained", "Laplace"), ("#d1703c", "#1f4e79"), strict=True):
                text = f"{label}, error {found.calibration:.3f}"
                axes.plot(found.confidences, found.accuracies, "o-", color=color, label=text)
            axes.set(xlabel="confidence", ylabel="accuracy", title=title, xlim=(0, 1.03), ylim=(0, 1.03))
            axes.legend(loc=corner, fontsize="small")


def main(
    train: Annotated[int, typer.Option(min=10, help="How many training digits.")] = 1000,
    test: Annotated[int, typer.Option(min=10, help="How many test digits.")] = 700,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Steps of Adam on the whole batch.")] = 800,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train with every decay, and print evidences, test losses and calibrations."""
    start = time.perf_counter()
    check_picture("bench.laplace", picture)
    data, tests = digits(train, test)
    sets = {"test digits": tests[0], "test digits, turned": turned(tests[0])}
    first = drawn((64, HIDDEN, 10), 0)
    every = jax.jit(jax.vmap(functools.partial(trained, steps=steps), (None, None, None, 0)))
    evidences, found = [], []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("networks", total=2 * len(DECAYS))
        stack = jax.block_until_ready(every(first, *data, jnp.asarray(DECAYS, jnp.float32)))
        progress.update(task, advance=len(DECAYS))
        for i, decay in enumerate(DECAYS):
            params = _tree.take(stack, i)
            about = curved(params, *data)
            evidence = curvature.log_evidence(
                about, params, mean_loss(params, *data), prior_precision=float(decay) * train, num_examples=train
            )
            evidences.append(float(evidence))
            both = functools.partial(probabilities, params, about, float(decay), float(train))
            pairs = {name: tuple(quality(p, tests[1]) for p in both(x)) for name, x in sets.items()}
            found.append(pairs)
            progress.update(task, advance=1)
    losses = [pairs["test digits"][0].loss for pairs in found]
    best = int(np.argmax(evidences))
    print(f"{train} training and {test} test digits, {HIDDEN} hidden units; trained -> Laplace")
    print(f"{'':24}{''.join(name.center(36) for name in sets)}")
    print(f"   decay    log-evidence{2 * ('loss'.rjust(16) + 'calibration error'.rjust(20))}")
    for i, (decay, evidence, pairs) in enumerate(zip(DECAYS, evidences, found, strict=True)):
        line = ""
        for before, after in pairs.values():
            line += f"{before.loss:7.3f} -> {after.loss:5.3f}{before.calibration:12.3f} -> {after.calibration:.3f}"
        print(f"{decay:8.1e} {evidence:15.1f}{line}{'  <- evidence' * (i == best)}")
    print(f"the evidence picks decay {DECAYS[best]:.1e}, the test loss {DECAYS[int(np.argmin(losses))]:.1e}")
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, evidences, losses, found[best])


if __name__ == "__main__":
    run_command(main)
