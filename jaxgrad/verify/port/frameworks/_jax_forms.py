"""A JAX model in any of the forms in which a user may have one."""

from typing import Any

from jaxgrad.verify.port.frameworks._function import FunctionModel
from jaxgrad.verify.port.frameworks._jax_model import JaxModel
from jaxgrad.verify.port.frameworks._linen import LinenModel
from jaxgrad.verify.port.frameworks._nnx import NnxModel
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["make"]


def make(
    jax_model: Any,
    kwargs: dict[str, Any],
    inputs: tuple[Any, ...],
    *,
    train: bool,
    parts: Parts = Parts(),  # noqa: B008
) -> JaxModel:
    """Return the side of what the user gave: a linen module, ``(module, variables)``, NNX, ``(apply_fn, params)``.

    Raises:
        TypeError: If it is none of these.
    """
    import flax.linen as nn
    from flax import nnx

    first, second = jax_model if isinstance(jax_model, tuple) and len(jax_model) == 2 else (jax_model, None)
    if isinstance(first, nn.Module):
        return LinenModel(first, second, kwargs, inputs, train=train, parts=parts)
    if isinstance(first, nnx.Module) and second is None:
        return NnxModel(first, kwargs, train=train, parts=parts)
    if callable(first) and second is not None:
        return FunctionModel(first, second, kwargs, parts=parts)
    message = (
        "jax must be a linen module, (linen module, variables), an NNX module or (apply_fn, params);"
        f" got {type(jax_model).__name__}"
    )
    raise TypeError(message)
