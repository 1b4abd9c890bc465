"""``python -m bench.few_shot``: digits of classes that were never trained on, told apart from a few examples of each.

Seven digits are for training and three for testing, each in its four quarter turns, which count as classes of their
own, as in the protocol of Omniglot: 28 classes and 12. A task takes five classes, one or a few examples of each to
adapt to, and others to be judged on. One network, one stream of tasks and as many of them for every method: MAML,
first-order MAML, ANIL (only the last layer moves), Meta-SGD (learned rates), Reptile, and implicit MAML.
"""

import functools
import time
from collections.abc import Callable
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
from bench._digits import drawn
from bench._resume import Run
from jaxgrad import meta
from jaxgrad.verify.cases.families._networks import mlp_jax

WAYS, TASKS, QUERIES = 5, 16, 10
SIZES = (64, 64, 64, WAYS)
HELD_OUT = (7, 8, 9)
OUTER = optax.adam(1e-3)
BLOCK = 100
"""Meta-steps in one program; a run is kept after each."""


def network(params: Any, x: Any) -> Any:
    """The logits of a ReLU network."""
    return mlp_jax(params, x, jax.nn.relu)


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy on one task."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network(params, x), y))


def classes(held_out: bool) -> Any:
    """Return the pictures of the classes of one side, of shape ``(classes, examples, 64)``."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32).reshape(-1, 8, 8)
    each = min(np.bincount(labels))
    groups = [pictures[labels == digit][:each] for digit in range(10) if (digit in HELD_OUT) == held_out]
    return jnp.asarray(np.stack([np.rot90(g, k, (1, 2)) for g in groups for k in range(4)]).reshape(-1, each, 64))


def drawn_tasks(key: Any, pictures: Any, count: int, shots: int) -> Any:
    """Return supports and queries of some tasks, drawn without repetition, and their labels."""

    def one(key: Any) -> Any:
        which, examples = jax.random.split(key)
        chosen = jax.random.permutation(which, len(pictures))[:WAYS]

        def of_class(key: Any, number: Any) -> Any:
            return pictures[number, jax.random.permutation(key, pictures.shape[1])[: shots + QUERIES]]

        x = jax.vmap(of_class)(jax.random.split(examples, WAYS), chosen)
        labels = jnp.broadcast_to(jnp.arange(WAYS)[:, None], x.shape[:2])

        def part(rows: slice) -> Any:
            return x[:, rows].reshape(-1, x.shape[-1]), labels[:, rows].reshape(-1)

        return part(slice(shots)), part(slice(shots, None))

    return jax.vmap(one)(jax.random.split(key, count))


class Method(NamedTuple):
    """One way to learn a start."""

    start: Callable[[Any], Any]
    """Makes what is learned of the first parameters."""
    gradient: Callable[[Any, Any, Any], Any]
    """``gradient(learned, support, query)``: what the outer optimizer is given."""
    adapt: Callable[[Any, Any], Any]
    """``adapt(learned, support)``: the parameters for one new task."""


RATE, STEPS, STRENGTH = 0.1, 5, 0.03
SGD = optax.sgd(RATE)
INNER: Any = {"optimizer": SGD, "num_steps": STEPS}
LONG: Any = {"optimizer": SGD, "num_steps": 16}
HEAD = "layer2"


def itself(params: Any) -> Any:
    """What is learned is the parameters alone."""
    return params


def with_rates(params: Any) -> Any:
    """What is learned is the parameters, and a rate for each of their entries, as factors of `SGD`'s."""
    return params, jax.tree.map(jnp.ones_like, params)


def near(params: Any, support: Any, **options: Any) -> Any:
    """Adapt, held near the start by `STRENGTH`."""

    def held(fast: Any, x: Any, y: Any) -> Any:
        apart = optax.tree.norm(jax.tree.map(jnp.subtract, fast, params), squared=True)
        return loss(fast, x, y) + 0.5 * STRENGTH * apart

    return meta.adapt(held, params, support, **options)


