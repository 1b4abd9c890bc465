"""A JAX model as it runs in training: its switches turned, and what it draws traced, whatever evaluation shows."""

import copy
import inspect
from typing import Any

import jax

from jaxgrad.verify.port.frameworks._jax_model import JaxModel

__all__ = ["SWITCHES", "layer_of", "trace_in_training"]

SWITCHES = {"train": True, "training": True, "is_training": True, "is_train": True, "enable_dropout": True,
            "deterministic": False, "eval": False, "inference": False, "is_eval": False}  # fmt: skip
"""What models call the argument that tells training from evaluation, and its value in training."""

STREAMS = ("params", "dropout", "drop_path", "droppath", "stochastic_depth", "default", "noise")
"""Names under which modules ask for keys; Flax takes ``params`` for any other."""

MARK = "layer:"


def trace_in_training(model: JaxModel, inputs: tuple[Any, ...]) -> Any:
    """Return the jaxpr of a model in training; the names of its equations tell the layer.

    Args:
        model: The model.
        inputs: As a user has them.
    """
    key = jax.random.key(0)
    forward = {"linen": _linen, "nnx": _nnx}.get(model.kind, _function)
    return jax.make_jaxpr(lambda p, r, k, *x: forward(model, p, r, k, *x))(*model.outline("float32"), key, *inputs)


def layer_of(stack: str) -> str:
    """Return the path of the layer that a name stack ends in."""
    return stack.rpartition(MARK)[2].partition("/")[0].replace("|", "/") if MARK in stack else ""


def _mark(path: str) -> Any:
    """Return a context under whose name equations are traced."""
    return jax.named_scope(MARK + path.replace("/", "|"))


def _linen(model: Any, params: Any, rest: Any, key: Any, *inputs: Any) -> Any:
    """Apply a linen module in training."""
    import flax.linen as nn

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        _turn(module)
        method = getattr(type(module), context.method_name, None)
        args, kwargs = _switched(method, args, kwargs)
        with _mark("/".join(module.path)):
            return call(*args, **kwargs)

    args, named = model.arguments(params, inputs)
    keys = dict.fromkeys(STREAMS, key)
    with nn.intercept_methods(intercept):
        return model.module.apply({"params": params, **rest}, *args, mutable=list(rest), rngs=keys, **named)


def _nnx(model: Any, params: Any, rest: Any, key: Any, *inputs: Any) -> Any:
    """Apply an NNX module in training; it has keys of its own."""
    del key
    nodes = model.modules()
    trained = copy.copy(model)
    trained.train = True

    def watch(path: str, call: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = _switched(type(nodes[path]).__call__ if path in nodes else None, args, kwargs)
        with _mark(path):
            return call(*args, **kwargs)

    return trained.apply(params, rest, *inputs, watch=watch)[0]


def _function(model: Any, params: Any, rest: Any, key: Any, *inputs: Any) -> Any:
    """Apply a function with its switches turned."""
    del key
    trained = copy.copy(model)
    trained.kwargs = {name: SWITCHES.get(name, value) for name, value in model.kwargs.items()}
    return trained.apply(params, rest, *inputs)[0]


def _turn(module: Any) -> None:
    """Turn the switches that a module of a private copy holds as attributes."""
    for name, value in SWITCHES.items():
        if isinstance(vars(module).get(name), bool):
            object.__setattr__(module, name, value)


def _switched(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with its switches turned; one of ``None`` leaves the choice to the module."""
    try:
        names = list(inspect.signature(method).parameters.values())[1:]
    except (TypeError, ValueError):
        return args, kwargs
    taken = list(args)
    named = {name: SWITCHES[name] if isinstance(value, bool) and name in SWITCHES else value
             for name, value in kwargs.items()}  # fmt: skip
    for place, parameter in enumerate(names):
        if parameter.name in SWITCHES:
            if place < len(taken):
                taken[place] = SWITCHES[parameter.name] if isinstance(taken[place], bool) else taken[place]
            elif parameter.name not in kwargs and isinstance(parameter.default, bool):
                named[parameter.name] = SWITCHES[parameter.name]
    return tuple(taken), named
