"""Kronecker factors with corrected eigenvalues."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, overload

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Key, T, Tree, Ts, Wrt
from jaxgrad._uses._explicit import laid_out
from jaxgrad.curvature._engine._kronecker_passes import correction
from jaxgrad.curvature._engine._leaf_curvature import Eigen
from jaxgrad.curvature._engine._output_checks import Kind
from jaxgrad.curvature._kfac import Approximation, passes
from jaxgrad.curvature._kronecker import KroneckerEigen, KroneckerFactors

__all__ = ["ekfac"]


@overload
def ekfac(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
    factors: KroneckerFactors | None = None,
    kind: Kind = "empirical",
    output_loss: None = None,
    approximation: Approximation = "expand",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    chunk: int | None = None,
    weights: Array | None = None,
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> KroneckerEigen: ...
@overload
def ekfac(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
    factors: KroneckerFactors | None = None,
    kind: Kind = "empirical",
    output_loss: None = None,
    approximation: Approximation = "expand",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    chunk: int | None = None,
    weights: Array | None = None,
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[KroneckerEigen, Aux]: ...
@overload
def ekfac(
    loss_fn: Any,
    params: T,
    *batch: Any,
    factors: KroneckerFactors | None = None,
    kind: Kind = "empirical",
    output_loss: Any,
    approximation: Approximation = "expand",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    chunk: int | None = None,
    weights: Array | None = None,
    microbatch: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> KroneckerEigen: ...
@overload
def ekfac(
    loss_fn: Any,
    params: T,
    *batch: Any,
    factors: KroneckerFactors | None = None,
    kind: Kind = "empirical",
    output_loss: Any,
    approximation: Approximation = "expand",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    chunk: int | None = None,
    weights: Array | None = None,
    microbatch: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[KroneckerEigen, Any]: ...
@jit(
    "loss_fn",
    "kind",
    "output_loss",
    "approximation",
    "num_samples",
    "chunk",
    "microbatch",
    "has_aux",
    "wrt",
    "axis_name",
)
@laid_out(lambda at: at.single)
def ekfac(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
    factors: KroneckerFactors | None = None,
    kind: Kind = "empirical",
    output_loss: Any = None,
    approximation: Approximation = "expand",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Tree = None,
    chunk: int | None = None,
    weights: Array | None = None,
    microbatch: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Approximate the block of every weight by its own diagonal in the eigenbasis of its Kronecker factors.

    .. math:: F_{\text{leaf}} \approx (U_A \otimes U_G) \, \Lambda \, (U_A \otimes U_G)^\top, \qquad
              \Lambda = \frac1W \sum_{n,m} w_n \left( U_A^\top g_{nm} U_G \right)^{\odot 2}

    with the pseudo-gradients :math:`g_{nm}` of `kfac`, whole: with what two positions of one example have in common. No
    diagonal in this basis is closer to the true block, in the Frobenius norm; that of `kfac` is one of them. Where a
    weight is used once, at one position, the squares of a gradient are the products of the squares of its two sides,
    and no gradient is formed; elsewhere they are formed, a chunk at a time.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example, or the model of one example where
            ``output_loss`` is given; as in `kfac`. Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        factors: Factors of `kfac` for the same leaves, of a larger data set for example, in place of those of the
            batch: their eigenvectors are taken.
        kind: ``"empirical"``, ``"mc"`` or ``"exact"``, as in `kfac`.
        output_loss: As in `kfac`.
        approximation: ``"expand"`` or ``"reduce"``: of the factors whose eigenvectors are taken.
        key: For ``"mc"`` alone: a random key.
        num_samples: With ``key``: how many targets are drawn for every example, 1 where it is ``None``; static.
        samples: For ``"mc"``, in place of ``key``: targets that were drawn, of shape ``(num_samples, B, ...)``.
        chunk: How many pseudo-gradients of an example are held at once, of the outputs for ``"exact"``, of the drawn
            targets for ``"mc"``; it need not divide them. ``None`` is all: a few where outputs are many.
        weights: Of shape ``(B,)``, or ``(N, B)`` for stacked batches, as in `kfac`.
        microbatch: How many examples are taken at once, the last chunk padded; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns a pair, with any pytree of arrays as ``aux`` second.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the curvature is that of all examples; ``None``: the device's own.

    Returns:
        The `KroneckerEigen`, a pytree with ``product``, ``inverse_product``, ``inverse_square_root``,
        ``log_determinant``, ``sample`` and ``explain``. Leaves without factors have the block or the diagonal of
        `kfac`. With ``has_aux`` the pair of this and ``aux``, stacked along a leading axis of length ``B``; inside of
        `jax.shard_map` it is the device's own.

    Raises:
        ValueError: As `kfac`; and if ``factors`` are those of other leaves.
        TypeError: As `kfac`; and if ``factors`` are none.

    Cost:
        The factors of `kfac`, an eigendecomposition of each, and where every weight is used at one position about as
        much once more: 0.9 times the factors for a multilayer perceptron, 1.3 times where ``factors`` are given and the
        forward and backward pass is not shared. A product of matrices for every example beyond. Memory as `kfac`.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return x @ w
        >>> x, y = jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.zeros((2, 1))
        >>> curved = jaxgrad.curvature.ekfac(
        ...     model, jnp.ones((2, 1)), x, y, kind="exact", output_loss="squared_error"
        ... )
        >>> curved.product(jnp.array([[1.0], [1.0]])).tolist()
        [[2.0], [8.0]]

    References:
        George et al. (2018), Fast approximate natural gradient descent in a Kronecker-factored eigenbasis,
        arXiv:1806.03884, equation 8.
    """
    found, _, source, every, length = passes(
        loss_fn,
        params,
        batch,
        kind=kind,
        output_loss=output_loss,
        approximation=approximation,
        key=key,
        num_samples=num_samples,
        samples=samples,
        chunk=chunk,
        weights=weights,
        microbatch=microbatch,
        has_aux=has_aux,
        wrt=wrt,
        axis_name=axis_name,
    )
    basis = (found if factors is None else _like(factors, found)).eigen()
    corrected, aux = correction(source, found.about.leaves, basis.leaves, every, length, axis_name)
    leaves = [
        leaf._replace(corrected=values) if isinstance(leaf, Eigen) and values is not None else leaf
        for leaf, values in zip(basis.leaves, corrected, strict=True)
    ]
    result = dataclasses.replace(basis, leaves=tuple(leaves))
    return (result, aux) if has_aux else result


def _like(factors: Any, found: KroneckerFactors) -> KroneckerFactors:
    """Return factors that were given, after refusing those of other leaves.

    Raises:
        ValueError: If they are those of other leaves.
        TypeError: If they are no factors.
    """
    headline = "factors must be those of curvature.kfac for the same params, wrt and approximation; "
    if not isinstance(factors, KroneckerFactors):
        message = headline + f"got {_check.describe(factors)}"
        raise TypeError(message)
    lines = factors.about.differences(found.about)
    if lines:
        message = "\n  ".join([headline + "these, and those of the batch, differ in", *lines])
        raise ValueError(message)
    return factors
