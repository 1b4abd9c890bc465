"""One forward, linearised: what every backward starts from.

The derivative of the losses at the parameters is a linear program, traced once. The gradient of a loss is the
transpose of the part of that program which the loss needs, so a backward does no work for the other losses, their
NaN does not reach it, and the leaves that the part does not read are those that the loss does not touch.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import _jaxpr, _sharding
from jaxgrad._jaxpr import ClosedJaxpr, Jaxpr
from jaxgrad._types import Array, AxisName, Params, Tree
from jaxgrad.multi_loss import _losses

__all__ = ["Linearized", "linearize"]


@dataclass(frozen=True)
class Linearized:
    """The losses at some parameters, and their derivative."""

    losses: Tree
    """The losses, as the user's function returned them."""
    aux: Tree
    """What it returned beside them."""
    leaves: list[Array]
    """The leaves of the parameters."""
    linear: ClosedJaxpr
    """Maps tangents of the leaves to those of the losses: one output a loss, or one for them all."""
    cast: list[frozenset[Hashable]]
    """The mesh axes over which each leaf was cast to differ, so that its gradient is the device's own."""
    axis_name: AxisName
    """Where the losses and the gradients are means over devices."""

    @property
    def count(self) -> int:
        """Return the number of losses."""
        return self.losses.size if _losses.is_array(self.losses) else len(jax.tree.leaves(self.losses))

    def loss(self, k: int) -> Array:
        """Return the value of loss ``k``."""
        return self.losses[k] if _losses.is_array(self.losses) else jax.tree.leaves(self.losses)[k]

    @property
    def apart(self) -> bool:
        """Say whether each loss is an output of its own; else they are the entries of one array."""
        return self.linear.out_avals[0].shape == ()

    def touches(self, k: int) -> list[bool]:
        """Say of every leaf whether loss ``k`` depends on it, judged by the program and not by numbers."""
        return self._part(k)[1]

    def row(self, k: int) -> list[Array]:
        """Return the gradient of loss ``k`` by leaf; zeros where the loss does not touch a leaf."""
        out = self.linear.out_avals[0]
        seed = jnp.ones((), out.dtype) if self.apart else jnp.zeros(out.shape, out.dtype).at[k].set(1)
        return self._over_devices(k, self._pull_back(k, seed))

    def rows(self, chunk: int | None) -> list[Array]:
        """Return all gradients by leaf, along a new leading axis.

        Args:
            chunk: How many entries of an array of losses to pull back together; ``None`` for all.
        """
        if self.apart:
            return [jnp.stack(rows) for rows in zip(*map(self.row, range(self.count)), strict=True)]
        seeds = jnp.eye(self.count, dtype=self.linear.out_avals[0].dtype)
        found = jax.lax.map(lambda seed: self._pull_back(0, seed), seeds, batch_size=chunk or self.count)
        return self._over_devices(0, found)

    def _over_devices(self, k: int, slopes: list[Array]) -> list[Array]:
        """Sum over the devices that share loss ``k``, where the user has reduced it, and take the mean asked for."""
        own = _sharding.varying(self._result(k))
        shared: list[Any] = [tuple(cast - own) for cast in self.cast]
        whole = [_sharding.sum_over(slope, axes) for slope, axes in zip(slopes, shared, strict=True)]
        return _sharding.mean_over(whole, self.axis_name)

    def _result(self, k: int) -> Any:
        """Return the type of the result that holds loss ``k``."""
        return self.linear.out_avals[k if self.apart else 0]

    def _part(self, k: int) -> tuple[Jaxpr, list[bool]]:
        """Return what loss ``k`` needs of the linear program, and which leaves that reads."""
        wanted = [i == k or not self.apart for i in range(len(self.linear.out_avals))]
        return _jaxpr.needed(self.linear.jaxpr, wanted)

    def _pull_back(self, k: int, seed: Array) -> list[Array]:
        """Transpose the part of loss ``k``."""
        part, used = self._part(k)
        read = [leaf for leaf, hit in zip(self.leaves, used, strict=True) if hit]
        seed = _sharding.vary(seed, _sharding.varying(self._result(k)))
        transposed = jax.linear_transpose(lambda *ts: jax.core.eval_jaxpr(part, self.linear.consts, *ts), *read)
        found = iter(transposed([seed]))
        return [next(found) if hit else jnp.zeros_like(leaf) for leaf, hit in zip(self.leaves, used, strict=True)]


def linearize(
    losses_fn: Callable[..., Any], params: Params, *data: Any, axis_name: AxisName = None, has_aux: bool = False
) -> Linearized:
    """Evaluate the losses once, and keep their derivative with respect to ``params``."""
    fun = _losses.checked(losses_fn, has_aux)
    given, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    leaves = jax.tree.leaves(_sharding.own(lambda *args: fun(*args)[0], params, *data))
    cast = [_sharding.varying(leaf) - _sharding.varying(start) for leaf, start in zip(leaves, given, strict=True)]
    losses, push, aux = jax.linearize(lambda *xs: fun(structure.unflatten(xs), *data), *leaves, has_aux=True)
    linear = jax.make_jaxpr(lambda *ts: jax.tree.leaves(push(*ts)))(*leaves)
    _jaxpr.refuse_refs(linear.jaxpr, "losses_fn")
    if _losses.is_array(losses) and _unstack(linear.jaxpr, linear.consts, leaves) is not None:
        linear = jax.make_jaxpr(lambda *ts: _unstack(linear.jaxpr, linear.consts, ts))(*leaves)
    return Linearized(_sharding.mean_over(losses, axis_name), aux, leaves, linear, cast, axis_name)


def _unstack(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Array] | None:
    """Evaluate a program up to the operation that stacks scalars into its only output.

    Returns:
        The scalars; ``None`` where the output is no stack of scalars.
    """
    (out,) = jaxpr.outvars
    made = [eqn for eqn in jaxpr.eqns if any(var is out for var in eqn.outvars)]
    if not made:
        return None
    eqn = made[0]
    operands = jax.core.eval_jaxpr(_jaxpr.restricted(jaxpr, eqn.invars), consts, *args)
    body = _jaxpr.call(eqn)
    if body is not None:
        (position,) = [i for i, var in enumerate(eqn.outvars) if var is out]
        return _unstack(_jaxpr.restricted(body.jaxpr, [body.jaxpr.outvars[position]]), body.consts, operands)
    if eqn.primitive.name in ("stack", "concatenate") and all(x.size == 1 for x in operands):
        return [x.reshape(()) for x in operands]
    return None
