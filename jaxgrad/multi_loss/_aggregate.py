"""One vector from several gradients that are there already, by a rule that weighs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

import jax

from jaxgrad._jit import jit
from jaxgrad._types import T, Tree
from jaxgrad.multi_loss._aggregated_gradient import Aggregated
from jaxgrad.multi_loss._inner_products import of_rows
from jaxgrad.multi_loss._rows import count_of
from jaxgrad.multi_loss._rules import check_state, rule_of, weighted, weights_of

__all__ = ["aggregate"]


@overload
def aggregate(
    rows: T,
    *,
    weighting: Any,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    full_output: Literal[False] = False,
) -> T: ...
@overload
def aggregate(
    rows: T,
    *,
    weighting: Any,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    full_output: Literal[True],
) -> Aggregated: ...
@jit("weighting", "full_output")
def aggregate(
    rows: T,
    *,
    weighting: Any,
    options: Mapping[str, Any] | None = None,
    state: Tree = None,
    full_output: bool = False,
) -> Any:
    r"""Turn several gradients that are there already into one by a rule: MGDA, UPGrad, PCGrad, or one of your own.

    .. math:: \sum_{k=1}^K w_k\, g_k, \qquad w = \text{weighting}(G), \qquad G_{k l} = g_k \cdot g_l

    It is for rows that come from elsewhere: added up over several batches, averaged over devices, clipped. From the
    losses themselves `aggregated_gradient` makes the same vector, and holds no more than a leaf's rows at a time.
    A rule of the rows themselves, such as `graddrop`, takes them as they are and needs no help.

    Args:
        rows: The gradients, as `gradients` returns them: a tree whose leaves have the losses along a leading axis.
        weighting: ``weighting(gram, **options) -> (K,)``, or a rule with a state, as in `aggregated_gradient`. Static:
            pass a named function.
        options: Keyword arguments for the rule that change from step to step, such as ``{"key": key}``: traced.
        state: The state of a ``weighting`` that has one, from its ``init`` or from the step before.
        full_output: Whether to return the Gram matrix, the weights and the state too.

    Returns:
        A tree like one row, of the dtypes of the rows; with ``full_output`` an `Aggregated` of it, whose ``losses`` are
        ``None``. A row that is not finite makes the result so. Rows whose squares leave the range of their dtype are
        given to the rule as `aggregated_gradient` gives them.

    Raises:
        ValueError: If the leading axes differ or have length 0, a rule with a state comes without ``state`` or
            ``full_output``, or another with ``state``, the rule returns other than one weight for each row, or is one
            of the rows themselves.
        TypeError: If a leaf of ``rows`` is no array of real floating-point numbers, or the rule is no function, one of
            the losses, or one that makes a rule and has not been called.

    Cost:
        No gradient: each row is read for the products and once more for the sum, and the rule.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> rows = {"a": jnp.array([[-4.0, 1.0], [6.0, 1.0]]), "b": jnp.array([1.0, 1.0])}
        >>> vector = jaxgrad.multi_loss.aggregate(rows, weighting=jaxgrad.multi_loss.mgda)
        >>> bool(jnp.allclose(vector["a"], jnp.array([0.0, 1.0]), atol=1e-6)), round(vector["b"].item(), 3)
        (True, 1.0)

    References:
        Quinton and Rey (2024), Jacobian descent for multi-objective optimization, arXiv:2406.16232, section 2.2
        (an aggregator maps a matrix of gradients to a vector).
    """
    count_of(rows)
    rule = rule_of(weighting, None, options)
    check_state(rule, state, full_output)
    products = of_rows(rows)
    weights, after = weights_of(rule, products, state)
    vector = jax.tree.map(lambda leaf: weighted(weights, leaf), rows)
    return Aggregated(vector, None, products.gram(), weights, after) if full_output else vector
