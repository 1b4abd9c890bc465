"""``python -m bench.optimizers``: which optax transformations can be differentiated at a gradient that is exactly zero.

A small network of which one unit, and one whole leaf, is dead: their gradients are exactly 0, at every step. Each
transformation of optax and optax.contrib takes a few steps on it, as optax has it and through
`jaxgrad.meta.maml_gradient`, in float32, bfloat16 and float16; in float64 the derivative is compared with central
differences of steps that optax alone takes.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from rich.console import Console
from rich.progress import track

from bench._command import check_folder, leave, run_command
from bench._optax_table import table
from jaxgrad import meta
from jaxgrad.meta._engine._rule import accepted
from jaxgrad.verify import _files

STEPS = 2
PRECISIONS = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""The relative errors against float64 up to which a meta-gradient is right: some ten roundings."""

SIGNS = "the slope of a sign is 0: what is left is first order"
EQUAL = "a singular value decomposition has no derivative where values are equal, as those of a zero gradient are"
STOPPED = (
    "optax stops the derivative of the factor of its first step, one over the gradient's norm where that is above 1:"
    " this is the derivative of all the rest; with scale_init_precond=False there is no factor"
)
MOVED = (
    "it reads what it has moved off the difference of the parameters, some 1e-6 of them at the start: of a step in"
    " float32 three digits are left, and so of its derivative"
)
NOTES = {
    **dict.fromkeys(("lion", "scale_by_lion", "sign_sgd", "scale_by_sign", "signum"), SIGNS),
    **dict.fromkeys(("rprop", "scale_by_rprop"), f"its step sizes depend on signs alone; {SIGNS}"),
    **dict.fromkeys(("contrib.galore", "contrib.scale_by_galore"), EQUAL),
    **dict.fromkeys(("lbfgs, linesearch=None", "scale_by_lbfgs"), STOPPED),
    "contrib.mechanize": MOVED,
    "set_to_zero": "nothing moves: the plain gradient",
    "contrib.sam": "its steps alternate: take an even number of them",
    "contrib.sam, opaque_mode=True": "its inner gradients are of the same data, and in float16 not split as said above",
}
"""What is to be known about some that work."""

Tree = Any

HEAD = """# Which optax transformations can be differentiated

Written by `python -m bench.optimizers --write docs/optimizers.md`. Two steps on a network of which a unit, and one leaf
of the parameters, are dead: their gradients are exactly 0. They count in the loss after the steps. Where
three words stand in a cell, they are those of float32, bfloat16 and float16; one word is that of all three.

- **update**: the first update as optax computes it in the precision of the parameters. In float16 `eps=1e-8` is 0, and
  Adam's update at a gradient of zero is 0 / 0. The inner loops of `jaxgrad.meta` compute it in float32, and round once.
- **optax**: the gradient of the loss after optax's own steps, by `jax.grad`. *Right* is within some ten roundings of
  float64.
- **meta**: the same by `jaxgrad.meta.maml_gradient`. *Refused* stands beside the sentence that it gives.
- **float64**: `maml_gradient` in float64 against central differences of optax's steps, to a relative 1e-6.

What is random is drawn in float32 everywhere: from one key JAX draws other numbers in float64.

In bfloat16 and float16 a fresh state of the optimizer is in float32, and stays so; a state that is given keeps its
dtypes. In float16 what comes back to a gradient of zero (1e8 times Adam's rate) does not fit: mixed mode and nested,
the default, multiply it by the Hessian apart from the rest. `memory="checkpoint"` and `"unrolled"` give NaN or infinity
there, as does a true derivative above 65504.

| transformation | update | optax | meta | float64 | |
| --- | --- | --- | --- | --- | --- |
"""


class Row(NamedTuple):
    """What was found about one of them; of three words, the first is that of float32, then bfloat16, float16."""

    name: str
    update: tuple[str, ...]
    """The first update as optax has it: finite, or NaN."""
    plain: tuple[str, ...]
    """The meta-gradient through optax's steps as they are."""
    guarded: tuple[str, ...]
    """`maml_gradient`."""
    differences: str
    """`maml_gradient` in float64 against central differences of optax's own steps."""
    note: str
    """The sentence that a user gets, where it is refused, or what is to be known."""


