"""The gradient of a first loss, turned so that each other one gets a share of its own progress."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array
from jaxgrad.multi_loss._engine import _supports
from jaxgrad.multi_loss._engine._cone import nearest
from jaxgrad.multi_loss._engine._gram import UnitRows, finished, meant, of_unit_rows, rounding
from jaxgrad.multi_loss._stateful import Weighting, gram_of, makes, start, unless_sick

__all__ = ["pcd"]


class PcdState(NamedTuple):
    """The state of `pcd`."""

    squares: Array
    """Decayed sums of the squared lengths of the gradients, of shape ``(K,)``."""
    step: Array
    """How many steps there were."""


@makes(Weighting)
def pcd(*, fraction: ArrayLike = 0.02, decay: ArrayLike = 0.999) -> Weighting:
    r"""Weigh gradients by priorities: follow the FIRST loss, and grant the others a share (PCD).

    .. math:: d = \arg\min_u \tfrac12 \|u - \tilde g_1\|^2 \quad\text{with}\quad
              \tilde g_j \cdot u \ge \tau_j \|\tilde g_j\|^2, \quad j = 2, \dots, K, \qquad
              \tilde g_k = g_k / \sqrt{\hat v_k}

    Priority-constrained descent. :math:`\hat v_k` is the running mean of the squared length of gradient ``k``. Each
    loss but the first is granted the fraction :math:`\tau` of what a step along its own gradient would gain. The vector
    is :math:`d`, scaled to the length of the first gradient.

    Args:
        fraction: The granted share, :math:`\tau`, from 0 to 1: a number, or one for each loss but the first, of shape
            ``(K - 1,)``.
        decay: The decay of the running means, from 0 to below 1.

    Returns:
        A `Weighting`: ``init(num_losses)``, and ``update(gram, state) -> (weights, state)``. The state has ``squares``
        and ``step``. Where no vector grants all shares the first loss is followed alone; where its gradient is zero, or
        :math:`d` is to rounding, all weights are zero. A traced option that is NaN or negative makes them NaN.

    Raises:
        TypeError: If ``decay`` is no number or ``fraction`` no real numbers; and in ``update`` if ``gram`` is no array
            of real floating-point numbers.
        ValueError: If ``fraction`` is a number that is not from 0 to 1, or ``decay`` not from 0 to below 1; and in
            ``update`` if ``gram`` is not square, or of other than as many losses as in ``init``, or there is not one
            fraction for each loss but the first.

    Cost:
        That of a plain gradient or less: a quadratic program of ``K - 1`` variables.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = jnp.array([[1.0, 0.0], [-1.0, 1.0]])
        >>> weighting = jaxgrad.multi_loss.pcd(fraction=0.1)
        >>> weights, state = weighting.update(rows @ rows.T, weighting.init(2))
        >>> vector = weights @ rows
        >>> [round(entry, 3) for entry in vector.tolist()], (rows @ vector > 0).tolist()
        ([0.601, 0.799], [True, True])

    References:
        Varam et al. (2026), Not all objectives are born equal: priority-constrained descent for hierarchical
        multi-objective optimization, TMLR, arXiv 2606.29521. TorchJD adds 1e-8 below the root; here nothing is added.
    """
    _check.number(decay, "decay")
    _check.share(fraction, "fraction")
    _check.share(decay, "decay", below_one=True)

    def init(num_losses: int) -> PcdState:
        return PcdState(start(num_losses), jnp.zeros((), jnp.int32))

    def update(gram: ArrayLike, state: PcdState) -> tuple[Array, PcdState]:
        _check.state(state, PcdState, "init(num_losses)")
        matrix = gram_of(gram, state.squares.size)
        kept, asked = state.squares.dtype, _fractions(fraction, matrix)
        share = jnp.asarray(decay, kept)
        matrix = meant(matrix, (share >= 0) & (asked >= 0))
        squares = share * state.squares + (1 - share) * jnp.diagonal(matrix).astype(kept)
        after = PcdState(squares, state.step + 1)
        usual = jnp.sqrt(squares / (1 - share ** after.step.astype(kept))).astype(matrix.dtype)
        weights = _weights(of_unit_rows(matrix).moving(), usual, asked)
        return finished(weights, matrix, gram), unless_sick(matrix, after, state)

    return Weighting(init, update)


def _fractions(fraction: ArrayLike, matrix: Array) -> Array:
    """Return one fraction for each loss but the first.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If there is not one for each.
    """
    _check.numbers_like(fraction, "fraction", matrix)
    if jnp.shape(fraction) not in {(), (len(matrix) - 1,)}:
        message = (
            f"fraction must be one number, or one for each of the {len(matrix) - 1} losses but the first; got"
            f" {_check.describe(jnp.asarray(fraction))}"
        )
        raise ValueError(message)
    return jnp.broadcast_to(jnp.asarray(fraction).astype(matrix.dtype), (len(matrix) - 1,))


def _weights(unit: UnitRows, usual: Array, fractions: Array) -> Array:
    """Return the weights by the dual program, in units of the first gradient and on rows of length 1."""
    cosines, lengths, is_zero = unit
    if len(lengths) == 1:
        return jnp.where(is_zero, jnp.zeros_like(lengths), jnp.ones_like(lengths))
    size = jnp.where(is_zero, jnp.zeros_like(lengths), lengths) / jnp.where(usual > 0, usual, jnp.ones_like(usual))
    first = jnp.where(size[0] > 0, size[0], jnp.ones_like(size[0]))
    wanted = fractions * size[1:] / first - cosines[1:, 0]
    others = cosines[1:, 1:]
    shares = nearest(others, wanted[None])[0]
    # no share of the others' vectors satisfies conditions that exclude each other
    rounded = _supports.SLACK**2 * rounding(cosines) * (jnp.max(jnp.abs(wanted)) + jnp.sum(shares))
    granted = _supports.residual(others, wanted, shares) <= rounded
    shares = jnp.concatenate([jnp.ones_like(first)[None], jnp.where(granted, shares, jnp.zeros_like(shares))])
    square = shares @ cosines @ shares
    moves = (square > _supports.SLACK * rounding(cosines) * jnp.sum(shares) ** 2) & ~is_zero[0]
    length = _tree.safe_sqrt(jnp.where(moves, square, jnp.ones_like(square)))
    return jnp.where(moves, shares * (lengths[0] / lengths) / length, jnp.zeros_like(shares))
