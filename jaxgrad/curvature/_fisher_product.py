"""The Fisher matrix of a model times a vector, or several: exact, sampled or empirical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import jax
from jax import lax

from jaxgrad import _check, _sharding
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, Key, T, Tree, Wrt, X
from jaxgrad.curvature._engine import _output_checks, _output_losses
from jaxgrad.curvature._engine._gauss_newton import middle_product
from jaxgrad.curvature._engine._output_checks import Kind
from jaxgrad.curvature._engine._product import Product

__all__ = ["fisher_product"]


@overload
def fisher_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: Literal["squared_error", "softmax_cross_entropy", "bernoulli"],
    kind: Kind = "exact",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Array | None = None,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def fisher_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: Literal["squared_error", "softmax_cross_entropy", "bernoulli"],
    kind: Kind = "exact",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Array | None = None,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Product[T]: ...
@overload
def fisher_product(
    model_fn: Function[T, X, tuple[Any, Aux]],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: Literal["squared_error", "softmax_cross_entropy", "bernoulli"],
    kind: Kind = "exact",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Array | None = None,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def fisher_product(
    model_fn: Function[T, X, tuple[Any, Aux]],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: Literal["squared_error", "softmax_cross_entropy", "bernoulli"],
    kind: Kind = "exact",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Array | None = None,
    has_aux: Literal[True],
    full_output: Literal[True],
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Product[T], Aux]: ...
@jit("model_fn", "output_loss", "kind", "num_samples", "has_aux", "full_output", "cache", "chunk", "wrt", "axis_name")
def fisher_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: Literal["squared_error", "softmax_cross_entropy", "bernoulli"],
    kind: Kind = "exact",
    key: Key | None = None,
    num_samples: int | None = None,
    samples: Array | None = None,
    has_aux: bool = False,
    full_output: bool = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply a Fisher matrix by a vector, without forming it or per-example gradients.

    .. math:: F v = \frac1N \sum_n J_n^\top \; \mathbb{E}_{\hat y}\!\left[ s_n s_n^\top \right] J_n v, \qquad
              s_n = \nabla_f \left(-\log p(\hat y \mid f_n)\right)

    over positions ``n``, with labels :math:`\hat y` from the model's own distribution. ``kind="exact"`` takes the
    expectation in closed form: it is then the matrix of `ggn_product`. ``"mc"`` takes the mean over ``num_samples``
    labels that are drawn at each position, once a call, the same for all vectors. ``"empirical"`` takes the labels of
    the data, :math:`\frac1B \sum_i g_i g_i^\top v` with :math:`g_i` the gradient of the loss of example ``i``, the mean
    over its positions, as `per_example.empirical_fisher_product` does of any loss. Exact and sampled have the scale of
    the Hessian of the loss; labels of ``"squared_error"`` are Gaussian of variance 1.

    Args:
        model_fn: ``model_fn(params, inputs) -> outputs``, the model on a whole batch. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``; or several, along one more leading axis of
            the same length ``M`` on every leaf.
        inputs: Pytree that is handed on to ``model_fn``; not differentiated.
        *targets: The labels, and the weights of examples where the loss is a weighted sum, as in `ggn_product`. The
            empirical matrix reads the labels; the others read of a distribution, for ``"softmax_cross_entropy"``, the
            sum alone, which weighs its position.
        output_loss: The negative log-likelihood: ``"squared_error"``, ``"softmax_cross_entropy"`` or ``"bernoulli"``,
            as in `ggn_product`.
        kind: ``"exact"``, ``"mc"`` or ``"empirical"``.
        key: A random key, for ``"mc"``. With ``axis_name`` each device draws for itself.
        num_samples: How many labels are drawn at each position, 1 where it is ``None``; static.
        samples: Labels that were drawn already, along a new leading axis, in place of ``key``: class numbers for
            ``"softmax_cross_entropy"``, else arrays of the shape of the outputs.
        has_aux: Whether ``model_fn`` returns the pair ``(outputs, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return the loss of the data and its gradient too, from the same pass.
        cache: Whether what does not depend on the vector may be kept, in front of a loop over vectors, as in `hvp`.
        chunk: How many of several vectors are multiplied at once; it need not divide ``M``. ``None`` is all, but one
            for a convolutional network on a CPU, where that is faster.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        ``F v``, with the structure, shapes and dtypes of ``vector``, zero on leaves that do not count; with
        ``full_output`` a `Product` with the fields ``product``, ``value`` and ``gradient``. With ``has_aux``, the pair
        of this and the aux of the same pass; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the outputs, labels, weights or samples do not fit the
            loss, ``kind`` is another word or has no samples, ``wrt`` selects nothing, ``chunk`` is below 1, or
            ``axis_name`` is no axis around.
        TypeError: If ``output_loss`` is a function, a leaf that counts, or an output, is no real floating-point array,
            or class numbers are no integers; or if, with ``has_aux``, ``model_fn`` returns no pair.

    Cost:
        As `ggn_product`, about 1.7 gradients; beside it ``num_samples`` numbers for every output.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return x @ w
        >>> x, w = jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.ones((2, 1))
        >>> y = x @ w - 1.0
        >>> options = {"output_loss": "squared_error", "kind": "empirical"}
        >>> jaxgrad.curvature.fisher_product(model, w, jnp.ones((2, 1)), x, y, **options).tolist()
        [[3.0], [1.0]]

    References:
        Martens (2020), New insights and perspectives on the natural gradient method, JMLR 21, section 5;
        Kunstner, Balles and Hennig (2019), Limitations of the empirical Fisher approximation, arXiv:1905.12558.
    """
    _check.choice(kind, "kind", _output_checks.KINDS)
    if callable(output_loss):
        message = (
            'output_loss must be "squared_error", "softmax_cross_entropy" or "bernoulli": the distribution of labels is'
            " not known of a function. Take curvature.ggn_product, which differentiates it, or for the empirical matrix"
            " per_example.empirical_fisher_product with the loss of one example"
        )
        raise TypeError(message)
    _output_checks.check_draws(kind, key, num_samples, samples)
    if key is not None and axis_name is not None:
        _sharding.check_axis(axis_name)
        key = jax.random.fold_in(key, lax.axis_index(_sharding.names(axis_name)))
    return middle_product(
        model_fn,
        params,
        vector,
        inputs,
        targets,
        lambda loss: _middle(loss, kind, key, num_samples or 1, samples),
        output_loss=output_loss,
        has_aux=has_aux,
        full_output=full_output,
        cache=cache,
        chunk=chunk,
        wrt=wrt,
        axis_name=axis_name,
    )


def _middle(loss: _output_losses.Named, kind: str, key: Any, num_samples: int, samples: Any) -> Callable[[Tree], Tree]:
    """Return the product with the middle of the matrix."""
    if kind == "exact":
        return loss.times
    if kind == "empirical":
        return loss.empirical
    if samples is None:
        return loss.sampled(loss.draw(key, num_samples))
    return loss.sampled(_output_checks.checked_samples(loss.name, loss.outputs, samples))
