"""Rows of the rules that combine several gradients: from the rows to the vector, against TorchJD where it is there."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from bench._inputs import to_jax, to_torch
from bench._rivals import of_library
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import multi_loss

__all__ = ["ROWS"]


class Compared(NamedTuple):
    """A rule, and TorchJD's of the same name."""

    rule: Callable[[Any], Any]
    """Takes the Gram matrix; the last two take the rows."""
    rival: str
    """TorchJD's aggregator, with its own settings but for those it asks for."""
    options: Callable[[int], dict[str, Any]] = lambda _: {}
    """What it asks for, given the number of rows."""
    agreement: float = 1e-2
    """TorchJD's default settings are another answer: 1e-4 on the diagonal, 100 steps, ..."""
    differs: bool = False
    """Whether the vectors are not to be compared: random numbers that the two frameworks do not share; for Krum the
    squares of the paper against distances; for Nash-MTL a solver that stops where it stands."""
    shortest: bool = False
    """Whether the lengths are compared, which the rule makes as short as can be: TorchJD's steps of Frank and Wolfe
    stop 0.2 away from our vector, in a direction that rounding decides, and 4% longer."""

    def read(self, found: Any) -> Any:
        """Return what is compared of a vector."""
        if self.differs:
            return tuple(found.shape)
        return (found**2).sum() ** 0.5 if self.shortest else found


PART = functools.partial


def with_key(rule: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a rule with its random numbers; a key that is made when this is imported would start JAX then."""
    return lambda given: rule(given, key=jax.random.key(0))


RULES = {
    "mean_weights": Compared(multi_loss.mean_weights, "Mean"),
    "sum_weights": Compared(multi_loss.sum_weights, "Sum"),
    "constant_weights": Compared(
        lambda gram: multi_loss.constant_weights(gram, preferences=np.ones(len(gram), gram.dtype)),
        "Constant",
        lambda count: {"weights": torch.ones(count)},
    ),
    "random_weights": Compared(with_key(multi_loss.random_weights), "Random", differs=True),
    "mgda": Compared(multi_loss.mgda, "MGDA", agreement=0.05, shortest=True),
    "pcgrad": Compared(with_key(multi_loss.pcgrad), "PCGrad", differs=True),
    "cagrad": Compared(PART(multi_loss.cagrad, radius=0.5), "CAGrad", lambda _: {"c": 0.5}),
    "upgrad": Compared(multi_loss.upgrad, "UPGrad", agreement=0.05),
    "dual_projection": Compared(multi_loss.dual_projection, "DualProj", agreement=0.05),
    "imtl_g": Compared(multi_loss.imtl_g, "IMTLG"),
    "nash_mtl": Compared(multi_loss.nash_mtl, "NashMTL", lambda count: {"n_tasks": count}, differs=True),
    "aligned_mtl": Compared(multi_loss.aligned_mtl, "AlignedMTL"),
    "fairgrad": Compared(PART(multi_loss.fairgrad, alpha=1.0), "FairGrad", lambda _: {"alpha": 1.0}),
    "config": Compared(multi_loss.config, "ConFIG"),
    "krum": Compared(PART(multi_loss.krum, num_byzantine=1), "Krum", lambda _: {"n_byzantine": 1}, differs=True),
}

OF_ROWS = {
    "graddrop": Compared(with_key(multi_loss.graddrop), "GradDrop", differs=True),
    "trimmed_mean": Compared(
        lambda rows: multi_loss.trimmed_mean(rows, trim=(len(rows) - 1) // 2),
        "TrimmedMean",
        lambda count: {"trim_number": (count - 1) // 2},
    ),
}


def drawn_rows(count: int, length: int) -> Any:
    """Draw gradients that conflict as those of a shared trunk do, of lengths within a factor of some three."""
    rng = np.random.default_rng(count)
    mixed = np.eye(count) + 0.5 * rng.normal(size=(count, count)) / count**0.5
    return (mixed * np.exp(0.5 * rng.normal(size=(count, 1)))) @ rng.normal(size=(count, length))


def combined(name: str) -> Any:
    """Return one program from the rows to the vector."""
    if name in OF_ROWS:
        return jax.jit(OF_ROWS[name].rule)
    return functools.partial(multi_loss.aggregate, weighting=RULES[name].rule)


def problem(name: str, size: Sizes) -> Problem:
    """Ours from rows, Gram matrix, weights and combination in one program, against TorchJD's aggregator."""
    compared = (RULES | OF_ROWS)[name]
    count = size.rows
    given = drawn_rows(count, size.numbers)
    rows, rows_torch = to_jax(given, size.dtype), to_torch(given, size.dtype)
    ours = combined(name)
    contenders = [Contender("jaxgrad", "jax", lambda: ours(rows), Program(ours, (rows,)), compared.read)]

    def theirs() -> Any:
        import torchjd.aggregation

        rival = getattr(torchjd.aggregation, compared.rival)(**compared.options(count))
        return functools.partial(rival, rows_torch)

    contenders.append(of_library("torchjd", "torchjd", theirs, read=compared.read))
    return Problem(contenders, agreement=compared.agreement)


COUNTS = (2, 8, 32)

ROWS = [
    Row(
        name,
        "{rows} rows of {numbers}",
        functools.partial(problem, name),
        {"rows": count, "numbers": 1_000_000},
        {"numbers": 10_000},
        {"numbers": 200_000} if count == max(COUNTS) else {},
        rival_weighed=False,
    )
    for name in (*RULES, *OF_ROWS)
    for count in COUNTS
    if (name, count) != ("krum", 2)  # it needs three rows and a liar
]
