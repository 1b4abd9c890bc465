"""Gradients by name: torch's names where a mapping gives them, paths otherwise."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal, overload

import jax

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Ts, Wrt
from jaxgrad.gradient._parameter_gradient import value_and_grad

__all__ = ["named_gradients"]


@overload
def named_gradients(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    *data: *Ts,
    has_aux: Literal[False] = False,
    mapping: Any = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> OrderedDict[str, Any]: ...
@overload
def named_gradients(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    *data: *Ts,
    has_aux: Literal[True],
    mapping: Any = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[OrderedDict[str, Any], Aux]: ...
@jit("loss_fn", "has_aux", "mapping", "wrt", "axis_name")
def named_gradients(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    *data: *Ts,
    has_aux: bool = False,
    mapping: Any = None,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Compute the gradient of a loss as a dictionary from name to array.

    .. math:: \{\, n : \nabla_{\theta_n} L(\theta) \,\}

    Without a mapping the names are the paths of the leaves, keys joined by ``/``, in tree order. With one they are
    torch's names in the order of the mapping, which is that of ``named_parameters``. The arrays stay in JAX's layout
    either way: a Flax kernel's gradient is the transpose of a torch weight's (``gradients_to_torch`` of a mapping of
    ``jaxgrad.models`` gives torch's layout).

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``. More in
            ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        mapping: Pairs ``(torch_name, path)``, or an object whose method ``pairs()`` returns them, such as the mapping
            of a network in ``jaxgrad.models``. Static. A path is a string ``"trunk/kernel"`` or a sequence of keys.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradients of the leaves that count; the others are left out. Where a mapping gives one name to several
        leaves (the joined projection of an attention layer), the entry is the tuple of their gradients. With
        ``has_aux``, ``(gradients, aux)``: the aux of the same pass, not differentiated; inside of `jax.shard_map` it is
        the device's own, with ``axis_name`` too.

    Raises:
        ValueError: If the mapping names a path that is not there or omits a leaf that counts, two leaves have one path,
            the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array; or if ``loss_fn`` returns a pair without
            ``has_aux``, or none with it.

    Cost:
        One gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(params):
        ...     return jnp.sum(params["out"]["kernel"]) + 2 * params["out"]["bias"]
        >>> params = {"out": {"kernel": jnp.ones((2, 1)), "bias": jnp.array(0.5)}}
        >>> list(jaxgrad.gradient.named_gradients(loss, params))
        ['out/bias', 'out/kernel']
        >>> mapping = [("out.weight", "out/kernel"), ("out.bias", "out/bias")]
        >>> list(jaxgrad.gradient.named_gradients(loss, params, mapping=mapping))
        ['out.weight', 'out.bias']

    References:
        ``torch.nn.Module.named_parameters``.
    """
    paths = _tree.leaf_paths(params)
    if len(set(paths)) < len(paths):
        message = f"two leaves of params have one path, so names cannot tell them apart: {', '.join(sorted(paths))}"
        raise ValueError(message)
    counted = {path for path, keep in zip(paths, _tree.selected(params, wrt), strict=True) if keep}
    options: Any = {"has_aux": has_aux, "wrt": wrt, "axis_name": axis_name}
    value, found = value_and_grad(loss_fn, params, *data, **options)
    gradient = dict(zip(paths, jax.tree.leaves(found), strict=True))
    pairs = [(path, path) for path in paths if path in counted]
    parts: OrderedDict[str, list[Any]] = OrderedDict()
    for name, path in pairs if mapping is None else _pairs(mapping, paths, counted):
        parts.setdefault(name, []).append(gradient[path])
    named = OrderedDict((name, part[0] if len(part) == 1 else tuple(part)) for name, part in parts.items())
    return (named, value[1]) if has_aux else named


def _pairs(mapping: Any, paths: list[str], counted: set[str]) -> list[tuple[str, str]]:
    """Return the pairs of name and path whose leaves count.

    Raises:
        ValueError: If the mapping names a path that is not there, or omits a leaf that counts.
    """
    given = mapping.pairs() if hasattr(mapping, "pairs") else mapping
    pairs = [(name, path if isinstance(path, str) else "/".join(map(str, path))) for name, path in given]
    wrong = [f"{name} -> {path}: params has no such leaf" for name, path in pairs if path not in paths]
    wrong += [f"{path}: no name is given to it" for path in sorted(counted - {path for _, path in pairs})]
    if wrong:
        message = "\n  ".join(["mapping does not fit params:", *wrong, f"the leaves are {', '.join(paths)}"])
        raise ValueError(message)
    return [(name, path) for name, path in pairs if path in counted]
