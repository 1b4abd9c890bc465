"""The JAX half of a pair: whatever it is made of, one pure call that can be watched."""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["WATCHED_METHODS", "JaxModel", "Watch", "cast", "dtype_of", "shapes", "trace_state"]

Watch = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Called for every call of a submodule as ``watch(path, call, args, kwargs)``; returns what the caller sees."""

WATCHED_METHODS = ("__call__", "attend")


class JaxModel:
    """``apply(params, rest, *inputs) -> (output, rest)``, with parameters and other collections by leaf path."""

    kind: str = "function"
    """``"linen"``, ``"nnx"`` or ``"function"``; only the first two can be watched inside."""

    parts: Parts = Parts()
    kwargs: dict[str, Any]

    def __init__(self, params: Any, rest: Any) -> None:
        self.params, self.rest = params, rest

    def arguments(self, params: Any, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the model is called with: its inputs, and the user's options.

        Arrays among the options take the dtype of the parameters.
        """
        args, named = self.parts.arguments(inputs)
        wide = dtype_of(params)
        options = {n: cast(x, wide) if wide is not None and _is_array(x) else x for n, x in self.kwargs.items()}
        return args, {**options, **named}

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Apply the model."""
        raise NotImplementedError

    def outline(self, dtype: str) -> tuple[Any, Any]:
        """Return the shapes of the parameters and collections, with floating-point numbers in a dtype."""

        def leaf(x: Any) -> Any:
            floating = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
            return jax.ShapeDtypeStruct(np.shape(x), dtype) if floating else x

        return jax.tree.map(leaf, (self.params, self.rest))

    def modules(self) -> dict[str, Any]:
        """Return the submodules that can be found without a call, by path, for their configuration."""
        return {}


def _is_array(value: Any) -> bool:
    """Say whether an option is an array, which follows the precision, and no setting."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, np.generic)


def dtype_of(params: Any) -> Any:
    """Return the dtype of the parameters that a call is given."""
    floating = [x.dtype for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.floating)]
    return floating[0] if floating else None


def trace_state() -> Any:
    """Return what tells one trace from another."""
    return jax.extend.core.get_opaque_trace_state(convention="nnx")


def cast(tree: Any, dtype: Any) -> Any:
    """Cast the floating-point leaves of a tree, and leave keys and integers."""

    def leaf(x: Any) -> Any:
        if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
            return x
        # in NumPy, and put: an eager cast, or `jnp.asarray`, would compile a program for every shape
        array = np.asarray(x)
        return jax.device_put(array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array)

    return jax.tree.map(leaf, tree)


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every leaf by path."""
    return {path: tuple(np.shape(leaf)) for path, leaf in flatten(tree).items()}
