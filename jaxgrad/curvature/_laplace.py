"""Laplace's approximation with a curvature that can be inverted: its evidence, and the variance of predictions."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Function, T, Tree, Wrt
from jaxgrad._uses._map_examples import map_examples, one_example
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._vectors import Vectors

__all__ = ["log_evidence", "predictive_covariance"]


class Curved(Protocol):
    """A curvature such as those of `kfac` and `ekfac`."""

    def log_determinant(self, damping: Any) -> Array:
        """Return the logarithm of the determinant of the matrix plus ``damping``."""

    def inverse_square_root(self, vector: Any, damping: Any) -> Any:
        """Return the inverse of the root of the matrix plus ``damping``, times a vector."""


@jit(positive=("prior_precision", "num_examples"))
def log_evidence(
    curved: Curved, params: Tree, loss: ArrayLike, *, prior_precision: ArrayLike, num_examples: ArrayLike
) -> Array:
    r"""Return the logarithm of the evidence of a model by Laplace's approximation around trained parameters.

    .. math:: \log p(D \mid \tau) \approx -N L(\theta) - \tfrac\tau2 \lVert \theta \rVert^2
              - \tfrac12 \log\det(N K + \tau I) + \tfrac P2 \log \tau

    with the mean negative log-likelihood :math:`L` at its minimum with the prior :math:`N(0, \tau^{-1} I)`, whose
    weight decay is :math:`\tau / N`, and its curvature :math:`K`. The larger, the better a prior, or a network,
    explains the data, with none held out. Differentiable in ``prior_precision``; exact for a linear model with Gaussian
    noise and its exact curvature.

    Args:
        curved: The curvature of the mean loss, an object with ``log_determinant(damping)`` such as `kfac` and `ekfac`
            return, with ``kind="exact"`` or ``"mc"``.
        params: The trained parameters. Those that ``curved`` leaves out are taken as known. More in ``help(jaxgrad)``.
        loss: The mean negative log-likelihood :math:`L` of the training examples, without the weight decay; what it
            leaves out, such as the normaliser of a Gaussian, the evidence does too.
        prior_precision: The :math:`\tau`, positive.
        num_examples: How many training examples there are.

    Returns:
        A number, in nats, for the whole data set.

    Raises:
        ValueError: If ``prior_precision`` or ``num_examples`` is not positive, or ``params`` does not fit ``curved``.
        TypeError: If ``curved`` has no ``log_determinant``, or a number is none.

    Cost:
        The eigenvalues of the factors, where ``curved`` does not hold them: take ``eigen()`` first for several calls.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return w * x
        >>> x, y = jnp.array([1.0, 1.0]), jnp.array([0.0, 0.0])
        >>> curved = jaxgrad.curvature.kfac(model, jnp.array(0.0), x, y, kind="exact", output_loss="squared_error")
        >>> evidence = jaxgrad.curvature.log_evidence(curved, jnp.array(0.0), 0.0, prior_precision=2.0, num_examples=2)
        >>> round(float(evidence), 4)
        -0.3466

    References:
        MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Comp. 4, equation 2.9;
        Immer et al. (2021), Scalable marginal likelihood estimation for model selection, arXiv:2104.04975.
    """
    _refuse_uncurved(curved, "log_determinant")
    for name, value in (("loss", loss), ("prior_precision", prior_precision), ("num_examples", num_examples)):
        _check.number(value, name)
    moving = curved.about.pick(params) if hasattr(curved, "about") else jax.tree.leaves(params)
    kept = _tree.accumulator(*(jnp.result_type(leaf) for leaf in moving))
    mean, precision, count = (jnp.asarray(value, kept) for value in (loss, prior_precision, num_examples))
    decay = precision / count
    occam = curved.log_determinant(decay) - _stacks.size(moving) * jnp.log(decay)
    return -count * mean - 0.5 * precision * _tree.dot(moving, moving) - 0.5 * occam


@jit("model_fn", "chunk", positive=("prior_precision", "num_examples"))
def predictive_covariance(
    model_fn: Function[T, Any, Array],
    params: T,
    curved: Curved,
    inputs: Tree,
    *,
    prior_precision: ArrayLike,
    num_examples: ArrayLike,
    chunk: int | None = None,
) -> Array:
    r"""Return the covariance of a model's outputs under Laplace's approximation, exactly for the linearised model.

    .. math:: \Sigma_i = J_i\, (N K + \tau I)^{-1} J_i^\top, \qquad
              J_i = \frac{\partial f(\theta, x_i)}{\partial \theta}

    Args:
        model_fn: ``model_fn(params, x) -> outputs``, the model of ONE example, with any shape of C outputs in all, such
            as logits; all leaves of a tuple are outputs, so leave an aux out. Static: pass a named function. More in
            ``help(jaxgrad)``.
        params: Pytree of arrays, the trained parameters; those that ``curved`` is of must be floating-point arrays.
        curved: The curvature :math:`K` of the mean loss, an object with ``inverse_square_root(vector, damping)`` such
            as `kfac` and `ekfac` return: take ``eigen()`` first for several calls. Leaves that it leaves out are taken
            as known.
        inputs: Pytree whose leaves have the examples along their leading axis, of length ``B``.
        prior_precision: The :math:`\tau`, positive.
        num_examples: How many training examples there are, :math:`N`.
        chunk: How many examples are taken at once, all where it is ``None``.

    Returns:
        Covariances of shape ``(B, C, C)``, positive semi-definite.

    Raises:
        ValueError: If ``prior_precision`` or ``num_examples`` is not positive, ``params`` does not fit ``curved``,
            ``chunk`` is below 1, or the leading axes differ or are empty.
        TypeError: If ``curved`` has no ``inverse_square_root``, a number is none, or a leaf of ``params`` or an output
            is no real floating-point array.

    Cost:
        For every example C backward passes, C products with the root, and ``2 C**2 P`` operations for the inner
        products of their results; the memory of ``chunk`` times C trees.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def model(w, x):
        ...     return w * x
        >>> x, w = jnp.array([1.0, 1.0]), jnp.array(0.0)
        >>> curved = jaxgrad.curvature.kfac(model, w, x, x, kind="exact", output_loss="squared_error")
        >>> found = jaxgrad.curvature.predictive_covariance(
        ...     model, w, curved, jnp.array([1.0, 4.0]), prior_precision=2.0, num_examples=2
        ... )
        >>> [round(variance, 3) for variance in found.ravel().tolist()]
        [0.25, 4.0]

    References:
        Immer, Korzepa and Bauer (2021), Improving predictions of Bayesian neural nets via local linearization,
        arXiv:2008.08400, equation 9; Daxberger et al. (2021), Laplace redux, arXiv:2106.14806.
    """
    _refuse_uncurved(curved, "inverse_square_root")
    for name, value in (("prior_precision", prior_precision), ("num_examples", num_examples)):
        _check.number(value, name)
    subset = _tree.held(lambda point, x: _outputs(model_fn, point, x), params, _counting(curved, params))
    _check.differentiable(params=subset.active)
    size = _check.same_leading(inputs=inputs)
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    # inside of shard_map a Jacobian is that of the device's own examples
    own = _sharding.own(lambda point, rows: map_examples(subset.fun, point, (rows,)), subset.active, inputs)

    def of_one(x: Any) -> Array:
        outputs, pullback = jax.vjp(lambda point: subset.fun(point, x), own)
        kept = _tree.accumulator(outputs.dtype)
        decay = jnp.asarray(prior_precision, kept) / jnp.asarray(num_examples, kept)

        def root(one: Array) -> Tree:
            row = subset.embed(pullback(_sharding.like(one, outputs))[0])
            return _tree.widened(subset.pick(curved.inverse_square_root(row, decay)))

        roots = jax.vmap(root)(jnp.eye(outputs.size, dtype=outputs.dtype))
        return jax.vmap(lambda row: _stacks.inner(roots, row))(roots) / jnp.asarray(num_examples, kept)

    return Vectors(inputs, size, chunk).each(of_one)


def _outputs(model_fn: Any, params: Tree, x: Any) -> Array:
    """Return the outputs for one example as a vector, refused unless they are floating-point numbers."""
    outputs = one_example(model_fn)(params, x)
    _check.floating(**{"the result of model_fn": outputs})
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(outputs)])


def _counting(curved: Any, params: Tree) -> Wrt:
    """Return which leaves of ``params`` a curvature is of: those that it says, or else the floating-point ones.

    Raises:
        ValueError: If ``params`` does not mirror those of the curvature.
    """
    if hasattr(curved, "about"):
        curved.about.pick(params)
        chosen = curved.about.chosen
    else:
        chosen = [_check.is_real_float(leaf) for leaf in jax.tree.leaves(params)]
    if all(chosen) or not any(chosen):
        return None
    counting = {path for path, keep in zip(_tree.leaf_paths(params), chosen, strict=True) if keep}
    return lambda path, _: path in counting


def _refuse_uncurved(curved: Any, method: str) -> None:
    """Refuse what is no curvature.

    Raises:
        TypeError: If it lacks the method.
    """
    if not hasattr(curved, method):
        message = (
            f"curved must be a curvature with {method}, such as curvature.kfac and curvature.ekfac return; got"
            f" {_check.describe(curved)}"
        )
        raise TypeError(message)
