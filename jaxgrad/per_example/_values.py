"""The outputs of a one-example function over a batch."""

from __future__ import annotations

from typing import TypeVar

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Function, T, Ts
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._map_examples import map_examples, one_example

__all__ = ["values"]

R = TypeVar("R")
"""The type of what the function returns."""


@jit("fun")
@laid_out(lambda at: at.rows)
def values(fun: Function[T, *Ts, R], params: T, *batch: *Ts) -> R:
    r"""Apply a function of one example to every example of a batch.

    .. math:: y_i = f(\theta, x_i)

    Args:
        fun: ``fun(params, *example)`` returns any tree of arrays, such as the pair ``(loss, aux)``. Static: pass a
            named function. More in ``help(jaxgrad)``.
        params: Any pytree, shared by the examples.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.

    Returns:
        The outputs, stacked along a new leading axis of length ``B``.

    Raises:
        ValueError: If the leading axes differ or are empty.

    Cost:
        One forward over the batch.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(weight, x):
        ...     return jnp.maximum(weight @ x, 0.0)
        >>> jaxgrad.per_example.values(model, jnp.array([1.0, -1.0]), jnp.array([[3.0, 1.0], [1.0, 3.0]])).tolist()
        [2.0, 0.0]

    References:
        Bradbury et al. (2018), JAX: composable transformations of Python+NumPy programs (``jax.vmap``).
    """
    _check.batch(batch)
    one = one_example(fun)
    params = _sharding.own(lambda params, *rows: map_examples(one, params, rows), params, *batch)
    return map_examples(one, params, batch)