def problem() -> tuple[Tree, Tree, Tree, Tree]:
    """Return parameters with dead weights, data to adapt to, data to judge by, and a direction.

    The inputs are positive in the data to adapt to, and partly negative in the others: one row of ``last`` and all of
    ``gate`` are dead in the steps, and count in the loss after them, so that what comes back to their updates is not 0.
    """
    rng = np.random.default_rng(0)
    params = {"last": rng.normal(size=(3, 2)), "gate": rng.normal(size=(2, 2))}
    x, y = 1 + rng.uniform(size=(2, 4, 2)), rng.normal(size=(2, 4, 2))
    x[1, ::2] *= -1
    direction = {name: rng.normal(size=leaf.shape) for name, leaf in params.items()}
    # what all precisions hold exactly, for their results to be of the same problem
    exact = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float64), (params, x, y))
    return exact[0], (exact[1][0], exact[2][0]), (exact[1][1], exact[2][1]), direction


def loss(params: Tree, x: Any, y: Any) -> Any:
    """Mean square of a network whose last hidden unit, and whose gate, are 0 where the inputs are positive."""
    hidden = jax.nn.relu(x @ jnp.array([[0.5, -1.0, -1.0], [0.5, 1.5, -0.5]], x.dtype))
    return jnp.mean((jnp.tanh(hidden @ params["last"] + jax.nn.relu(-x) @ params["gate"]) - y) ** 2)


def steps_of_optax(rule: Any, params: Tree, task: Tree) -> tuple[Tree, Tree]:
    """Take the steps with optax alone, as its manual says; return the parameters and the first updates."""
    rule = optax.with_extra_args_support(rule)

    def of(params: Tree, obj_fn: Any = None, grad_fn: Any = None) -> Any:
        del obj_fn, grad_fn
        return loss(params, *task)

    state, found = rule.init(params), []
    for _ in range(STEPS):
        value, slope = jax.value_and_grad(of)(params)
        more = {"value": value, "grad": slope, "value_fn": of, "obj_fn": of}
        more["grad_fn"] = lambda params, _: jax.grad(of)(params)
        updates, state = rule.update(slope, state, params, **accepted(rule.update, more))
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return params, found[0]


def plain(rule: Any, params: Tree, support: Tree, query: Tree) -> tuple[Tree, Tree]:
    """Return the meta-gradient through optax's steps, and the first update."""

    def after(params: Tree) -> Any:
        last, first = steps_of_optax(rule, params, support)
        return loss(last, *query), first

    return jax.grad(after, has_aux=True)(params)


def guarded(rule: Any, params: Tree, support: Tree, query: Tree) -> Any:
    """Return the meta-gradient of one task."""
    tasks = jax.tree.map(lambda leaf: leaf[None], (support, query))
    return meta.maml_gradient(loss, params, *tasks, optimizer=rule, num_steps=STEPS)


def slope_by_differences(rule: Any, params: Tree, support: Tree, query: Tree, direction: Tree) -> Any:
    """Return the derivative of the loss after optax's steps along a direction, by differences of fourth order."""

    def at(t: Any) -> Any:
        moved = jax.tree.map(lambda leaf, d: leaf + t * d, params, direction)
        return loss(steps_of_optax(rule, moved, support)[0], *query)

    h, run = 1e-4, jax.jit(at)
    values = [run(t) for t in (h, -h, 2 * h, -2 * h)]
    return (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)


@contextlib.contextmanager
def same_draws() -> Iterator[None]:
    """Let what is random be drawn in float32 in all precisions: from one key, JAX draws other numbers in float64."""

    def drawn(sampler: Callable[..., Any]) -> Callable[..., Any]:
        def draw(key: Any, shape: Any = (), dtype: Any = float, **options: Any) -> Any:
            with jax.enable_x64(False):
                numbers = sampler(key, shape, jnp.float32, **options)
            return numbers.astype(dtype)

        return draw

    with contextlib.ExitStack() as stack:
        for name in ("normal", "rademacher"):
            stack.enter_context(mock.patch.object(jax.random, name, drawn(getattr(jax.random, name))))
        yield


