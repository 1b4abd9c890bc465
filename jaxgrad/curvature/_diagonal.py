"""The diagonal of a matrix that is known by its products, as an estimate with an error."""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple

import jax
import jax.numpy as jnp
from matfree import stochtrace

from jaxgrad import _check, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Key, T, Tree
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._probes import probes_of
from jaxgrad.curvature._engine._symmetric import ProductFn, over_floats, times

__all__ = ["Diagonal", "diagonal"]

METHODS = ("hutchinson", "xdiag")


class Diagonal(NamedTuple, Generic[T]):
    """An estimate of a diagonal, two trees like ``params``."""

    estimate: T
    """Without bias."""
    standard_error: T
    """The standard deviation of every entry of the estimate, as estimated from the same samples; for ``"xdiag"``, whose
    samples share most of their sketch, up to a third too small."""


@jit("product", "num_samples", "method", "chunk")
def diagonal(
    product: ProductFn,
    params: T,
    *data: Any,
    key: Key | None = None,
    num_samples: int = 16,
    method: Literal["hutchinson", "xdiag"] = "hutchinson",
    probes: T | None = None,
    chunk: int | None = None,
) -> Diagonal[T]:
    r"""Estimate the diagonal of a symmetric matrix, with a standard error for every entry.

    .. math:: \operatorname{diag} A = \mathbb{E}\, v \odot A v, \qquad
              \operatorname{diag} A = \operatorname{diag} Q Q^\top A + \operatorname{diag} (I - Q Q^\top) A

    ``"hutchinson"`` is the first form, entries of v are -1 or 1: exact where the matrix is diagonal. ``"xdiag"`` is the
    second, with every probe left out of the range Q in turn and measuring the rest: better where few eigenvalues are
    large.

    Args:
        product: ``product(params, vector, *data)``, a symmetric matrix times a vector that mirrors ``params``, such as
            ``functools.partial(curvature.hvp, loss_fn)``. Static: pass named functions. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays with ``P`` numbers in all.
        *data: Pytrees handed on to ``product``.
        key: The random key that draws the probes.
        num_samples: How many to draw, two or more; at most ``P`` for ``"xdiag"``.
        method: ``"hutchinson"`` or ``"xdiag"``.
        probes: The directions, a tree like ``params`` with a new leading axis, in place of random ones.
        chunk: How many products are made at once, all where it is ``None``.

    Returns:
        `Diagonal`: ``estimate`` and ``standard_error``, with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: If both or none of ``key`` and ``probes`` are given, there are too few or too many of them,
            ``probes`` or what ``product`` returns does not mirror ``params``, or ``chunk`` is below 1.
        TypeError: If no leaf of ``params`` is a real floating-point array.

    Cost:
        ``num_samples`` products, and the memory of ``chunk`` of them; twice as many products for ``"xdiag"``, whose
        vectors are flat, lie on one device, and are all in memory.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from jaxgrad import curvature
        >>> def loss(w):
        ...     return 0.5 * jnp.sum(jnp.array([1.0, 5.0, 3.0]) * w**2)
        >>> hessian = functools.partial(curvature.hvp, loss)
        >>> found = curvature.diagonal(hessian, jnp.ones(3), key=jax.random.key(0))
        >>> found.estimate.tolist(), found.standard_error.tolist()
        ([1.0, 5.0, 3.0], [0.0, 0.0, 0.0])

    References:
        Bekas, Kokiopoulou and Saad (2007), An estimator for the diagonal of a matrix, Appl. Numer. Math. 57.
        Epperly, Tropp and Webber (2024), XTrace: making the most of every sample, arXiv:2301.07825, section 2.4.
    """
    _check.choice(method, "method", METHODS)
    apply, floats = times(product, params, data), over_floats(params)
    drawn = probes_of(params, _stacks.signs, key, num_samples, probes, chunk, 2)
    if method == "hutchinson":
        found = drawn.mean(lambda probe: jax.tree.map(jnp.multiply, probe, apply(probe)))
    else:
        _check.count(drawn.number, "num_samples", least=2, most=_stacks.size(floats.active))
        # matfree joins the leaves to one vector, and adds numbers of Python and of several dtypes
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            found = _summary(stochtrace.leave_one_out_xdiag()(apply, drawn.all()), drawn.number)
    return Diagonal(*(floats.embed(_stacks.with_dtypes(tree, floats.active)) for tree in found))


def _summary(samples: Tree, count: int) -> tuple[Tree, Tree]:
    """Return the mean over the leading axis, and its standard error."""
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), samples)
    return mean, jax.tree.map(lambda x: _tree.safe_sqrt(jnp.var(x, axis=0, ddof=1) / count), samples)
