"""The generalised Gauss-Newton matrix of a model under a loss times a vector, or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Wrt, X
from jaxgrad.curvature._engine._gauss_newton import middle_product
from jaxgrad.curvature._engine._product import Product

__all__ = ["ggn_product"]

OutputLoss = Literal["squared_error", "softmax_cross_entropy", "bernoulli"] | Callable[..., Array]
"""The name of a loss with a closed form, or ``output_loss(outputs, *targets) -> ()``."""


@overload
def ggn_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: OutputLoss,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> T: ...
@overload
def ggn_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: OutputLoss,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Product[T]: ...
@overload
def ggn_product(
    model_fn: Function[T, X, tuple[Any, Aux]],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: OutputLoss,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def ggn_product(
    model_fn: Function[T, X, tuple[Any, Aux]],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: OutputLoss,
    has_aux: Literal[True],
    full_output: Literal[True],
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Product[T], Aux]: ...
@jit("model_fn", "output_loss", "has_aux", "full_output", "cache", "chunk", "wrt", "axis_name")
def ggn_product(
    model_fn: Function[T, X, Any],
    params: T,
    vector: T,
    inputs: X,
    *targets: Any,
    output_loss: OutputLoss,
    has_aux: bool = False,
    full_output: bool = False,
    cache: bool = True,
    chunk: int | None = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Multiply the generalised Gauss-Newton matrix by a vector, without forming it.

    .. math:: G v = J^\top \, \nabla^2_f \ell \; J v, \qquad
              J = \frac{\partial f}{\partial \theta}(\theta), \quad L(\theta) = \ell(f(\theta, x), y)

    It is the Hessian without the curvature of the model: positive semi-definite where :math:`\ell` is convex in the
    outputs, and the Hessian itself for a model that is linear in its parameters. For the losses that go by a name,
    which are negative log-likelihoods, it is the Fisher matrix (see `fisher_product`), and the middle is written in
    closed form; the logarithm of a softmax is never differentiated twice.

    The losses by name take outputs of shape ``(examples, ..., outputs)`` and are means over positions, all axes but the
    last:

    - ``"squared_error"``: half the squared distance of the outputs and the labels;
    - ``"softmax_cross_entropy"``: of logits and class numbers, or distributions of the shape of the outputs;
    - ``"bernoulli"``: the sum over outputs of the cross-entropies of logits and labels from 0 to 1.

    With one more target, the weights, they are weighted sums: an example's weight, of shape ``(examples,)``, is that of
    the mean over its positions, and weights of shape ``(examples, ...)`` are those of positions. So a batch of a data
    set goes into `over_dataset`, which divides by the sum of the weights.

    Args:
        model_fn: ``model_fn(params, inputs) -> outputs``, the model on a whole batch. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        vector: Pytree with the structure, shapes and dtypes of ``params``; or several, along one more leading axis of
            the same length ``M`` on every leaf.
        inputs: Pytree that is handed on to ``model_fn``; not differentiated.
        *targets: What the loss takes beside the outputs: for a loss by name the labels, and the weights of examples.
        output_loss: The name of a loss, or ``output_loss(outputs, *targets) -> ()``, a function of the outputs (any
            pytree then) that is differentiated twice. Static.
        has_aux: Whether ``model_fn`` returns the pair ``(outputs, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return the loss and its gradient too, from the same pass.
        cache: Whether what does not depend on the vector may be kept, in front of a loop over vectors, as in `hvp`.
        chunk: How many of several vectors are multiplied at once; it need not divide ``M``. ``None`` is all, but one
            for a convolutional network on a CPU, where that is faster.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        ``G v``, with the structure, shapes and dtypes of ``vector``, zero on leaves that do not count; with
        ``full_output`` a `Product` with the fields ``product``, ``value`` and ``gradient``. With ``has_aux``, the pair
        of this and the aux of the same pass; inside of `jax.shard_map` it is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If ``vector`` does not mirror ``params``, the outputs, labels or weights do not fit the loss,
            ``wrt`` selects nothing, ``chunk`` is below 1, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts, or an output, is no real floating-point array, class numbers are no integers;
            or if, with ``has_aux``, ``model_fn`` returns no pair.

    Cost:
        About 1.7 gradients in time, 1.3 for each of several vectors beside the evaluation that they share, and one
        gradient in memory; no array of P x P.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return x @ w
        >>> x, y, w = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.zeros((2, 1)), jnp.ones((2, 1))
        >>> jaxgrad.curvature.ggn_product(model, w, w, x, y, output_loss="squared_error").tolist()
        [[2.0], [0.5]]

    References:
        Schraudolph (2002), Fast curvature matrix-vector products for second-order gradient descent, Neural Comp. 14;
        Martens (2020), New insights and perspectives on the natural gradient method, JMLR 21, sections 8 and 9.
    """
    return middle_product(
        model_fn,
        params,
        vector,
        inputs,
        targets,
        lambda loss: loss.times,
        output_loss=output_loss,
        has_aux=has_aux,
        full_output=full_output,
        cache=cache,
        chunk=chunk,
        wrt=wrt,
        axis_name=axis_name,
    )