def audit(name: str) -> Row:
    """Compute one row."""
    with (
        same_draws(),
        warnings.catch_warnings(),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        warnings.simplefilter("ignore")
        *given, direction = problem()
        with jax.enable_x64(True):
            exact, told = _tried(name, guarded, given, "float64")
            if told:
                kinds = _differing(name, given, None)
                return Row(name, kinds[0], kinds[1], ("refused",) * 3, "", told)
            slope = slope_by_differences(table()[name](), *_cast(given, "float64"), _cast(direction, "float64"))
            along = np.vdot(_flat(exact), _flat(direction))
            agrees = "agrees" if _is_near(along, float(slope), 1e-6) else "differs"
        kinds = _differing(name, given, _flat(exact))
        return Row(name, *kinds, agrees if np.isfinite(along) else "NaN", NOTES.get(name, ""))


def _differing(name: str, given: list[Tree], exact: Any) -> tuple[tuple[str, ...], ...]:
    """Return what is found in each of the lower precisions: the update, both meta-gradients."""
    columns: list[tuple[str, str, str]] = []
    for precision, tolerance in PRECISIONS.items():
        with jax.enable_x64(False):
            found, told = _tried(name, jax.jit(plain, static_argnums=0), given, precision)
            first = "fails" if told else "finite" if np.isfinite(_flat(found[1])).all() else "NaN"
            by_optax = "fails" if told else _word(_flat(found[0]), exact, tolerance)
            if exact is None:
                columns.append((first, by_optax, ""))
                continue
            found, told = _tried(name, guarded, given, precision)
            columns.append((first, by_optax, "refused" if told else _word(_flat(found), exact, tolerance)))
    return tuple(zip(*columns, strict=True))


def _tried(name: str, fun: Callable[..., Any], given: list[Tree], precision: str) -> tuple[Any, str]:
    """Return what a function of an optimizer and the problem returns, or the first line of what it says instead."""
    try:
        return fun(table()[name](), *_cast(given, precision)), ""
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        return None, str(error).splitlines()[0]


def _word(found: Any, exact: Any, tolerance: float) -> str:
    """Say what a gradient is worth."""
    if not np.isfinite(found).all():
        return "NaN"
    return "finite" if exact is None else "right" if _is_near(found, exact, tolerance) else "wrong"


def _is_near(found: Any, exact: Any, tolerance: float) -> bool:
    return bool(np.linalg.norm(found - exact) <= tolerance * np.linalg.norm(exact))


def _cast(tree: Tree, precision: str) -> Tree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), tree)


def _flat(tree: Tree) -> Any:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def line(row: Row) -> str:
    """Return a row as a line of the page."""
    cells = [f"`{row.name}`", *map(_cell, row[1:4]), row.differences, row.note.replace("|", "/")]
    return "| " + " | ".join(cells) + " |"


def _cell(words: tuple[str, ...]) -> str:
    """Join the words of three precisions, or write one for all."""
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def lines_of(page: str) -> dict[str, str]:
    """Return the lines of a page by the names that they are about."""
    return {text.split("`")[1]: text for text in page.splitlines() if text.startswith("| `")}


def page_of(lines: dict[str, str]) -> str:
    """Return the page, its lines in the order of the table."""
    return HEAD + "\n".join(lines[name] for name in table() if name in lines) + "\n"


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which ones, such as adam contrib.sam; all by default.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the lines into this page, which keeps its others.")] = None,
    missing: Annotated[bool, typer.Option(help="Only those that the page does not have yet.")] = False,
) -> None:
    """Print what is found about each, line by line, and write it into the page as soon as it is known."""
    check_folder("bench.optimizers", write)
    chosen = names or list(table())
    unknown = [name for name in chosen if name not in table()]
    if unknown:
        leave("bench.optimizers", f"there is no {unknown[0]} in the table; it has {', '.join(table())}")
    if missing and write is None:
        leave("bench.optimizers", "--missing needs --write, the page that lacks some")
    lines = lines_of(write.read_text()) if write and write.exists() else {}
    left = [name for name in chosen if not (missing and name in lines)]
    for name in track(left, "transformations", console=Console(stderr=True)):
        lines[name] = line(audit(name))
        print(lines[name], flush=True)
        if write:
            # whole or not at all: of a line that is cut off --missing would not know
            page = page_of(lines).encode()
            _files.write_atomically(write, lambda file, page=page: file.write(page))


if __name__ == "__main__":
    run_command(main)
