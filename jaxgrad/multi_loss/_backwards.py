"""A forward that is kept: its backwards are called later, as often as wanted, each compiled by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, overload

import jax
import jax.numpy as jnp

from jaxgrad import _check, _jaxpr, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad.multi_loss import _losses
from jaxgrad.multi_loss._heads import warn_of_unreached
from jaxgrad.multi_loss._inner_products import inner_products
from jaxgrad.multi_loss._linearize import Linearized, start_at
from jaxgrad.multi_loss._losses import L
from jaxgrad.multi_loss._rows import blocks, checked_chunk, rows
from jaxgrad.multi_loss._weighted_gradient import as_weights

__all__ = ["Backwards", "backwards"]


@dataclass(frozen=True, eq=False)
class _Program:
    """What is left to do; compared by identity, so that one program is compiled once."""

    jaxpr: Any
    """The linear program, open: its constants are what is kept."""
    cast: list[Any]
    axis_name: AxisName
    embed: Callable[[Tree, list[Array]], Tree]
    """Makes a tree like the parameters of the leaves that count."""
    pick: Callable[[Tree], list[Array]]
    """Takes the leaves that count."""
    run: Callable[..., Any] = field(init=False)
    """The compiled backwards; they go when the program does."""

    def __post_init__(self) -> None:
        """Compile each backward at its first call."""
        object.__setattr__(self, "run", jit("what", "option", name="backwards")(self._run))

    def _run(self, kept: list[Array], losses: Tree, params: Tree, weights: Any, *, what: str, option: Any) -> Any:
        """Do one of the things that are left to do."""
        leaves, linear = self.pick(params), _jaxpr.ClosedJaxpr(self.jaxpr, kept)
        start = Linearized(losses, None, leaves, linear, self.cast, self.axis_name)
        if what == "gram":
            return inner_products(blocks(start, option), start.count).gram()
        if what == "gradients":
            return jax.vmap(lambda *row: self.embed(params, list(row)))(*rows(start, option))
        slopes = start.row(option) if what == "gradient" else start.combined(as_weights(start, weights))
        return self.embed(params, slopes)


@dataclass(frozen=True)
class Backwards(Generic[T]):
    """Several losses at a point, and their gradients to be asked for: a pytree, which compiled functions take."""

    losses: Any
    """The losses, as the function returned them."""
    params: T
    """The point."""
    kept: list[Array]
    """What the backwards need of the forward: activations and weights, mostly."""
    program: _Program
    """What is left to do; static."""

    def gradient(self, loss: int | str) -> T:
        """Return the gradient of one loss, by its index or its key: one backward, of what that loss needs."""
        return self.program.run(self.kept, self.losses, self.params, None, what="gradient", option=self._index(loss))

    def gradients(self, *, chunk: int | None = None) -> T:
        """Return the gradients of all losses along a new leading axis, ``chunk`` of them pulled back together."""
        return self.program.run(
            self.kept, self.losses, self.params, None, what="gradients", option=checked_chunk(chunk)
        )

    def weighted_gradient(self, weights: Any) -> T:
        """Return a weighted sum of the gradients, of one number for each loss: one backward."""
        return self.program.run(self.kept, self.losses, self.params, weights, what="weighted", option=None)

    def gram(self, *, chunk: int | None = None) -> Array:
        """Return the inner products of the gradients of all pairs of losses."""
        return self.program.run(self.kept, self.losses, self.params, None, what="gram", option=checked_chunk(chunk))

    def _index(self, loss: int | str) -> int:
        """Return the place of a loss among the rows.

        Raises:
            ValueError: If there is no such loss.
        """
        count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(self.losses))
        keys = _losses.keys(self.losses)
        places = [k for k, key in enumerate(keys) if key == loss]
        if len(places) == 1:
            return places[0]
        if places:
            message = f"there are {len(places)} losses below {loss!r}; give the index of one, from 0 to {count - 1}"
            raise ValueError(message)
        if not isinstance(loss, str):
            return _check.count(loss, "loss", most=count - 1)
        known = f"the keys are {list(dict.fromkeys(keys))}" if keys else "the losses have no keys"
        message = f"there is no loss {loss!r}; {known}, and an index from 0 to {count - 1} is taken too"
        raise ValueError(message)


jax.tree_util.register_dataclass(Backwards, data_fields=["losses", "params", "kept"], meta_fields=["program"])


@overload
def backwards(
    losses_fn: Function[T, *Ts, L],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Backwards[T]: ...
@overload
def backwards(
    losses_fn: Function[T, *Ts, tuple[L, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Backwards[T], Aux]: ...
@jit("losses_fn", "has_aux", "wrt", "axis_name")
def backwards(
    losses_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Run the forward of several losses once, and keep it for backwards that are asked for later.

    .. math:: w \mapsto \sum_{k=1}^K w_k\, \nabla_\theta L_k(\theta) \quad \text{with } L(\theta) \text{ evaluated}

    What ``backward(retain_graph=True)`` is for in PyTorch: which gradient is taken, and how often, is decided in Python
    after the losses have been seen. Each kind of backward is compiled by itself, once; a second point compiles nothing.
    Where all is known beforehand, `gradients`, `gram` or `aggregated_gradient` do it in one program, whose activations
    are freed on the way.

    Args:
        losses_fn: ``losses_fn(params, *data)`` returns ``K`` losses, as in `gradients`. Static: pass a named function.
            More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays.
        *data: Pytrees handed on to ``losses_fn``; not differentiated.
        has_aux: Whether ``losses_fn`` returns the pair ``(losses, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all;
            the others get zeros.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which each loss is the mean of the devices'
            losses; ``None``: each is the device's own.

    Returns:
        A `Backwards`, a pytree: ``losses``; ``gradient(loss)`` by index or key, ``gradients(chunk=)``,
        ``weighted_gradient(weights)`` and ``gram(chunk=)``, as the functions of these names. It goes into compiled
        functions and out of them, and may be dropped when done: nothing else holds its arrays. With ``has_aux``,
        ``(backwards, aux)``; inside of `jax.shard_map` the aux is the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If there is no loss, a loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis
            around.
        TypeError: If a loss is no real floating-point number, a leaf that counts is no real floating-point array, or
            ``losses_fn`` returns no pair with ``has_aux``.

    Cost:
        The forward, and the memory of its activations for as long as the result lives; then one backward for each
        gradient, of the part of the program that it needs.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def losses(w, x):
        ...     return {"a": (w * x).sum(), "b": (w**2).sum()}
        >>> kept = jaxgrad.multi_loss.backwards(losses, jnp.array([1.0, 2.0]), 3.0)
        >>> worst = max(kept.losses, key=kept.losses.get)
        >>> worst, kept.gradient(worst).tolist()
        ('a', [3.0, 3.0])
        >>> kept.weighted_gradient({"a": 1.0, "b": 0.5}).tolist()
        [4.0, 5.0]

    References:
        Paszke et al. (2019), PyTorch, NeurIPS (``backward(retain_graph=True)``);
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 3.3.
    """
    _, start = start_at(losses_fn, params, data, wrt, axis_name, has_aux)
    warn_of_unreached(start, params, wrt)
    counts = _tree.selected(params, wrt)
    leaves, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    own = iter(start.leaves)
    point = structure.unflatten([next(own) if hit else leaf for leaf, hit in zip(leaves, counts, strict=True)])
    program = _Program(start.linear.jaxpr, start.cast, axis_name, _embed(counts), _pick(counts))
    result = Backwards(start.losses, point, list(start.linear.consts), program)
    return (result, start.aux) if has_aux else result


def _pick(counts: list[bool]) -> Callable[[Tree], list[Array]]:
    """Return what takes the leaves that count."""
    return lambda params: [leaf for leaf, hit in zip(jax.tree.leaves(params), counts, strict=True) if hit]


def _embed(counts: list[bool]) -> Callable[[Tree, list[Array]], Tree]:
    """Return what puts slopes in the places of the leaves that count, and zeros in the others."""

    def embed(params: Tree, slopes: list[Array]) -> Tree:
        leaves, treedef = jax.tree.flatten(params)
        structure: Any = treedef
        found = iter(slopes)
        return structure.unflatten(
            [next(found) if hit else jnp.zeros_like(leaf) for leaf, hit in zip(leaves, counts, strict=True)]
        )

    return embed
