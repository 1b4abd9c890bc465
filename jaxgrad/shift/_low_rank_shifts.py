"""Random shifts of low rank, on every matrix of the parameters."""

from __future__ import annotations

from typing import Any

import jax
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Function, Key, T, Tree, Ts, Wrt
from jaxgrad.shift._samples import Draws, low_rank_samples

__all__ = ["low_rank_shifts"]


@jit("loss_fn", "num_shifts", "rank", "per_example", "wrt", non_negative=("scale",))
def low_rank_shifts(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    key: Key,
    num_shifts: int,
    rank: int,
    scale: ArrayLike = 1.0,
    per_example: bool = False,
    wrt: Wrt = None,
) -> Tree:
    r"""Draw random shifts of low rank for the matrices among the parameters, for example for `expected_gradient`.

    .. math:: a = \frac{\sigma}{\sqrt r}\, A B^\top, \qquad A_{ij}, B_{ij} \sim \mathcal N(0, 1), \qquad
              A \in \mathbb R^{m \times r},\ B \in \mathbb R^{n \times r}

    What is a matrix is said by how the loss uses a leaf: the kernel of a convolution has a row for every input
    channel and place of its window; one of attention joins heads and their width; the layers of a stack that a scan
    goes through, the experts of a batched product and the groups of a convolution are matrices of their own. The
    entries of a shift have the standard deviation ``scale`` and no correlation; they are not normal. Other leaves
    (biases, scales, what the loss does not multiply by anything, a matrix that has no more entries than its factors)
    have normal shifts of full rank. `explain` says which are which, and why.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, or a pair of that and an aux. Static: pass a named function. It is
            traced, not evaluated. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays; only shapes and dtypes count.
        *data: Pytrees handed on to ``loss_fn``; only shapes and dtypes count.
        key: Random key.
        num_shifts: How many shifts, ``K``, a positive Python integer.
        rank: The rank, a positive Python integer, common: 1 to 8.
        scale: The standard deviation of every entry, a number or a traced scalar.
        per_example: Whether ``loss_fn`` takes ONE example, and ``data`` have them along their leading axis.
        wrt: Which leaves are shifted: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for
            all.

    Returns:
        A tree like ``params``: a `LowRank` for every leaf with matrices, whose arrays have the shifts along a new
        leading axis of length ``K``, and whose ``dense()`` is the stack of shifts itself; an array for the others;
        ``None`` where ``wrt`` does not select. They are the numbers of ``expected_gradient(..., key=, rank=)``.

    Raises:
        ValueError: If ``num_shifts`` or ``rank`` is not positive, ``scale`` is a negative Python number, NaN or a tree,
            the loss is no scalar, or ``wrt`` selects nothing.
        TypeError: If a leaf that is shifted is no real floating-point array, or a count no Python integer.

    Cost:
        One trace of the loss, and ``K r (m + n)`` random numbers in place of ``K m n``.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return jnp.sum(jnp.tanh(x @ params["w"] + params["b"][None]))
        >>> params, x = {"w": jnp.ones((8, 4)), "b": jnp.ones(4)}, jnp.ones((16, 8))
        >>> shifts = jaxgrad.shift.low_rank_shifts(loss, params, x, key=jax.random.key(0), num_shifts=5, rank=1)
        >>> shifts["w"].left.shape, shifts["w"].right.shape, shifts["b"].shape
        ((5, 1, 8, 1), (5, 1, 4, 1), (5, 4))

    References:
        Sarkar et al. (2025), Evolution strategies at the hyperscale, arXiv:2511.16652, section 4.
    """
    _check.floating(params=_tree.held(loss_fn, params, wrt).active)
    _check.key(key, "key")
    number, rank = _check.count(num_shifts, "num_shifts", least=1), _check.count(rank, "rank", least=1)
    if per_example:
        _check.batch(data)
        data = _tree.take(data, 0)
    samples = low_rank_samples(loss_fn, params, data, Draws(key, number, "normal", scale, rank), wrt, number)
    return jax.vmap(samples.draw)(samples.source)
