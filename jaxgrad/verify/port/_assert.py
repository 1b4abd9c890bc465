"""Equivalence as an assertion for tests, with a message in the style of ``torch.testing``."""

from typing import Any

from jaxgrad.verify.judge._tolerances import DEFINITION_F64
from jaxgrad.verify.port._bind import pair
from jaxgrad.verify.report._records import Leaf, Report, Result

__all__ = ["assert_equivalent"]


def assert_equivalent(*, what: Any = None, check: dict[str, Any] | None = None, **given: Any) -> Report:
    """Fail with the leaves that differ, the first divergence and its cause.

    Args:
        what: The quantities, as in ``pair.check``.
        check: Further arguments of ``pair.check``, such as ``{"dtypes": ("float64",)}``.
        **given: The arguments of `pair`.

    Returns:
        The report, where everything agrees.

    Raises:
        AssertionError: If a weight has no counterpart, or a quantity differs.

    Cost:
        That of `pair` and of its ``check``.

    Example:
        >>> import flax.linen as nn, numpy as np, torch
        >>> from jaxgrad import verify
        >>> batch = np.ones((2, 3)), np.zeros((2, 4))
        >>> model, port = torch.nn.Linear(3, 4).eval(), nn.Dense(4)
        >>> verify.assert_equivalent(
        ...     torch=model, jax=port, loss="mse", batch=batch, what="value", check={"dtypes": ["float64"]}
        ... ).ok
        True

    References:
        The message follows ``torch.testing.assert_close``.
    """
    bound = pair(**given)
    left = [f"torch key {key}" for key in bound.mapping.unused] + [f"JAX leaf {p}" for p in bound.mapping.unfilled]
    if left:
        raise AssertionError("\n  ".join(["Weights have no counterpart:", *left]))
    report = bound.check(what, **(check or {}))
    if report.ok:
        return report
    lines = [part for result in report.results if result.verdict != "agree" for part in _describe(result)]
    if report.first_divergence is not None:
        first = report.first_divergence
        lines += [f"First divergence ({first.stage}): {first} (JAX: {first.jax}), own relative error {first.error:.3g}"]
    lines += [f"{'Proven' if cause.proven else 'Likely'} cause: {cause}" for cause in report.causes]
    raise AssertionError("\n".join(["The models are not equivalent!", "", *lines]))


def _describe(result: Result) -> list[str]:
    """Return the lines of one quantity."""
    if result.verdict == "failed" or not result.leaves:
        return [f"{result.name}: {result.verdict}: {result.reason}", ""]
    lines = [f"{result.name}: {result.reason}" if result.reason else f"{result.name}:"]
    wrong = sorted(result.leaves, key=lambda leaf: -leaf.error)
    for leaf in wrong[:3]:
        lines += [f"  {line}" for line in _leaf(leaf)]
    more = sum(leaf.error > DEFINITION_F64 for leaf in wrong) - 3
    return [*lines, *([f"  ... and {more} more leaves"] if more > 0 else []), ""]


def _leaf(leaf: Leaf) -> list[str]:
    """Return the lines of one leaf."""
    if leaf.note and not leaf.size:
        return [f"{leaf.torch} <-> {leaf.jax}: {leaf.note}"]
    share = 100 * leaf.mismatched / leaf.size if leaf.size else 0.0
    noise = f", {leaf.noise:.1f} times torch's own rounding" if leaf.noise is not None else ""
    return [
        f"Mismatched elements: {leaf.mismatched} / {leaf.size} ({share:.1f}%)",
        f"Greatest absolute difference: {leaf.max_abs:.6g} at index {leaf.index}"
        f" ({leaf.got:.6g} against {leaf.want:.6g})",
        f"Relative L2 error: {leaf.error:.3g} in float64 (up to {DEFINITION_F64:g} allowed),"
        f" norm ratio {leaf.ratio:.6g}{noise}",
        f"The failure occurred for item {leaf.torch!r} (torch) <-> {leaf.jax!r} (JAX)",
    ]
