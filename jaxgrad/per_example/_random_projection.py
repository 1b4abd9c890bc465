"""Random projections of per-example gradients."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, Function, Key, Params, T, Ts, Wrt
from jaxgrad._uses._batch import problem_of
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._slopes import Slopes, from_slopes

__all__ = ["random_projection"]


@overload
def random_projection(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    key: Key,
    dim: int,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
) -> Array: ...
@overload
def random_projection(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    key: Key,
    dim: int,
    has_aux: Literal[True],
    wrt: Wrt = None,
) -> tuple[Array, Aux]: ...
@jit("loss_fn", "dim", "has_aux", "wrt")
@laid_out(lambda at: at.rows)
def random_projection(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    key: Key,
    dim: int,
    has_aux: bool = False,
    wrt: Wrt = None,
) -> Any:
    r"""Project the gradient of every example onto random directions.

    .. math:: y_{ik} = \frac{1}{\sqrt{d}}\, r_k \cdot \nabla_\theta\, \ell(\theta, x_i), \qquad
              r_k \in \{-1, 1\}^P

    Inner products survive in expectation, ``E[y_i . y_j] = g_i . g_j``, with a relative error of about
    ``1 / sqrt(dim)``: features for data attribution. Every direction is one directional derivative of all losses, so
    neither a gradient nor the matrix of directions is formed. Batches projected with one key can be compared.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        key: Random key of the directions.
        dim: The number of directions ``d``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.

    Returns:
        Features of shape ``(B, dim)``. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of
        length ``B``, from the same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If ``dim`` is below 1, the leading axes differ or are empty, the loss is no scalar, or ``wrt``
            selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One forward, then ``dim`` directional derivatives of about 2/3 of a gradient each, one after the other, and a
        random sign for every parameter and direction. A loss with a ``jax.custom_vjp`` has only gradients: they are
        formed once, a chunk at a time.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w, x):
        ...     return w * x
        >>> key, x = jax.random.key(0), jnp.array([1.0, -3.0])
        >>> y = jaxgrad.per_example.random_projection(loss, jnp.array(1.0), x, key=key, dim=4)
        >>> (y @ y.T).tolist()
        [[1.0, -3.0], [-3.0, 9.0]]

    References:
        Park et al. (2023), TRAK: attributing model behavior at scale, arXiv:2303.14186, section 3.2.
    """
    problem = problem_of(loss_fn, params, batch, wrt, plan=False, has_aux=has_aux)
    dim = _check.count(dim, "dim", least=1)
    kept = _tree.accumulator(*(leaf.dtype for leaf in problem.leaves))

    def features(slopes: Slopes) -> Array:
        def one(k: Key) -> Array:
            return slopes(jax.tree.map(_sharding.like, direction(k, problem.leaves), problem.leaves)).astype(kept)

        return lax.map(one, jax.random.split(key, dim)).T

    rows, aux = from_slopes(problem, batch, features)
    result = rows / jnp.sqrt(jnp.asarray(dim, kept))
    return (result, aux) if has_aux else result


def direction(key: Key, like: Params) -> Params:
    """Draw a tree of signs."""
    leaves, structure = jax.tree.flatten(like)
    treedef: Any = structure
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten([jax.random.rademacher(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)])
