"""Gradients by name: torch's names where a mapping gives them, paths otherwise."""

from collections import OrderedDict
from typing import Any

import jax

from jaxgrad import _tree
from jaxgrad._jit import jit
from jaxgrad._types import AxisName, LossFn, Params, Wrt
from jaxgrad.gradient._parameter_gradient import parameter_gradient

__all__ = ["named_gradients"]


@jit("loss_fn", "mapping", "wrt", "axis_name")
def named_gradients(
    loss_fn: LossFn, params: Params, *data: Any, mapping: Any = None, wrt: Wrt = None, axis_name: AxisName = None
) -> OrderedDict[str, Any]:
    r"""Compute the gradient of a loss as a dictionary from name to array.

    .. math:: \{\, n : \nabla_{\theta_n} L(\theta) \,\}

    Without a mapping the names are the paths of the leaves, keys joined by ``/``, in tree order. With one they are
    torch's names in the order of the mapping, which is that of ``named_parameters``. The arrays stay in JAX's layout
    either way: a Flax kernel's gradient is the transpose of a torch weight's (``gradients_to_torch`` of a mapping of
    ``jaxgrad.models`` gives torch's layout).

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``. Static: pass a named function, and arrays through ``data``.
        params: Pytree of floating-point arrays, the point.
        *data: Pytrees handed on to ``loss_fn``; not differentiated.
        mapping: Pairs ``(torch_name, path)``, or an object whose method ``pairs()`` returns them, such as the mapping
            of a network in ``jaxgrad.models``. Static. A path is a string ``"trunk/kernel"`` or a sequence of keys.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the loss is the mean of the devices'
            losses; ``None``: it is the device's own.

    Returns:
        The gradients of the leaves that count; the others are left out. Where a mapping gives one name to several
        leaves (the joined projection of an attention layer), the entry is the tuple of their gradients.

    Raises:
        ValueError: If the mapping names a path that is not there or omits a leaf that counts, two leaves have one path,
            the loss is no scalar, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If a leaf that counts is no real floating-point array.

    Cost:
        One gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params):
        ...     return jnp.sum(params["out"]["kernel"]) + 2 * params["out"]["bias"]
        >>> params = {"out": {"kernel": jnp.ones((2, 1)), "bias": jnp.array(0.5)}}
        >>> list(named_gradients(loss, params))
        ['out/bias', 'out/kernel']
        >>> list(named_gradients(loss, params, mapping=[("out.weight", "out/kernel"), ("out.bias", "out/bias")]))
        ['out.weight', 'out.bias']

    References:
        ``torch.nn.Module.named_parameters``.
    """
    paths = _tree.leaf_paths(params)
    if len(set(paths)) < len(paths):
        message = f"two leaves of params have one path, so names cannot tell them apart: {', '.join(sorted(paths))}"
        raise ValueError(message)
    counted = {path for path, keep in zip(paths, _tree.selected(params, wrt), strict=True) if keep}
    found = parameter_gradient(loss_fn, params, *data, wrt=wrt, axis_name=axis_name)
    gradient = dict(zip(paths, jax.tree.leaves(found), strict=True))
    if mapping is None:
        return OrderedDict((path, gradient[path]) for path in paths if path in counted)
    named: OrderedDict[str, list[Any]] = OrderedDict()
    for name, path in _pairs(mapping, paths, counted):
        named.setdefault(name, []).append(gradient[path])
    return OrderedDict((name, parts[0] if len(parts) == 1 else tuple(parts)) for name, parts in named.items())


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
