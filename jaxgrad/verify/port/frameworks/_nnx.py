"""An NNX module, as the JAX half of a pair."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxgrad.verify.port.frameworks._contexts import follow
from jaxgrad.verify.port.frameworks._jax_model import WATCHED_METHODS, JaxModel, Watch, dtype_of, trace_state
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["NnxModel"]


class NnxModel(JaxModel):
    """An NNX module, split into a graph and its states; the module itself is never touched."""

    kind = "nnx"

    def __init__(self, module: Any, kwargs: dict[str, Any], *, train: bool, parts: Parts) -> None:
        from flax import nnx

        self.kwargs, self.fresh, self.parts = kwargs, False, parts
        self.graph, params, rest = nnx.split(module, nnx.Param, ...)
        self.state_params, self.state_rest = params, rest
        self.train = train
        self.origin = module
        super().__init__(nnx.to_pure_dict(params), nnx.to_pure_dict(rest))

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Rebuild a private copy of the module, set its mode, and call it."""
        from flax import nnx

        state_params, state_rest = _filled(self.state_params, params), _filled(self.state_rest, rest)
        module = nnx.merge(self.graph, state_params, state_rest, copy=True)
        (module.train if self.train else module.eval)()
        for _, node in list(_nnx_modules(module)):
            follow(node, dtype_of(params))
        if watch is not None:
            _watch_nnx(module, watch)
        args, named = self.arguments(params, inputs)
        output = module(*args, **named)
        changed = nnx.to_pure_dict(nnx.split(module, nnx.Param, ...)[2]) if self.train else rest
        return output, changed

    def modules(self) -> dict[str, Any]:
        """Return the submodules by path."""
        return dict(_nnx_modules(self.origin))


def _filled(state: Any, values: Any) -> Any:
    """Return an NNX state with the values of a pure dictionary; random state keeps its own."""
    from flax import nnx

    copied = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(copied, values)
    return copied


def _nnx_modules(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield every NNX module below, with its path."""
    from flax import nnx

    for path, node in nnx.iter_modules(module):
        yield "/".join(map(str, path)), node


def _watch_nnx(module: Any, watch: Watch) -> None:
    """Give every module of a private copy a subclass of its class whose call reports to ``watch``."""
    here = trace_state()

    def watched(cls: type, path: str, name: str) -> Callable[..., Any]:
        original = getattr(cls, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if trace_state() != here:
                return original(self, *args, **kwargs)
            return watch(path, lambda *a, **k: original(self, *a, **k), args, kwargs)

        return method

    for path, node in list(_nnx_modules(module)):
        cls = type(node)
        methods = {name: watched(cls, path, name) for name in WATCHED_METHODS if callable(getattr(cls, name, None))}
        if methods:
            object.__setattr__(node, "__class__", type(cls.__name__, (cls,), methods))
