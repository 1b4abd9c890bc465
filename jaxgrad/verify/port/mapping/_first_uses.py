"""The order in which a JAX function first uses its parameters, for models whose layers nobody can see."""

from typing import Any

import jax.extend.core

from jaxgrad.verify.judge._arrays import flatten

__all__ = ["first_uses", "with_unseen"]


def first_uses(program: Any, params: Any) -> dict[str, int]:
    """Return when each parameter is first used, by path.

    Args:
        program: The jaxpr of a function whose first arguments are the leaves of ``params``.
        params: The parameters.
    """
    order: dict[str, int] = {}
    named = dict(zip(program.invars, flatten(params), strict=False))
    _walk(program, named, order)
    return order


def with_unseen(order: dict[str, int], uses: dict[str, int]) -> dict[str, int]:
    """Return when layers first ran, those among them that nobody saw, such as cells inside of a scan.

    Args:
        order: When the layers that were seen first ran, by path.
        uses: When each parameter was first used, as `first_uses` returns it.

    Returns:
        The places of all; a parameter that no layer in ``order`` holds follows the layer whose parameters were used
        before it, and the layers above it have its place.
    """
    seen = sorted(order, key=order.__getitem__)
    after: dict[str, list[str]] = {}
    last = ""
    for path in sorted(uses, key=uses.__getitem__):
        above = ["/".join(path.split("/")[:n]) for n in range(path.count("/") + 1, 0, -1)]
        holder = next((layer for layer in above if layer in order), None)
        if holder is None and "/" not in path and order:
            # torch shows no use of what the model itself holds either
            continue
        if holder is None:
            after.setdefault(last, []).extend(above)
        else:
            last = max(last, holder, key=lambda layer: order.get(layer, -1))
    places = [path for layer in ("", *seen) for path in ([layer] * (layer in order) + after.get(layer, []))]
    return {path: i for i, path in reversed(list(enumerate(places)))}


def _walk(program: Any, named: dict[Any, str], order: dict[str, int]) -> None:
    """Note the first equation that reads each parameter; functions that are called are looked into."""
    for equation in program.eqns:
        inside = _inner(equation)
        known = {i: named[v] for i, v in enumerate(equation.invars) if _is_known(v, named)}
        if inside is None:
            for path in known.values():
                order.setdefault(path, len(order))
        else:
            _walk(inside, {inside.invars[i]: path for i, path in known.items()}, order)


def _is_known(variable: Any, named: dict[Any, str]) -> bool:
    """Say whether a variable is a parameter; a literal cannot be looked up."""
    return not isinstance(variable, jax.extend.core.Literal) and variable in named


def _inner(equation: Any) -> Any:
    """Return the function that an equation calls with its own arguments, or ``None``."""
    for value in equation.params.values():
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns") and len(inner.invars) == len(equation.invars):
            return inner
    return None