def joined(support: Any, query: Any) -> Any:
    """All examples of each task, for what needs no query."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), support, query)


METHODS = {
    "MAML": Method(
        itself,
        lambda p, s, q: meta.maml_gradient(loss, p, s, q, **INNER),
        lambda p, s: meta.adapt(loss, p, s, **INNER),
    ),
    "first order": Method(
        itself,
        lambda p, s, q: meta.first_order_gradient(loss, p, s, q, **INNER),
        lambda p, s: meta.adapt(loss, p, s, **INNER),
    ),
    "ANIL": Method(
        itself,
        lambda p, s, q: meta.maml_gradient(loss, p, s, q, inner_wrt=HEAD, **INNER),
        lambda p, s: meta.adapt(loss, p, s, wrt=HEAD, **INNER),
    ),
    "Meta-SGD": Method(
        with_rates,
        lambda m, s, q: meta.meta_sgd_gradient(loss, *m, s, q, **INNER),
        lambda m, s: meta.adapt(loss, m[0], s, learning_rates=m[1], **INNER),
    ),
    "Reptile": Method(
        itself,
        lambda p, s, q: meta.reptile_gradient(loss, p, joined(s, q), **INNER),
        lambda p, s: meta.adapt(loss, p, s, **INNER),
    ),
    "implicit": Method(
        itself,
        lambda p, s, q: meta.implicit_gradient(loss, p, s, q, strength=STRENGTH, **LONG),
        lambda p, s: near(p, s, **LONG),
    ),
}


@functools.partial(jax.jit, static_argnames=("name", "shots"))
def block(state: Any, pictures: Any, key: Any, first: Any, *, name: str, shots: int) -> Any:
    """Take `BLOCK` meta-steps of a method; the tasks of each follow from its number."""
    method = METHODS[name]

    def step(state: Any, number: Any) -> tuple[Any, None]:
        learned, outer = state
        support, query = drawn_tasks(jax.random.fold_in(key, number), pictures, TASKS, shots)
        updates, outer = OUTER.update(method.gradient(learned, support, query), outer)
        return (optax.apply_updates(learned, updates), outer), None

    return jax.lax.scan(step, state, first + jnp.arange(BLOCK))[0]


@functools.partial(jax.jit, static_argnames=("name",))
def judged(learned: Any, support: Any, query: Any, *, name: str) -> Any:
    """Return the share of every task's queries that is told right, before and after the adaptation."""
    method = METHODS[name]

    def right(params: Any, x: Any, y: Any) -> Any:
        return jnp.mean(jnp.argmax(network(params, x), -1) == y)

    def of(support: Any, query: Any) -> Any:
        before = learned[0] if name == "Meta-SGD" else learned
        return right(before, *query), right(method.adapt(learned, support), *query)

    return jax.vmap(of)(support, query)


def draw(path: Path, results: dict[str, Any]) -> None:
    """Draw the accuracies with their intervals."""
    with picture_at(path, 6.5, 3.4) as figure:
        axes = figure.subplots()
        means = [100 * rows.mean() for rows in results.values()]
        errors = [196 * rows.std(ddof=1) / np.sqrt(rows.size) for rows in results.values()]
        axes.bar(list(results), means, yerr=errors, color="#1f4e79", ecolor="#d1703c", width=0.6)
        axes.axhline(100 / WAYS, color="black", lw=0.8, ls=":")
        axes.set(ylabel="accuracy on new classes, %", ylim=(0, 100), title=f"{WAYS} classes; dotted: chance")


def main(
    shots: Annotated[int, typer.Option(min=1, max=20, help="Examples of each class to adapt to.")] = 1,
    steps: Annotated[int, typer.Option(min=BLOCK, help=f"Meta-steps, in blocks of {BLOCK}.")] = 2000,
    seeds: Annotated[int, typer.Option(min=1, help="First weights and streams of tasks.")] = 3,
    test: Annotated[int, typer.Option(min=2, help="Tasks of new classes to judge on, for each seed.")] = 500,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; several times for several.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep the run here, and go on from what is kept.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Train every method on the same tasks, and print what it reaches on classes that were held out."""
    start = time.perf_counter()
    check_picture("bench.few_shot", picture)
    names = method if method else list(METHODS)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        leave("bench.few_shot", f"there is no method {unknown[0]!r}; the methods are {', '.join(METHODS)}")
    if steps % BLOCK:
        leave("bench.few_shot", f"--steps {steps} is no multiple of {BLOCK}")
    run = Run("bench.few_shot", folder, {"shots": shots, "steps": steps, "seeds": seeds, "test": test, "names": names})
    train, new = classes(False), classes(True)
    results = {name: np.full((2, seeds, test), np.nan, np.float32) for name in names}
    blocks = steps // BLOCK
    done = run.last()
    state: Any = None
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("few shots", total=len(names) * seeds * blocks, completed=done)
        for i, (name, seed) in enumerate((name, seed) for name in names for seed in range(seeds)):
            if done >= (i + 1) * blocks and done != (i + 1) * blocks:
                continue
            learned = METHODS[name].start(drawn(SIZES, seed))
            state = (learned, OUTER.init(learned))
            if done > i * blocks:
                kept = run.at(done, {"state": state, "results": results})
                state = kept["state"]
                # in the order of the methods: what is kept comes back in that of the alphabet
                results = {name: np.array(kept["results"][name]) for name in names}
            key = jax.random.key(seed)
            for number in range(max(done, i * blocks), (i + 1) * blocks):
                state = block(state, train, key, BLOCK * (number - i * blocks), name=name, shots=shots)
                if number + 1 == (i + 1) * blocks:
                    tasks = drawn_tasks(jax.random.fold_in(key, steps), new, test, shots)
                    results[name][:, seed] = np.stack(judged(state[0], *tasks, name=name))
                run.keep(number + 1, {"state": state, "results": results})
                progress.update(bar, advance=1, description=f"{name}, seed {seed}")
    print(f"{WAYS} new classes, {shots} of each to adapt to; accuracy on {seeds * test} tasks")
    table = Table()
    for title in ("method", "at the start", "adapted", "95%"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for name, (before, after) in results.items():
        width = 1.96 * after.std(ddof=1) / np.sqrt(after.size)
        table.add_row(name, f"{before.mean():.1%}", f"{after.mean():.1%}", f"+- {width:.1%}")
    Console().print(table)
    print(f"{time.perf_counter() - start:.0f} s")
    if picture:
        draw(picture, {name: after for name, (_, after) in results.items()})


if __name__ == "__main__":
    run_command(main)
