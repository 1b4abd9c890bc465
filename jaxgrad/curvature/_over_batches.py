"""Products with the curvature of a whole data set, whose minibatches an iterator of the host gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import T, Tree
from jaxgrad.curvature._engine._batch_sums import divided, mirrored, plus, widest
from jaxgrad.curvature._engine._symmetric import over_floats

__all__ = ["over_batches"]


def over_batches(
    product: Callable[..., Any],
    params: T,
    vector: T,
    batches: Iterable[tuple[Any, ...]],
    *,
    check: bool = False,
) -> T:
    r"""Multiply the curvature of a data set by a vector, with the batches from an iterator of the host.

    .. math:: A v = \frac{\sum_b \sum_i A_{bi} v}{\sum_b B_b}

    The result is that of `over_dataset`; the batches may have any sizes and are never together in memory. A batch that
    is smaller than one before it is filled up with rows of weight 0, so that a data set with a small last batch
    compiles one program.

    Args:
        product: ``product(params, vector, *batch, weights) -> tree like vector``, the weighted SUM over a batch, as for
            `over_dataset`; every example weighs 1 here. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``; or several, where ``product`` takes them.
        batches: What is iterated over once: tuples ``(x, y)`` of pytrees, whose leaves have the examples along their
            leading axis.
        check: Whether to compare two products of the first batch, and its halves with the whole: a loss that is no pure
            function, one that reads a state of the host through a callback, and one whose examples see each other, a
            BatchNorm in training mode, are refused. Three more products. A batch whose product is not finite is refused
            by its number, which waits for each.

    Returns:
        The product, with the structure, shapes and dtypes of ``vector``; it is summed in float32 at the least.

    Raises:
        ValueError: If there is no batch, one is empty or ragged, the product does not mirror ``vector``, or ``check``
            finds two products that differ, or one that is not finite.
        TypeError: If a batch is no tuple.

    Cost:
        The products of all batches, and the transfer of each batch to the device.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return 0.5 * jnp.sum((w * x) ** 2)
        >>> product = functools.partial(jaxgrad.curvature.hvp, jaxgrad.curvature.weighted_loss(loss))
        >>> loader = iter([(jnp.array([1.0, 2.0]),), (jnp.array([3.0]),)])
        >>> w = jnp.array(1.0)
        >>> round(jaxgrad.curvature.over_batches(product, w, w, loader).item(), 4)
        4.6667

    References:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6, section 4.
    """
    _static.refuse_no_function(product, "over_batches: product", {"params": params})
    total, count = None, 0
    for number, (rows, weights) in enumerate(_padded(batches)):
        part = _step(product, params, vector, rows, weights)
        if check:
            _refuse_not_finite(part, number, params=params, vector=vector, batch=rows)
        if check and number == 0:
            _compare(product, params, vector, rows, weights, part)
        total = part if total is None else _added(total, part)
        count += int(weights.sum())
    if total is None:
        message = "batches holds no batch: a mean over no example is undefined; was the iterator read before?"
        raise ValueError(message)
    return _divide(total, count, vector)


def _padded(batches: Iterable[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Fill every batch up to the largest so far, and give the weights of its rows."""
    largest = 0
    for batch in batches:
        if not isinstance(batch, tuple):
            message = (
                "batches must give tuples of what the product takes after the vector, (x, y); got"
                f" {_check.describe(batch)}: write (batch,) for one array"
            )
            raise TypeError(message)
        size = _check.batch(batch)
        largest = max(largest, size)
        index = np.arange(largest) % size
        rows = batch if size == largest else jax.tree.map(lambda leaf, index=index: leaf[index], batch)
        yield rows, (np.arange(largest) < size).astype(np.float32)


@jit("product", name="over_batches")
def _step(product: Callable[..., Any], params: Tree, vector: Tree, rows: tuple[Tree, ...], weights: Any) -> Tree:
    """Return the sum over one batch, in float32 at the least."""
    part = mirrored(product(params, vector, *rows, weights), vector)
    return jax.tree.map(widest, part)


@jit()
def _added(total: Tree, part: Tree) -> Tree:
    """Add two sums."""
    return jax.tree.map(plus, total, part)


@jit()
def _divide(total: Tree, count: Any, like: Tree) -> Tree:
    """Divide the sum over all batches once."""
    return divided(total, jnp.asarray(count), like)


def _compare(
    product: Callable[..., Any], params: Tree, vector: Tree, rows: tuple[Tree, ...], weights: np.ndarray, whole: Tree
) -> None:
    """Refuse a product that differs when it is taken again, or from the sum of those of the two halves of the batch.

    Raises:
        ValueError: With how far they differ, and what that means.
    """
    _refuse_apart(
        whole,
        _step(product, params, vector, rows, weights),
        "two products of the same batch",
        "the loss is no pure function of its arguments (does it read a state of the host through a callback?); pass"
        " what changes, a random key too, in the data",
    )
    size = len(weights)
    if size < 2:
        return
    half, index = size // 2, np.arange(size)
    halves = []
    for start, length in ((0, half), (half, size - half)):
        # the half, over and over: the other examples are not there to be seen
        part = jax.tree.map(lambda leaf, rows=start + index % length: leaf[rows], rows)
        halves.append(_step(product, params, vector, part, (index < length).astype(np.float32)))
    _refuse_apart(
        whole,
        _added(*halves),
        "the product of a batch and the sum of those of its halves",
        "its examples see each other (a BatchNorm in training mode?), or the product is no weighted sum over them; use"
        " the running statistics, or a product of one batch",
    )


def _refuse_not_finite(part: Tree, number: int, **given: Tree) -> None:
    """Refuse a product that holds NaN or infinity.

    Raises:
        ValueError: With the number of the batch, and what of it is not finite itself.
    """
    if not _not_finite("the product", part):
        return
    found = [leaf for name, tree in given.items() for leaf in _not_finite(name, tree)]
    cause = (
        f"NaN or infinity is in {', '.join(found)}"
        if found
        else "all that it is given is finite: the loss, or a derivative, is not"
    )
    message = f"the product of batch {number} (from 0) is not finite; {cause}"
    raise ValueError(message)


def _not_finite(name: str, tree: Tree) -> list[str]:
    """Return the places of the leaves with a number that is not finite."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    real = [(path, leaf) for path, leaf in leaves if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return [_check.locate(name, path) for path, leaf in real if not bool(jnp.all(jnp.isfinite(leaf)))]


def _refuse_apart(first: Tree, second: Tree, what: str, meaning: str) -> None:
    """Refuse two trees that differ by more than rounding.

    Raises:
        ValueError: With how far they differ.
    """
    floats = over_floats(first, "the product")
    first, second = floats.active, floats.pick(second)
    least = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(first)) ** 0.5
    difference = float(_tree.norm(jax.tree.map(jnp.subtract, first, second)))
    size = float(_tree.norm(first))
    if not difference <= least * size:
        message = f"{what} differ by {difference:.3g}, where their norm is {size:.3g}: {meaning}"
        raise ValueError(message)
