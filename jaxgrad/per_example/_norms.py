"""The norm of every example's gradient."""

from __future__ import annotations

from typing import Any, Literal, overload

from jaxgrad._deprecated import renamed
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, Function, T, Ts, Wrt
from jaxgrad._uses._batch import OLD_MODES, Mode, measure, problem_of, together
from jaxgrad._uses._explicit import laid_out

__all__ = ["norms"]


@overload
def norms(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    per_leaf: Literal[False] = False,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
) -> Array: ...
@overload
def norms(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    per_leaf: Literal[False] = False,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
) -> tuple[Array, Aux]: ...
@overload
def norms(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    per_leaf: Literal[True],
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
) -> T: ...
@overload
def norms(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    per_leaf: Literal[True],
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
) -> tuple[T, Aux]: ...
@renamed(mode=OLD_MODES)
@jit("loss_fn", "per_leaf", "mode", "microbatch", "has_aux", "wrt")
@laid_out(lambda at: at.rows)
def norms(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    per_leaf: bool = False,
    mode: Mode = "auto",
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
) -> Any:
    r"""Return the Euclidean norm of the gradient of every example, without forming the gradients.

    .. math:: n_i = \lVert \nabla_\theta\, \ell(\theta, x_i) \rVert_2, \qquad
              \Bigl\lVert \sum_t u_t v_t^\top \Bigr\rVert^2 = \sum_{s,t} (u_s \cdot u_t)(v_s \cdot v_t)

    The gradient of a weight is a sum of outer products of its inputs ``u`` and the cotangents ``v`` of its outputs,
    over positions, patches, time steps and repeated uses; the second formula is its norm. `explain` tells how each
    leaf is held. The norms can be differentiated.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        per_leaf: Whether to return the norms of every leaf apart.
        mode: ``"auto"``, ``"ghost"`` or ``"book-keeping"`` (the same for norms), or ``"vmap"``, by
            ``vmap(grad)``.
        microbatch: How many examples are taken at once; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.

    Returns:
        The norms, of shape ``(B,)``; with ``per_leaf`` a tree like ``params`` of such arrays, zero on leaves that do
        not count. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of length ``B``, from the
        same forward; inside of `jax.shard_map` it is the device's own.

    Raises:
        ValueError: If the leading axes differ or are empty, the loss is no scalar, ``mode`` or ``microbatch`` is
            unknown, or ``wrt`` selects nothing.
        TypeError: If a leaf that counts is no real floating-point array, or ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        A forward and a backward pass without the weight gradients, and the Gram matrices: less than one gradient of
        the batch where examples have few positions.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params, x):
        ...     return params["w"] @ x
        >>> jaxgrad.per_example.norms(loss, {"w": jnp.ones(2)}, jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [5.0, 0.0]

    References:
        Goodfellow (2015), Efficient per-example gradient computations, arXiv:1510.01799.
        Li et al. (2022), Large language models can be strong differentially private learners, arXiv:2110.05679.
    """
    problem = problem_of(loss_fn, params, batch, wrt, mode, has_aux=has_aux)
    groups = [[i] for i in range(len(problem.leaves))] if per_leaf else together(problem)
    found, aux = measure(problem, batch, microbatch, groups)
    result = problem.spread(found) if per_leaf else found[0]
    return (result, aux) if has_aux else result
