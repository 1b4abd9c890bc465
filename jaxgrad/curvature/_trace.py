"""The trace of a matrix that is known by its products, as an estimate with an error."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from matfree import stochtrace

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Key, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._probes import Probes, mapped, probes_of
from jaxgrad.curvature._engine._symmetric import ProductFn, Times, over_floats, times

__all__ = ["Trace", "trace"]

METHODS = ("hutchinson", "hutch++", "xtrace")
LEAST = {"hutchinson": 2, "hutch++": 4, "xtrace": 2}
"""How many probes have a standard error: of Hutch++ the second half."""


class Trace(NamedTuple, Generic[T]):
    """An estimate of a trace."""

    estimate: Array
    """Without bias."""
    standard_error: Array
    """The standard deviation of the estimate, as estimated from the same samples."""
    per_leaf: T | None
    """A tree like ``params`` of numbers, the traces of the blocks on the diagonal, from the same products and without
    bias; their sum is the estimate. ``None`` for ``"xtrace"``."""


@jit("product", "num_samples", "method", "chunk")
def trace(
    product: ProductFn,
    params: T,
    *data: Any,
    key: Key | None = None,
    num_samples: int = 16,
    method: Literal["hutchinson", "hutch++", "xtrace"] = "hutchinson",
    probes: T | None = None,
    chunk: int | None = None,
) -> Trace[T]:
    r"""Estimate the trace of a symmetric matrix, and that of its block for every leaf, with a standard error.

    .. math:: \operatorname{tr} A = \mathbb{E}\, v^\top A v, \qquad
              \operatorname{tr} A = \operatorname{tr} Q^\top A Q + \operatorname{tr} (I - Q Q^\top) A

    ``"hutchinson"`` is the first form, entries of v are -1 or 1. ``"hutch++"`` is the second: half of the probes find
    Q, the range of what is large, exactly, the others estimate what is left: better where few eigenvalues are large.
    ``"xtrace"`` does so with every probe left out in turn.

    Differentiable; Q of ``"hutch++"`` is a constant then, so that a derivative estimates that of the trace.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        key: The random key that draws the probes.
        num_samples: How many to draw, two or more; four or more for ``"hutch++"``, at most ``P`` for ``"xtrace"``.
        method: ``"hutchinson"``, ``"hutch++"`` or ``"xtrace"``.
        probes: The directions, a tree like ``params`` with a new leading axis, in place of random ones.
        chunk: How many products are made at once, all where it is ``None``.

    Returns:
        `Trace`: ``estimate``, ``standard_error`` and ``per_leaf``.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, there are too few or too many of them,
            ``probes`` or what ``product`` returns does not mirror ``params``, or ``chunk`` is below 1.
        TypeError: If no leaf of ``params`` is a real floating-point array.

    Cost:
        ``num_samples`` products; half as many more for ``"hutch++"``, twice as many for ``"xtrace"``, whose vectors
        are flat and lie on one device. The memory of ``chunk`` of them.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(params):
        ...     return jnp.sum(params["a"] ** 2) + 3.0 * jnp.sum(params["b"] ** 2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> found = curvature.trace(hessian, {"a": jnp.ones(4), "b": jnp.ones(2)}, key=jax.random.key(0))
        >>> found.estimate.item(), found.standard_error.item(), found.per_leaf["a"].item()
        (20.0, 0.0, 8.0)

    References:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix, Comm. Stat. 19.
        Meyer, Musco, Musco and Woodruff (2021), Hutch++: optimal stochastic trace estimation, arXiv:2010.09649.
        Epperly, Tropp and Webber (2024), XTrace: making the most of every sample, arXiv:2301.07825.
    """
    _check.choice(method, "method", METHODS)
    apply, floats = times(product, params, data), over_floats(params)
    # XTrace asks for directions whose distribution no rotation changes
    draw = _stacks.normal if method == "xtrace" else _stacks.signs
    drawn = probes_of(params, draw, key, num_samples, probes, chunk, LEAST[method])
    if method == "xtrace":
        return _xtrace(apply, drawn, _stacks.size(floats.active))
    if method == "hutch++":
        found = _hutch_plus_plus(apply, drawn)
    else:
        mean, error = drawn.mean(lambda probe: _with_sum(_leafwise(probe, apply(probe))))
        found = Trace(mean[0], error[0], mean[1])
    return found._replace(per_leaf=floats.embed(found.per_leaf, lambda _: jnp.zeros_like(found.estimate)))


def _leafwise(tree: Tree, other: Tree) -> Tree:
    """Return the inner product of every leaf with its partner."""
    return jax.tree.map(_tree.dot, tree, other)


def _with_sum(numbers: Tree) -> tuple[Array, Tree]:
    """Return the sum of a tree of numbers, and the tree."""
    leaves = jax.tree.leaves(numbers)
    kept = _tree.accumulator(*(leaf.dtype for leaf in leaves))
    return sum((leaf.astype(kept) for leaf in leaves), start=jnp.zeros((), kept)), numbers


def _hutch_plus_plus(apply: Times, probes: Probes) -> Trace:
    """Take the trace in the range of a sketch exactly, and estimate that of the rest.

    With the projection P on the range, ``A P`` has the first on its diagonal, leaf by leaf, and ``A (I - P)`` the
    second: of a probe v and ``w = (I - P) v`` the mean of ``w`` times ``A w`` is that.
    """
    sketch, others = probes.parts(probes.number // 2)
    images = mapped(lambda one: apply(sketch.draw(one)), sketch.source, probes.chunk)
    basis = lax.stop_gradient(_stacks.orthonormal(images))

    def without(tree: Tree) -> Tree:
        return jax.tree.map(jnp.subtract, tree, _stacks.combine(_stacks.inner(basis, tree), basis))

    def rest(probe: Tree) -> tuple[Array, Tree]:
        left = without(probe)
        return _with_sum(_leafwise(left, apply(left)))

    known = mapped(lambda vector: _leafwise(vector, apply(vector)), basis, probes.chunk)
    exact = jax.tree.map(lambda x: jnp.sum(x, axis=0), known)
    (_, mean), (error, _) = others.mean(rest)
    total, per_leaf = _with_sum(jax.tree.map(jnp.add, exact, mean))
    return Trace(total, error, per_leaf)


def _xtrace(apply: Times, probes: Probes, size: int) -> Trace:
    """Estimate by matfree, which joins the leaves to one vector; so there is no trace for each."""
    _check.count(probes.number, "num_samples", least=2, most=size)
    # matfree adds numbers of Python and of several dtypes
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        estimates = stochtrace.leave_one_out_xtrace()(apply, probes.all())
    error = _tree.safe_sqrt(jnp.var(estimates, ddof=1) / probes.number)
    return Trace(jnp.mean(estimates), error, None)
