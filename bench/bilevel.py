"""``python -m bench.bilevel``: a regularisation strength for every pixel, by hypergradients of all kinds.

Softmax regression on scikit-learn's digits, with a decay ``exp(h_j)`` of the weights of each of the 64 pixels, as in
the logistic problems of benchmark_bilevel: the inner loss is that of the training digits with the decay, the outer one
that of the validation digits at its minimum. Every method takes steps of Adam on ``h`` from the same start, for as many
processor seconds; a grid over one strength for all pixels is the baseline. Compilation is not counted. What is
printed is not what a method thinks it has reached, but the outer loss at the inner minimum for its strengths, found
afterwards to the rounding and off the clock. With ``--folder`` the course of every method is kept, its seconds too: a
command that was killed goes on with the next one, and prints what it would have printed.

Gradients are counted as in `meta.hypergradient`: one for an inner step, 2.6 for a product, 5 for the rest of the
implicit one, 3.7 for a step that is differentiated in reverse, and 1 and 1.6 a strength for one that is forward.
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

from bench._command import check_picture, leave, picture_at, run_command
from bench._digits import digits
from bench._resume import Run
from jaxgrad import meta

PIXELS, CLASSES = 64, 10
FIRST = -4.0
"""The logarithm of the strength that every method starts from: too strong for nearly all pixels."""
INNER = optax.sgd(0.1, momentum=0.9)
"""The inner steps: stable up to a curvature of 38, that of the data here is below 6."""
STEPS = 100
"""Inner steps; the implicit methods go on from the last parameters, those that go through the steps start from zero.

