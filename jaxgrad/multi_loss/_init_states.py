"""An optimizer state for every leaf."""

from __future__ import annotations

import jax
import optax

from jaxgrad import _check
from jaxgrad._jit import jit
from jaxgrad._types import Params, Tree

__all__ = ["init_states"]


@jit("optimizer")
def init_states(optimizer: optax.GradientTransformation, params: Params) -> Tree:
    r"""Start one optimizer state for each leaf of the parameters.

    .. math:: s_i = \text{init}(\theta_i)

    `simultaneous_updates` and `sequential_updates` take such states. With a state of its own, a leaf that a loss does
    not touch keeps its moments and its count of steps, as parameters do in PyTorch. An optimizer that combines leaves,
    such as ``optax.clip_by_global_norm``, then sees one leaf at a time: the norm is that of the leaf; one that draws
    random numbers draws the same ones for leaves of one shape.

    Args:
        optimizer: An optax transformation. Static, and told apart by identity: build it once, outside of loops.
        params: Pytree of arrays. More in ``help(jaxgrad)``.

    Returns:
        A tree like ``params`` with a state in the place of each leaf.

    Raises:
        TypeError: If ``optimizer`` is no optax transformation.

    Cost:
        The memory of the optimizer's own state, and a count for each leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> states = jaxgrad.multi_loss.init_states(optax.adam(1e-3), {"trunk": jnp.ones(3), "head": jnp.ones(2)})
        >>> states["head"][0].count.item(), states["head"][0].mu.shape
        (0, (2,))

    References:
        Paszke et al. (2019), PyTorch, NeurIPS (``torch.optim``: a state for each parameter).
    """
    return jax.tree.map(_check.optimizer(optimizer).init, params)
