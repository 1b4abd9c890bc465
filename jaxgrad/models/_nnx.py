"""Flax NNX modules as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxgrad import _tree
from jaxgrad._types import Params, Tree
from jaxgrad.models._model import Model, StatefulModel, flax_promotion, kind_of, name_after, same_leaves, try_once

__all__ = ["from_nnx", "from_nnx_with_state"]

Method = Callable[..., Any] | str


def from_nnx(module: nnx.Module, *sample_inputs: Any, method: Method = "__call__", **options: Any) -> Model:
    r"""Turn an NNX module into a pure function of its parameters.

    .. math:: f(\theta, x), \qquad \theta \text{ the variables of type } \texttt{nnx.Param}

    The module itself is not changed and not kept: ``apply_fn`` holds its structure, and its mode (``train`` or
    ``eval``) as it is now. It must be deterministic and must not update anything (``module.eval()``); the other
    variables, such as running statistics, are constants of ``apply_fn``. A module that updates one, as batch
    normalisation and dropout in training mode do, is refused; `from_nnx_with_state` takes those. A module that is
    used in several places (tied weights) has its parameters once. Inside the module JAX's standard promotion of dtypes
    holds, which Flax's norms rely on.

    Args:
        module: An NNX module.
        *sample_inputs: Inputs of the module, of which only the shapes and dtypes count; with them the module is tried
            once.
        method: The method of the module to apply, its name or ``method(module, *inputs)``.
        **options: Keyword arguments of the method, the same in every call unless the call names them again.

    Returns:
        ``(apply_fn, params)``, a `Model`: ``apply_fn(params, *inputs, **options)`` returns what the module returns,
        and ``params`` is a plain nested dictionary (lists have whole numbers as keys).

    Raises:
        TypeError: If ``module`` is no NNX module.
        ValueError: If the module has no parameters, or a call updates its state.

    Cost:
        One split here; in each trace one merge, and nothing when the compiled program runs.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> from flax import nnx
        >>> apply_fn, params = jaxgrad.models.from_nnx(nnx.Linear(3, 2, param_dtype=float, rngs=nnx.Rngs(0)))
        >>> apply_fn(params, jnp.ones((5, 3))).shape
        (5, 2)

    References:
        The Flax authors (2024), NNX: functional API (``split`` and ``merge``).
    """
    graph, params, state = _split(module)
    call, paths = _method(method), _tree.leaf_paths(params)

    def apply_fn(params: Params, *inputs: Any, **changed: Any) -> Any:
        same_leaves("params", params, paths)
        merged = nnx.merge(graph, params, state, copy=True)
        with flax_promotion():
            output = call(merged, *inputs, **{**options, **changed})
        _refuse_updates(merged, state)
        return output

    name_after(apply_fn, module)
    if sample_inputs:
        try_once(apply_fn, params, *sample_inputs)
    return Model(apply_fn, params)


def from_nnx_with_state(
    module: nnx.Module, *sample_inputs: Any, method: Method = "__call__", **options: Any
) -> StatefulModel:
    r"""Turn an NNX module into a pure function of its parameters and its state.

    .. math:: (y, s') = f(\theta, s, x)

    Args:
        module: An NNX module; it is not changed and not kept.
        *sample_inputs: Inputs of the module, of which only the shapes and dtypes count; with them the module is tried
            once.
        method: The method of the module to apply, its name or ``method(module, *inputs)``.
        **options: Keyword arguments of the method, the same in every call unless the call names them again.

    Returns:
        ``(apply_fn, params, state)``, a `StatefulModel`. ``apply_fn(params, state, *inputs, **options)`` returns
        ``(output, new_state)``; ``state`` holds every variable that is no parameter: running statistics, caches,
        random keys and how often each was used. What the module sows is left out.

    Raises:
        TypeError: If ``module`` is no NNX module.
        ValueError: If the module has no parameters, or a call creates a variable.

    Cost:
        One split here; in each trace one merge, and nothing when the compiled program runs.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> from flax import nnx
        >>> norm, x = nnx.BatchNorm(2, momentum=0.5, rngs=nnx.Rngs(0)), jnp.full((4, 2), 3.0)
        >>> apply_fn, params, state = jaxgrad.models.from_nnx_with_state(norm)
        >>> output, new_state = apply_fn(params, state, x)
        >>> new_state["mean"].tolist()
        [1.5, 1.5]

        In training a loss hands the new state out of a gradient, which is taken with ``has_aux=True``:

        >>> def loss(params, state, x):
        ...     output, state = apply_fn(params, state, x)
        ...     return jnp.mean(output**2), state
        >>> slope, state = jaxgrad.shift.sam_gradient(loss, params, state, x, has_aux=True, radius=0.1)
        >>> state["mean"].tolist()
        [1.5, 1.5]

    References:
        The Flax authors (2024), NNX: functional API (``split`` and ``merge``).
    """
    graph, params, state = _split(module)
    call, paths, kept = _method(method), _tree.leaf_paths(params), _tree.leaf_paths(state)

    def apply_fn(params: Params, state: Tree, *inputs: Any, **changed: Any) -> Any:
        same_leaves("params", params, paths)
        same_leaves("state", state, kept)
        merged = nnx.merge(graph, params, state, copy=True)
        with flax_promotion():
            output = call(merged, *inputs, **{**options, **changed})
        updated = _state(merged)
        same_leaves("the state after the call", updated, kept)
        return output, updated

    name_after(apply_fn, module)
    if sample_inputs:
        try_once(apply_fn, params, state, *sample_inputs)
    return StatefulModel(apply_fn, params, state)


def _split(module: Any) -> tuple[Any, Params, Tree]:
    """Return the structure of a module, its parameters and its other variables, as plain dictionaries.

    Raises:
        TypeError: If it is no NNX module.
        ValueError: If it has no parameters.
    """
    if not isinstance(module, nnx.Module):
        message = f"from_nnx takes an instance of an NNX module; got {kind_of(module)}: from_linen takes linen modules"
        raise TypeError(message)
    own = nnx.clone(module)
    nnx.pop(own, nnx.Intermediate)
    graph, params, state = nnx.split(own, nnx.Param, ...)
    if not jax.tree.leaves(params):
        message = f"{type(module).__name__} has no parameters: none of its variables is an nnx.Param"
        raise ValueError(message)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(state)


def _method(method: Method) -> Callable[..., Any]:
    """Return the function that applies a module."""
    if not isinstance(method, str):
        return method
    return lambda module, *inputs, **options: getattr(module, method)(*inputs, **options)


def _state(module: nnx.Module) -> Tree:
    """Return the variables of a module that are neither parameters nor sown."""
    return nnx.to_pure_dict(nnx.state(module, nnx.All(nnx.Not(nnx.Param), nnx.Not(nnx.Intermediate))))


def _refuse_updates(module: nnx.Module, before: Tree) -> None:
    """Refuse a module that has changed its state: the change would be lost.

    An array that nobody has written to is still the same object.

    Raises:
        ValueError: With the variables that changed.
    """
    after = _state(module)
    old = dict(zip(_tree.leaf_paths(before), jax.tree.leaves(before), strict=True))
    new = dict(zip(_tree.leaf_paths(after), jax.tree.leaves(after), strict=True))
    changed = [path for path, leaf in new.items() if leaf is not old.get(path)]
    if changed:
        message = (
            f"{type(module).__name__} updates its state ({', '.join(changed)}), which is constant here, and dropout"
            " would draw the same mask in every call. Call module.eval() before from_nnx, or use from_nnx_with_state,"
            " which returns the new state."
        )
        raise ValueError(message)
