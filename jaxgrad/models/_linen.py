"""Flax linen modules as pure functions of their parameters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from flax import errors
from flax import linen as nn
from flax.core import unfreeze

from jaxgrad import _tree
from jaxgrad._types import Key, Params, Tree
from jaxgrad.models._model import Model, StatefulModel, flax_promotion, kind_of, name_after, same_leaves, try_once

__all__ = ["from_linen", "from_linen_with_state"]

Method = Callable[..., Any] | str | None


def from_linen(
    module: nn.Module,
    *sample_inputs: Any,
    key: Key | None = None,
    variables: Tree | None = None,
    method: Method = None,
    **options: Any,
) -> Model:
    r"""Turn a linen module into a pure function of its parameters.

    .. math:: f(\theta, x), \qquad \theta \text{ the collection "params"}

    The module must be deterministic and must not update anything: set dropout and batch normalisation to evaluation
    (``train=False``, ``deterministic=True``, ``use_running_average=True``, whatever the module calls it). The other
    collections, such as running statistics, are constants of ``apply_fn``. A module that needs a random key or
    updates a collection is refused; `from_linen_with_state` takes those. Inside the module JAX's standard promotion of
    dtypes holds, which Flax's norms rely on.

    Args:
        module: A linen module, not bound to variables.
        *sample_inputs: Inputs of the module, of which only the shapes and dtypes count. With them the module is
            initialised (where ``key`` is given) and tried once.
        key: Random key for the initialisation. Give either this or ``variables``.
        variables: Existing variables, ``{"params": ..., "batch_stats": ...}``, of which a plain copy is taken.
        method: The method of the module to apply, itself or its name; ``None`` is ``__call__``.
        **options: Keyword arguments of the method, the same in every call unless the call names them again.

    Returns:
        ``(apply_fn, params)``, a `Model`: ``apply_fn(params, *inputs, **options)`` returns what the module returns,
        and ``params`` is a plain nested dictionary.

    Raises:
        TypeError: If ``module`` is no linen module.
        ValueError: If neither or both of ``key`` and ``variables`` are given, the module has no parameters, needs a
            random key, or updates its state.

    Cost:
        One initialisation and one abstract trace here; nothing on top of the module in each call.

    Example:
        >>> import flax.linen as nn
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> dense, x = nn.Dense(2, param_dtype=float), jnp.ones((5, 3))
        >>> apply_fn, params = jaxgrad.models.from_linen(dense, x, key=jax.random.key(0))
        >>> apply_fn(params, x).shape
        (5, 2)

    References:
        Heek et al. (2020), Flax: a neural network library and ecosystem for JAX.
    """
    params, state = _variables(module, sample_inputs, key, variables, method, options)
    paths = _tree.leaf_paths(params)

    def apply_fn(params: Params, *inputs: Any, **changed: Any) -> Any:
        same_leaves("params", params, paths)
        with _applied(module, "from_linen_with_state"):
            return module.apply({"params": params, **state}, *inputs, method=method, **{**options, **changed})

    name_after(apply_fn, module)
    if sample_inputs:
        try_once(apply_fn, params, *sample_inputs)
    return Model(apply_fn, params)


def from_linen_with_state(
    module: nn.Module,
    *sample_inputs: Any,
    key: Key | None = None,
    variables: Tree | None = None,
    method: Method = None,
    **options: Any,
) -> StatefulModel:
    r"""Turn a linen module into a pure function of its parameters and its state.

    .. math:: (y, s') = f(\theta, s, x, \text{keys})

    Args:
        module: A linen module, not bound to variables.
        *sample_inputs: Inputs of the module, of which only the shapes and dtypes count, for its initialisation.
        key: Random key for the initialisation. Give either this or ``variables``.
        variables: Existing variables, ``{"params": ..., "batch_stats": ...}``, of which a plain copy is taken.
        method: The method of the module to apply, itself or its name; ``None`` is ``__call__``.
        **options: Keyword arguments of the method, the same in every call unless the call names them again.

    Returns:
        ``(apply_fn, params, state)``, a `StatefulModel`. ``apply_fn(params, state, *inputs, rngs=None, **options)``
        returns ``(output, new_state)``; ``state`` holds every collection but the parameters, by name. Random keys,
        ``rngs={"dropout": key}``, are given in each call. What the module sows is left out.

    Raises:
        TypeError: If ``module`` is no linen module.
        ValueError: If neither or both of ``key`` and ``variables`` are given, the module has no parameters, or a call
            lacks a random key.

    Cost:
        One initialisation here; nothing on top of the module in each call.

    Example:
        >>> import flax.linen as nn
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> norm, x = nn.BatchNorm(use_running_average=False, momentum=0.5), jnp.full((4, 2), 3.0, jnp.float32)
        >>> apply_fn, params, state = jaxgrad.models.from_linen_with_state(norm, x, key=jax.random.key(0))
        >>> output, new_state = apply_fn(params, state, x)
        >>> new_state["batch_stats"]["mean"].tolist()
        [1.5, 1.5]

        In training a loss hands the new state out of a gradient, which is taken with ``has_aux=True``:

        >>> def loss(params, state, x):
        ...     output, state = apply_fn(params, state, x)
        ...     return jnp.mean(output**2), state
        >>> slope, state = jaxgrad.shift.sam_gradient(loss, params, state, x, has_aux=True, radius=0.1)
        >>> state["batch_stats"]["mean"].tolist()
        [1.5, 1.5]

    References:
        Heek et al. (2020), Flax: a neural network library and ecosystem for JAX.
    """
    params, state = _variables(module, sample_inputs, key, variables, method, options)
    paths = _tree.leaf_paths(params)

    def apply_fn(params: Params, state: Tree, *inputs: Any, rngs: Any = None, **changed: Any) -> Any:
        same_leaves("params", params, paths)
        named = {"rngs": rngs, "mutable": list(state), "method": method, **options, **changed}
        with _applied(module, "from_linen_with_state"):
            output, updated = module.apply({"params": params, **state}, *inputs, **named)
        return output, {**state, **unfreeze(updated)}

    name_after(apply_fn, module)
    return StatefulModel(apply_fn, params, state)


def _variables(
    module: Any, inputs: tuple[Any, ...], key: Key | None, variables: Tree | None, method: Method, options: Any
) -> tuple[Params, Tree]:
    """Return the parameters and the other collections of a module, as plain dictionaries.

    Raises:
        TypeError: If the module is no linen module.
        ValueError: If neither or both of the key and the variables are given, or there are no parameters.
    """
    if not isinstance(module, nn.Module):
        message = f"from_linen takes an instance of a linen module; got {kind_of(module)}: from_nnx takes NNX modules"
        raise TypeError(message)
    if (key is None) == (variables is None):
        given = "neither" if key is None else "both"
        message = f"give key= to initialise {type(module).__name__}, or variables= that it has; got {given}"
        raise ValueError(message)
    if variables is None:
        with flax_promotion():
            variables = module.init(key, *inputs, method=method, **options)
    plain = jax.tree.map(lambda leaf: leaf, nn.meta.unbox(unfreeze(variables)))
    params = plain.pop("params", {})
    if not jax.tree.leaves(params):
        message = f"{type(module).__name__} has no parameters: its variables have {sorted(variables) or 'nothing'}"
        raise ValueError(message)
    return params, plain


@contextmanager
def _applied(module: nn.Module, remedy: str) -> Iterator[None]:
    """Apply a module, and say in the words of this library what it needs that the call does not give.

    Raises:
        ValueError: If the module updates a collection that is constant, or asks for a random key.
    """
    name = type(module).__name__
    try:
        with flax_promotion():
            yield
    except errors.ModifyScopeVariableError as error:
        message = (
            f"{name} updates its state, which is constant here: {error} Put it into evaluation mode, or use"
            f" {remedy}, which returns the new state."
        )
        raise ValueError(message) from error
    except errors.InvalidRngError as error:
        message = (
            f"{name} needs a random key: {error} Put it into evaluation mode (deterministic), or use"
            f' {remedy} and give rngs={{"dropout": key}} in each call.'
        )
        raise ValueError(message) from error
