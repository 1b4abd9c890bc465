"""Products with the curvature of a whole data set: a sum over minibatches, divided once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, T, Tree
from jaxgrad.curvature._engine._batch_sums import blank, divided, mirrored, plus
from jaxgrad.curvature._engine._loops import in_a_loop

__all__ = ["over_dataset"]


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
        return jax.tree.map(plus, total, mirrored(product(params, vector, *rows, weight), vector)), None

    # where the two do not fit the product says so
    structure: Any = jax.tree.structure(vector)
    alike = structure == jax.tree.structure(params)
    start = jax.tree.map(blank, vector, params if alike else vector)
    start = _sharding.settled(lambda *given: add_one(*given)[0], start, _tree.take((batches, weights), 0))
    total, _ = jax.lax.scan(in_a_loop(add_one), start, (batches, weights))
    total, count = _sharding.sum_over((total, jnp.sum(weights)), axis_name)
    return divided(total, count, vector)


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
