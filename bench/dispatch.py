"""``python -m bench.dispatch``: what a direct call costs above the program that it runs, in processor time.

The functions are so small that nearly all of a call is the way to the program. Rounds of our call and of `jax.jit` of
the same alternate; a round's number is the processor time of the whole process for some hundred calls, which other
processes on the machine do not lengthen as they lengthen a time on the clock.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import curvature, gradient, per_example, shift
from jaxgrad.verify._bridge import to_jax
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from jaxgrad.verify.judge import compare, worst

__all__ = ["Row", "measure", "rows"]


@dataclass(frozen=True)
class Row:
    """A call of ours and the same by `jax.jit`, on the same arrays."""

    name: str
    ours: Callable[[], Any]
    by_jit: Callable[[], Any]
    most: float
    """Up to which ratio of processor times the row counts as kept."""


def bowl(params: Any, x: Any) -> Any:
    """Return a scalar of any parameters: so little arithmetic that a call is all dispatch."""
    return sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(params)) * x


def loss(params: Any, x: Any, y: Any) -> Any:
    """Return the squared error of a small network on one example."""
    return jnp.sum((mlp_jax(params, x[None])[0] - y) ** 2)


def model(params: Any, x: Any) -> Any:
    """Return a small network's output for one example."""
    return mlp_jax(params, x[None])[0]


def leaves(number: int) -> dict[str, Any]:
    """Return parameters with a number of leaves."""
    return {f"layer_{i}": jnp.ones(4, jnp.float32) for i in range(number)}


def rows() -> list[Row]:
    """Return the rows: direct calls on one leaf and on fifty, and a small network one example at a time."""
    one = jnp.float32(2.0)

    def same(name: str, call: Callable[..., Any], *arrays: Any, most: float) -> Row:
        compiled = jax.jit(call)
        return Row(name, lambda: call(*arrays), lambda: compiled(*arrays), most)

    def gradients_of(params: Any, x: Any) -> Any:
        return gradient.parameter_gradient(bowl, params, x)

    def product(params: Any, vector: Any, x: Any) -> Any:
        return curvature.hvp(bowl, params, vector, x)

    def ascent(params: Any, x: Any) -> Any:
        return shift.sam_gradient(bowl, params, x, radius=0.1)

    few, many = leaves(1), leaves(50)
    params = to_jax(mlp_params((8, 16, 4), 0), np.float32)
    x, y = to_jax((np.random.default_rng(0).normal(size=(16, 8)), np.ones((16, 4))), np.float32)
    values, slopes = jax.jit(jax.vmap(model, (None, 0))), jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    return [
        same("parameter_gradient, 1 leaf", gradients_of, few, one, most=3.0),
        same("parameter_gradient, 50 leaves", gradients_of, many, one, most=1.3),
        same("hvp, 1 leaf", product, few, few, one, most=3.0),
        same("hvp, 50 leaves", product, many, many, one, most=1.3),
        same("sam_gradient with an option, 1 leaf", ascent, few, one, most=3.0),
        same("sam_gradient with an option, 50 leaves", ascent, many, one, most=1.3),
        Row(
            "per_example.values, MLP 8-16-4, batch 16",
            lambda: per_example.values(model, params, x),
            lambda: values(params, x),
            1.2,
        ),
        Row(
            "per_example.gradients, MLP 8-16-4, batch 16",
            lambda: per_example.gradients(loss, params, x, y),
            lambda: slopes(params, x, y),
            1.2,
        ),
    ]


def processor_time(run: Callable[[], Any], calls: int) -> float:
    """Return the seconds of processor time a call takes, the mean of some calls in a row."""
    start = time.process_time()
    for _ in range(calls):
        result = run()
    jax.block_until_ready(result)
    return (time.process_time() - start) / calls


def measure(row: Row, rounds: int, calls: int) -> tuple[list[float], list[float]]:
    """Return the seconds a call takes, ours and by `jax.jit`, round by round.

    Raises:
        AssertionError: If the two do not agree.
    """
    difference = worst(compare(row.ours(), row.by_jit()))
    assert difference.error <= 1e-5, f"{row.name}: the two differ: {difference}"
    both: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, samples in zip((row.ours, row.by_jit), both, strict=True):
            samples.append(processor_time(run, calls))
    return both


def main() -> None:
    """Measure every row, and print the least and the middle time of a call, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds for each row")
    parser.add_argument("--calls", type=int, default=300, help="calls in a round")
    given = parser.parse_args()
    print(f"{'microseconds a call, least / median':<46} {'ours':>13} {'jax.jit':>13} {'ratio':>13}  most")
    for row in rows():
        ours, by_jit = measure(row, given.rounds, given.calls)
        cells = [f"{1e6 * min(times):.0f} / {1e6 * statistics.median(times):.0f}" for times in (ours, by_jit)]
        least, median = min(ours) / min(by_jit), statistics.median(ours) / statistics.median(by_jit)
        print(f"{row.name:<46} {cells[0]:>13} {cells[1]:>13} {f'{least:.2f} / {median:.2f}':>13}  {row.most}")


if __name__ == "__main__":
    main()