With 20, an implicit method with 40 iterations ends above one with 10: a good solve at a bad minimum.
"""
LAST = 2000
"""Inner steps off the clock, for the outer loss that is printed."""
GRID = np.linspace(-8, 0, 17)


class Method(NamedTuple):
    """A hypergradient, and whether it goes on from the last parameters."""

    options: dict[str, Any]
    warm: bool
    shared: bool = False
    """Whether one strength stands for all pixels."""


METHODS = {
    "implicit, CG 2": Method({"num_iterations": 2}, True),
    "implicit, CG 10": Method({"num_iterations": 10}, True),
    "implicit, CG 40": Method({"num_iterations": 40}, True),
    "implicit, Neumann 10": Method({"solver": "neumann", "num_iterations": 10}, True),
    "T1-T2 (identity)": Method({"solver": "identity"}, True),
    "unrolled": Method({"method": "unrolled"}, False),
    "forward": Method({"method": "forward"}, False),
    "forward, one strength": Method({"method": "forward"}, False, shared=True),
}


class Course(NamedTuple):
    """What a method did: after every outer step its strengths, the processor seconds and the gradients so far."""

    strengths: Any
    seconds: Any
    gradients: Any
    losses: Any = None
    """At the inner minima, or NaN where it was not looked."""


def error(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy."""
    del hyper
    logits = x @ params["kernel"] + params["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def decayed(params: Any, hyper: Any, x: Any, y: Any) -> Any:
    """Mean cross-entropy, and half the decay of every pixel's weights; one number is that of all pixels."""
    return error(params, hyper, x, y) + 0.5 * jnp.sum(jnp.exp(hyper) * jnp.sum(params["kernel"] ** 2, 1))


def zero() -> Any:
    """Return weights of zero."""
    return {"kernel": jnp.zeros((PIXELS, CLASSES), jnp.float32), "bias": jnp.zeros(CLASSES, jnp.float32)}


@functools.partial(jax.jit, static_argnums=3)
def minimum(start: Any, hyper: Any, train: Any, steps: int = LAST) -> Any:
    """Return the inner minimum, as far as so many steps reach it."""

    def loss(params: Any, *data: Any) -> Any:
        return decayed(params, hyper, *data)

    return meta.adapt(loss, start, train, optimizer=INNER, num_steps=steps)


def gradients_of(method: Method, products: float) -> float:
    """Return what one hypergradient costs, in inner gradients."""
    if method.options.get("method") == "unrolled":
        return 3.7 * STEPS + 1
    if method.options.get("method") == "forward":
        return (1 + 1.6 * (1 if method.shared else PIXELS)) * STEPS + 1
    return STEPS + 2.6 * products + 5


def run(method: Method, data: Any, rate: float, steps: int, seconds: float, tick: Callable[[], None]) -> Course:
    """Take outer steps until they, or the processor seconds, are spent."""
    optimizer = optax.adam(rate)
    options: Any = {"optimizer": INNER, "num_steps": STEPS, "full_output": True, "tolerance": 1e-6, **method.options}

    @jax.jit
    def step(params: Any, hyper: Any, state: Any) -> Any:
        found = meta.hypergradient(decayed, error, params, hyper, *data, **options)
        updates, state = optimizer.update(found.gradient, state)
        kept = found.params if method.warm else params
        return (
            kept,
            optax.apply_updates(hyper, updates),
            state,
            jnp.array(0) if found.products is None else found.products,
        )

    hyper = jnp.full(() if method.shared else PIXELS, FIRST, jnp.float32)
    carry = zero(), hyper, optimizer.init(hyper)
    program = step.lower(*carry).compile()
    course = Course([np.array(hyper)], [0.0], [0.0])
    used, spent = 0.0, 0.0
    for _ in range(steps):
        begin = time.process_time()
        *carry, products = jax.block_until_ready(program(*carry))
        used += time.process_time() - begin
        spent += gradients_of(method, float(products))
        course.strengths.append(np.array(carry[1]))
        course.seconds.append(used)
        course.gradients.append(spent)
        tick()
        if used > seconds:
            break
    return course


def search(data: Any, tick: Callable[[], None]) -> Course:
    """Try one strength for all pixels after another, each from the minimum of the last, and keep the best."""
    train, validation = data
    program = jax.jit(lambda start, hyper: minimum(start, hyper, train, STEPS)).lower(zero(), jnp.float32(0)).compile()
    params, used, best = zero(), 0.0, (np.inf, FIRST)
    course = Course([np.array(FIRST)], [0.0], [0.0])
    for k, strength in enumerate(GRID[::-1]):
        begin = time.process_time()
        params = jax.block_until_ready(program(params, jnp.float32(strength)))
        used += time.process_time() - begin
        best = min(best, (float(error(params, None, *validation)), float(strength)))
        course.strengths.append(np.array(best[1]))
        course.seconds.append(used)
        course.gradients.append((k + 1.0) * STEPS)
        tick()
    return course


def judged(course: Course, data: Any, looks: int) -> tuple[Course, Any]:
    """Return the outer loss at the inner minima of some of the strengths, and the last of these minima."""
    train, validation = data
    losses, params = np.full(len(course.seconds), np.nan), zero()
    for k in np.unique(np.geomspace(1, len(losses), looks).astype(int) - 1):
        params = minimum(params, jnp.asarray(course.strengths[k], jnp.float32), train)
        losses[k] = error(params, None, *validation)
    return course._replace(losses=losses), params


def keep(kept: dict[str, Any], row: int, course: Course) -> None:
    """Write a course into its row of the arrays of all of them, one strength for all pixels as that of each."""
    for name, values in (("seconds", course.seconds), ("gradients", course.gradients)):
        kept[name][row, : len(values)] = values
    kept["strengths"][row, : len(course.strengths)] = [np.broadcast_to(h, PIXELS) for h in course.strengths]


def course_of(kept: dict[str, Any], row: int) -> Course:
    """Read a course from its row."""
    length = int(np.isfinite(kept["seconds"][row]).sum())
    return Course(*(kept[name][row, :length] for name in ("strengths", "seconds", "gradients")))


def accuracy(params: Any, x: Any, y: Any) -> float:
    """Return the share of digits that are told right."""
    return float(jnp.mean(jnp.argmax(x @ params["kernel"] + params["bias"][None], -1) == y))


def draw(path: Path, courses: dict[str, Course]) -> None:
    """Draw the outer losses against processor seconds and against gradients."""
    with picture_at(path, 10, 4) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for name, course in courses.items():
            seen = ~np.isnan(course.losses)
            seen[0] = False  # where all of them start, at no cost
            style: Any = {"marker": ".", "label": name, "linestyle": ":" if name == "grid" else "-"}
            axes[0].plot(np.array(course.seconds)[seen], course.losses[seen], **style)
            axes[1].plot(np.array(course.gradients)[seen], course.losses[seen], **style)
        top = 1.1 * courses["grid"].losses[0]
        axes[0].set(xlabel="processor seconds", ylabel="validation loss at the inner minimum", xscale="log")
        axes[0].set(ylim=(0.15, top))
        axes[1].set(xlabel="inner gradients", xscale="log")
        axes[1].legend(fontsize="small")
        for one in axes:
            one.spines[["top", "right"]].set_visible(False)
        figure.suptitle("a decay for every pixel, digits", fontsize="medium")


def main(
    train: Annotated[int, typer.Option(min=10, help="How many training digits.")] = 300,
    validation: Annotated[int, typer.Option(min=10, help="How many validation digits.")] = 600,
    steps: Annotated[int, typer.Option(min=1, help="Outer steps at most.")] = 100,
    seconds: Annotated[float, typer.Option(min=0.0, help="Processor seconds for each method.")] = 2.5,
    rate: Annotated[float, typer.Option(min=0.0, help="The rate of the outer Adam.")] = 0.1,
    looks: Annotated[int, typer.Option(min=2, help="How often the outer loss is looked at.")] = 7,
    folder: Annotated[Path | None, typer.Option(help="Keep every method's course here, and go on after it.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the picture here.")] = None,
) -> None:
    """Choose the strengths by every method, and print what they reach."""
    command = "bench.bilevel"
    check_picture(command, picture)
    tests = 1797 - train - validation
    if tests < 1:
        leave(command, f"there are 1797 digits, too few for {train} + {validation} and one to test on")
    known, held_out = digits(train + validation, tests)
    data = tuple(tuple(leaf[part] for leaf in known) for part in (slice(train), slice(train, None)))
    most = max(steps, len(GRID)) + 1
    settings = {"train": train, "validation": validation, "steps": steps, "seconds": seconds, "rate": rate}
    store = Run(command, folder, settings)
    kept = {"strengths": np.full((len(METHODS) + 1, most, PIXELS), np.nan, np.float32)}
    kept |= {name: np.full((len(METHODS) + 1, most), np.nan) for name in ("seconds", "gradients")}
    done = store.last()
    if done:
        kept = {name: np.array(rows) for name, rows in store.at(done, kept).items()}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("outer steps", total=len(METHODS) * steps + len(GRID), completed=done * steps)
        for i, (name, method) in list(enumerate([*METHODS.items(), ("grid", None)]))[done:]:
            progress.update(task, description=name, completed=i * steps)

            def tick() -> None:
                progress.advance(task)

            course = search(data, tick) if method is None else run(method, data, rate, steps, seconds, tick)
            keep(kept, i, course)
            store.keep(i + 1, kept)
    courses = {name: course_of(kept, i) for i, name in enumerate([*METHODS, "grid"])}
    print(f"{train} training, {validation} validation and {tests} test digits")
    print(f"{'':22} {'steps':>5} {'seconds':>8} {'gradients':>9} {'validation':>10} {'test accuracy':>13}")
    for name, course in courses.items():
        courses[name], params = judged(course, data, looks)
        told = f"{len(course.seconds) - 1:5} {course.seconds[-1]:8.2f} {course.gradients[-1]:9.0f}"
        print(f"{name:22} {told} {courses[name].losses[-1]:10.4f} {accuracy(params, *held_out):13.2%}")
    print(f"at the start: validation loss {courses['grid'].losses[0]:.4f}")
    if picture:
        draw(picture, courses)


if __name__ == "__main__":
    run_command(main)
