"""Kronecker factors of the curvature of any model."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax.numpy as jnp

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Key, T, Tree, Ts, Wrt
from jaxgrad._uses._explicit import laid_out
from jaxgrad.curvature._engine._about import about_of
from jaxgrad.curvature._engine._kronecker_passes import factor_sums, flattened, forms_of
from jaxgrad.curvature._engine._output_checks import Kind
from jaxgrad.curvature._engine._pseudo_gradients import Source, source_of
from jaxgrad.curvature._kronecker import KroneckerFactors

__all__ = ["Approximation", "kfac", "passes"]


Approximation = Literal["expand", "reduce"]
"""How a weight that is used at several positions is taken."""


@overload
def kfac(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *batch: *Ts,
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
) -> KroneckerFactors: ...
@overload
def kfac(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *batch: *Ts,
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
) -> tuple[KroneckerFactors, Aux]: ...
@overload
def kfac(
    loss_fn: Any,
    params: T,
    *batch: Any,
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
) -> KroneckerFactors: ...
@overload
def kfac(
    loss_fn: Any,
    params: T,
    *batch: Any,
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
) -> tuple[KroneckerFactors, Any]: ...
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
def kfac(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *batch: *Ts,
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
    r"""Approximate the block of every weight in a Fisher or Gauss-Newton matrix by a Kronecker product of two factors.

    .. math:: F = \frac1W \sum_{n,m} w_n \, g_{nm} g_{nm}^\top, \qquad
              g_{nm} = \sum_{t=1}^{T} a_{nt} b_{nmt}^\top, \qquad F_{\text{leaf}} \approx A \otimes G

    with :math:`a` what enters a use of the weight, and :math:`b` the cotangent of what leaves it. Every use is found
    in the program of the loss: no layer is registered, and a weight may be used several times, in the iterations of a
    scan, under attention, in a convolution or a lookup. A term :math:`t` is a use at a position.

    ``"expand"`` takes the terms as examples, ``"reduce"`` the examples as one term each:

    .. math:: A = \frac{1}{W T} \sum_{n,t} w_n a_{nt} a_{nt}^\top, \quad
              G = \frac1W \sum_{n,m,t} w_n b_{nmt} b_{nmt}^\top
              \qquad\text{or}\qquad
              A = \frac1W \sum_n w_n \bar a_n \bar a_n^\top, \quad
              G = \frac1W \sum_{n,m} w_n \Big(\sum_t b_{nmt}\Big) \Big(\sum_t b_{nmt}\Big)^\top

    with :math:`\bar a_n` the mean over :math:`t`. Both are exact for a single use of a single example. In a network
    of linear layers with a squared error ``kind="exact"`` gives the true blocks, with ``"expand"`` where the loss is a
    mean over positions, with ``"reduce"`` where the positions are averaged before it.

    A leaf whose gradient is no such sum (a bias, a scale) has its exact block up to 512 entries, and its exact
    diagonal beyond; ``explain()`` of the result says which leaf gets what. The scale is that of the mean loss.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example; or, where ``output_loss`` is given, the
            model of one example, ``model_fn(params, x) -> outputs``, with the targets after ``x`` in the batch.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *batch: Pytrees whose leaves have the examples along their leading axis, of length ``B``.
        kind: ``"empirical"``: the gradients are those of the losses; ``"exact"``: the columns of the Jacobian times a
            root of the Hessian of the loss in the outputs, the Gauss-Newton matrix (a backward pass for every
            output); ``"mc"``: at targets drawn from the outputs' own distribution, unbiased for the exact one. Of both
            a softmax whose targets are distributions takes the sum of each, 1 or not, as the weight of its position.
        output_loss: ``"squared_error"`` (half the squared distance), ``"softmax_cross_entropy"`` or ``"bernoulli"``
            (logits), each the mean over the positions of an example, or a function ``(outputs, *targets) -> ()``,
            whose Hessian in the outputs of one example is formed for ``"exact"``; its negative eigenvalues count as
            zero.
        approximation: ``"expand"`` or ``"reduce"``.
        key: For ``"mc"`` alone: a random key. Each example has its own draws, by its place in the batch.
        num_samples: With ``key``: how many targets are drawn for every example, 1 where it is ``None``; static.
        samples: For ``"mc"``, in place of ``key``: targets that were drawn, of shape ``(num_samples, B, ...)``.
        chunk: How many pseudo-gradients of an example are held at once, of the outputs for ``"exact"``, of the drawn
            targets for ``"mc"``; it need not divide them. ``None`` is all: a few where outputs are many.
        weights: Of shape ``(B,)``: how much every example counts, 0 for padding; all alike where ``None``. Of shape
            ``(N, B)`` for ``N`` stacked batches, whose leaves begin with ``(N, B)``: they are taken one by one.
        microbatch: How many examples are taken at once, the last chunk padded; ``None`` chooses.
        has_aux: Whether ``loss_fn`` returns a pair, with any pytree of arrays as ``aux`` second.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread:
            the factors are those of all examples; ``None``: the device's own.

    Returns:
        The `KroneckerFactors`, a pytree with ``product``, ``inverse_product``, ``inverse_square_root``,
        ``log_determinant``, ``sample``, ``eigen`` and ``explain``. Those of two batches add up. With ``has_aux`` the
        pair of this and ``aux``, stacked along a leading axis of length ``B``; inside of `jax.shard_map` it is the
        device's own.

    Raises:
        ValueError: If ``kind`` or ``approximation`` is unknown, lacks what it needs (``output_loss``, ``key``, a
            distribution to draw from) or gets what it does not (``key``, ``num_samples``, ``samples``), ``chunk`` is
            below 1, the leading axes differ or are empty, ``weights`` or ``samples`` do not fit, or ``wrt`` selects
            nothing.
        TypeError: If a leaf that counts is no real floating-point array, ``output_loss`` is neither name nor function,
            or the model's outputs are no floating-point array.

    Cost:
        A gradient without the products that make weight gradients, one more backward pass for every further
        pseudo-gradient, and the products that make the factors: about 1.35 gradients (FLOPs) for a multilayer
        perceptron. What is held beside the factors grows with ``chunk`` and ``microbatch``, not with the number of
        outputs or examples.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return x @ w
        >>> x, y = jnp.array([[2.0, 0.0], [0.0, 2.0]]), jnp.zeros((2, 1))
        >>> factors = jaxgrad.curvature.kfac(
        ...     model, jnp.ones((2, 1)), x, y, kind="exact", output_loss="squared_error"
        ... )
        >>> factors.product(jnp.array([[1.0], [3.0]])).tolist()
        [[2.0], [6.0]]

    References:
        Martens and Grosse (2015), Optimizing neural networks with Kronecker-factored approximate curvature,
        arXiv:1503.05671. Grosse and Martens (2016), arXiv:1602.01407 (convolutions). Eschenhagen et al. (2023),
        Kronecker-factored approximate curvature for modern neural network architectures, arXiv:2311.00636 (expand,
        reduce, and where they are exact). Bernacchia, Lengyel and Hennequin (2018), Exact natural gradient in deep
        linear networks.
    """
    factors, aux, *_ = passes(
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
    return (factors, aux) if has_aux else factors


def passes(
    loss_fn: Any,
    params: Any,
    batch: tuple[Any, ...],
    *,
    approximation: str,
    samples: Any,
    weights: Any,
    microbatch: int | None,
    wrt: Wrt,
    axis_name: AxisName,
    **options: Any,
) -> tuple[KroneckerFactors, Any, Source, Any, int | None]:
    """Return the factors, aux, and what a second pass takes: the source, its weights and the length of a chunk."""
    _check.choice(approximation, "approximation", ("expand", "reduce"))
    stacked = getattr(weights, "ndim", 1) == 2
    batch, weights, microbatch = flattened(batch, weights, microbatch)
    if stacked and samples is not None:
        samples = samples.reshape(samples.shape[0], -1, *samples.shape[3:])
    source = source_of(loss_fn, params, batch, wrt, samples=samples, axis_name=axis_name, **options)
    forms = forms_of(source, params, wrt, approximation)
    sums, weight, aux = factor_sums(source, forms, approximation, weights, microbatch, axis_name)
    # the sum over all examples of how many terms each has: that of a batch has one number, two may differ
    terms = tuple(weight * jnp.asarray(form.terms, weight.dtype) for form in forms)
    about = about_of(params, wrt, forms, approximation)
    return KroneckerFactors(sums, weight, terms, about), aux, source, weights, microbatch
