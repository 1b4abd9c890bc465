"""Products with the curvature of a whole data set: a sum over minibatches, divided once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _sharding, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, T, Tree
from jaxgrad.curvature._engine._loops import in_a_loop

__all__ = ["over_batches", "over_dataset", "stack_batches", "weighted_loss"]


@jit("product", "axis_name")
def over_dataset(
    product: Callable[..., Any],
    params: T,
    vector: T,
    batches: tuple[Tree, ...],
    weights: Array | np.ndarray,
    *,
    axis_name: AxisName = None,
) -> T:
    r"""Multiply the curvature of a whole data set by a vector, one minibatch after the other in one program.

    .. math:: A v = \frac{\sum_b \sum_i w_{bi} A_{bi} v}{\sum_b \sum_i w_{bi}}

    with :math:`A_{bi}` the curvature of example ``i`` of batch ``b``. The one division is at the end, so it is the
    product of the mean loss over all examples whatever the batches; padding, rows of weight 0, counts for nothing.

    Args:
        product: ``product(params, vector, *batch, weights) -> tree like vector``, the weighted SUM over a batch:
            ``functools.partial(jaxgrad.curvature.hvp, weighted_loss(loss_fn))`` with a loss of one example, or
            ``functools.partial(jaxgrad.curvature.ggn_product, model_fn, output_loss="softmax_cross_entropy")``, whose
            targets are then the labels and the weights. Static, as a function is in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``; or several, along one more leading axis,
            where ``product`` takes them.
        batches: Tuple of pytrees whose leaves are stacked minibatches, of shape ``(batches, examples, ...)``, as from
            `stack_batches`.
        weights: The weight of every example, of shape ``(batches, examples)``: 1, or 0 on padding.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the examples are spread: both
            sums are over all devices; ``None``: the device's own.

    Returns:
        The product, with the structure, shapes and dtypes of ``vector``; it is summed in float32 at the least. NaN
        where all weights are 0.

    Raises:
        ValueError: If the leading axes differ or there is no batch, ``weights`` has another shape, the product does not
            mirror ``vector`` (leave ``has_aux`` and ``full_output`` out), or ``axis_name`` is no axis around.
        TypeError: If ``batches`` is no tuple, or ``weights`` holds no real numbers.

    Cost:
        The products of all batches, one after the other, and the temporaries of one. A BatchNorm in training mode has
        the statistics of the rows of its batch, padding included: its data set has no curvature that does not depend on
        the batches; `over_batches` with ``check=True`` finds it.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return 0.5 * jnp.sum((w * x) ** 2)
        >>> product = functools.partial(jaxgrad.curvature.hvp, jaxgrad.curvature.weighted_loss(loss))
        >>> batches, weights = jaxgrad.curvature.stack_batches((jnp.array([1.0, 2.0, 3.0]),), 2)
        >>> w = jnp.array(1.0)
        >>> round(jaxgrad.curvature.over_dataset(product, w, w, batches, weights).item(), 4)
        4.6667

    References:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6, section 4.
    """
    weights = _checked(batches, weights)
    params, vector = _sharding.replicated(params, axis_name), _sharding.replicated(vector, axis_name)

    def add_one(total: Tree, batch: tuple[tuple[Tree, ...], Array]) -> tuple[Tree, None]:
        rows, weight = batch
        return jax.tree.map(_plus, total, _mirrored(product(params, vector, *rows, weight), vector)), None

    # where the two do not fit the product says so
    structure: Any = jax.tree.structure(vector)
    alike = structure == jax.tree.structure(params)
    start = jax.tree.map(_blank, vector, params if alike else vector)
    start = _sharding.settled(lambda *given: add_one(*given)[0], start, _tree.take((batches, weights), 0))
    total, _ = jax.lax.scan(in_a_loop(add_one), start, (batches, weights))
    total, count = _sharding.sum_over((total, jnp.sum(weights)), axis_name)
    return _divided(total, count, vector)


def _checked(batches: Any, weights: Any) -> Array:
    """Return the weights in float32 at the least, after a look at the shapes of everything.

    Raises:
        ValueError: If the leading axes differ, there is no batch, or ``weights`` has another shape.
        TypeError: If ``batches`` is no tuple, or ``weights`` holds no real numbers.
    """
    if not isinstance(batches, tuple):
        message = (
            "batches must be a tuple of what the product takes after the vector, (x, y), stacked; got"
            f" {_check.describe(batches)}: write (batches,) for one array"
        )
        raise TypeError(message)
    if _check.same_leading(**{f"batches[{i}]": tree for i, tree in enumerate(batches)}, weights=weights) == 0:
        message = "batches is empty: its leading axis has length 0, and a mean over no example is undefined"
        raise ValueError(message)
    wrong = [
        f"batches[{i}]{jax.tree_util.keystr(path)}: got {_check.describe(leaf)}"
        for i, tree in enumerate(batches)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.ndim(weights) != 2 or jnp.shape(leaf)[:2] != jnp.shape(weights)
    ]
    if wrong:
        message = "\n  ".join(
            [
                f"weights must have the first two axes of every array of batches, (batches, examples); got"
                f" {_check.describe(weights)} with",
                *wrong,
            ]
        )
        raise ValueError(message)
    kept = weights if jnp.issubdtype(jnp.result_type(weights), jnp.floating) else jnp.zeros((), jnp.float32)
    _check.numbers_like(weights, "weights", kept)
    return jnp.asarray(weights).astype(_tree.accumulator(jnp.result_type(kept)))


def _mirrored(product: Tree, vector: Tree) -> Tree:
    """Return the product of one batch, refused unless it mirrors the vector.

    Raises:
        ValueError: If it does not; with what to leave out of the product.
    """
    try:
        _check.mirrors(vector=vector, **{"the result of product": product})
    except ValueError as error:
        message = f"{error}\n  leave has_aux and full_output out of the product: what they return is not summed"
        raise ValueError(message) from None
    return product


def _blank(leaf: Array, like: Array) -> Array:
    """Return the start of a sum of products: zeros that lie over the devices as the parameters do."""
    zeros = jnp.zeros_like(leaf, dtype=_tree.accumulator(leaf.dtype))
    return _sharding.like(zeros, like) if zeros.shape == jnp.shape(like) else zeros


def _plus(total: Array, leaf: Array) -> Array:
    """Add in the dtype and the layout of the sum."""
    return total + _sharding.like(leaf.astype(total.dtype), total)


def _divided(total: Tree, count: Array, like: Tree) -> Tree:
    """Divide a sum once, and return it in the dtypes of another tree."""
    return jax.tree.map(lambda leaf, other: (leaf / count.astype(leaf.dtype)).astype(other.dtype), total, like)


def stack_batches(arrays: tuple[Tree, ...], batch_size: int) -> tuple[tuple[Tree, ...], np.ndarray]:
    r"""Stack a data set in minibatches of one size, the last filled up with rows of weight 0.

    .. math:: w_{bi} = 1 \text{ if } b B + i < N, \text{ else } 0

    The rows that fill up are copies of examples, so nothing that is not finite comes in by them. It runs in NumPy,
    once, in front of the products.

    Args:
        arrays: Tuple of pytrees whose leaves have the examples along their leading axis, of length ``N``.
        batch_size: How many examples to a batch, ``B``; the last batch need not be full.

    Returns:
        ``(batches, weights)``: the data with leaves of shape ``(ceil(N / B), B, ...)``, and float32 weights of shape
        ``(ceil(N / B), B)``, for `over_dataset`.

    Raises:
        ValueError: If the leading axes differ or are empty, or ``batch_size`` is below 1.
        TypeError: If ``arrays`` is no tuple, or ``batch_size`` is no Python integer.

    Cost:
        A copy of the data.

    Example:
        >>> import numpy as np
        >>> import jaxgrad
        >>> batches, weights = jaxgrad.curvature.stack_batches((np.arange(3.0),), 2)
        >>> batches[0].tolist(), weights.tolist()
        ([[0.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]])

    References:
        The mask of a padded minibatch, as in `optax.losses`.
    """
    if not isinstance(arrays, tuple):
        message = f"arrays must be a tuple, (x, y); got {_check.describe(arrays)}: write (x,) for one array"
        raise TypeError(message)
    size, count = _check.count(batch_size, "batch_size", least=1), _check.batch(arrays)
    size = min(size, count)
    turns = -(-count // size)
    # rows from the front fill up, round and round
    index = np.arange(turns * size) % count
    batches = jax.tree.map(lambda leaf: np.asarray(leaf)[index].reshape(turns, size, *np.shape(leaf)[1:]), arrays)
    return batches, (np.arange(turns * size) < count).astype(np.float32).reshape(turns, size)


def weighted_loss(loss_fn: Callable[..., Any]) -> Callable[..., Array]:
    r"""Turn a loss of one example into a weighted sum over a batch.

    .. math:: L(\theta) = \sum_i w_i \, \ell(\theta, x_i)

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. More in ``help(jaxgrad)``.

    Returns:
        ``loss(params, *batch, weights) -> ()``, the loss that `over_dataset` wants in its product. It is known by
        ``loss_fn``, so that the same function twice is one program.

    Raises:
        TypeError: If ``loss_fn`` is no function; and when it is called, if it returns no real number alone (an aux has
            no place in a sum).
        ValueError: When it is called, if a loss is no scalar, or the weights have another shape than ``(examples,)``.

    Cost:
        The losses of all examples at once, by ``jax.vmap``.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w * x
        >>> jaxgrad.curvature.weighted_loss(loss)(jnp.array(2.0), jnp.array([1.0, 3.0]), jnp.array([1.0, 0.5])).item()
        5.0

    References:
        Importance weights of empirical risk, Vapnik (1998), Statistical Learning Theory.
    """
    if not callable(loss_fn):
        message = f"weighted_loss: loss_fn must be a function; got {_check.describe(loss_fn)}"
        raise TypeError(message)
    return functools.partial(_weighted_sum, loss_fn)


def _weighted_sum(loss_fn: Callable[..., Any], params: Tree, *given: Any) -> Array:
    """Return the weighted sum of the losses of the examples; the weights come last."""
    *batch, weights = given

    def one(params: Tree, *example: Any) -> Any:
        out = loss_fn(params, *example)
        if isinstance(out, tuple):
            message = (
                f"weighted_loss takes a loss that returns one real scalar for an example; got a tuple of {len(out)}:"
                " return the loss alone, an aux has no place in a sum"
            )
            raise TypeError(message)
        return _check.real_scalar(out)

    if jnp.ndim(weights) != 1 or jnp.shape(weights)[0] != _check.batch(tuple(batch)):
        message = (
            "the last argument of a weighted loss must be the weights of the examples, of shape"
            f" [{_check.batch(tuple(batch))}]; got {_check.describe(weights)}"
        )
        raise ValueError(message)
    losses = jax.vmap(one, in_axes=(None,) + (0,) * len(batch))(params, *batch)
    return jnp.sum(losses * jnp.asarray(weights).astype(losses.dtype))


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
            BatchNorm in training mode, are refused. Three more products.

    Returns:
        The product, with the structure, shapes and dtypes of ``vector``; it is summed in float32 at the least.

    Raises:
        ValueError: If there is no batch, one is empty or ragged, the product does not mirror ``vector``, or ``check``
            finds two products that differ.
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
    for rows, weights in _padded(batches):
        if total is None and check:
            _compare(product, params, vector, rows, weights)
        part = _step(product, params, vector, rows, weights)
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
    part = _mirrored(product(params, vector, *rows, weights), vector)
    return jax.tree.map(lambda leaf: leaf.astype(_tree.accumulator(leaf.dtype)), part)


@jit()
def _added(total: Tree, part: Tree) -> Tree:
    """Add two sums."""
    return _tree.add(total, part)


@jit()
def _divide(total: Tree, count: Any, like: Tree) -> Tree:
    """Divide the sum over all batches once."""
    return _divided(total, jnp.asarray(count), like)


def _compare(
    product: Callable[..., Any], params: Tree, vector: Tree, rows: tuple[Tree, ...], weights: np.ndarray
) -> None:
    """Refuse a product that differs from itself, or from the sum of those of the two halves of the batch.

    Raises:
        ValueError: With how far they differ, and what that means.
    """
    whole, again = (_step(product, params, vector, rows, weights) for _ in range(2))
    _refuse_apart(
        whole,
        again,
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


def _refuse_apart(first: Tree, second: Tree, what: str, meaning: str) -> None:
    """Refuse two trees that differ by more than rounding.

    Raises:
        ValueError: With how far they differ.
    """
    least = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(first)) ** 0.5
    difference = float(_tree.norm(jax.tree.map(jnp.subtract, first, second)))
    size = float(_tree.norm(first))
    if not difference <= least * size:
        message = f"{what} differ by {difference:.3g}, where their norm is {size:.3g}: {meaning}"
        raise ValueError(message)
