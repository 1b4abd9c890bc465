"""A linen module with its variables, as the JAX half of a pair."""

from typing import Any

import jax
import numpy as np

from jaxgrad.verify._errors import PairError, first_line
from jaxgrad.verify.port.frameworks._contexts import follow
from jaxgrad.verify.port.frameworks._jax_model import WATCHED_METHODS, JaxModel, Watch, dtype_of, trace_state
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["LinenModel"]


class LinenModel(JaxModel):
    """A linen module with its variables."""

    kind = "linen"

    def __init__(
        self, module: Any, variables: Any, kwargs: dict[str, Any], inputs: tuple[Any, ...], *, train: bool, parts: Parts
    ) -> None:
        self.module, self.kwargs, self.train, self.parts = module, kwargs, train, parts
        self.found: dict[str, Any] = {}
        self.fresh = variables is None
        if variables is None:
            args, named = parts.arguments(inputs)
            try:
                variables = _initialise(module, args, {**kwargs, **named})
            except Exception as error:
                message = (
                    f"the JAX model cannot be initialised on the batch: {first_line(error)}. What it takes by keyword"
                    ' goes into jax_kwargs, or into a batch with names, {"x": ..., "mask": ..., "target": ...}'
                )
                raise PairError(message) from error
        variables = {name: _plain(tree) for name, tree in dict(variables).items()}
        super().__init__(variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"})

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Apply the module; every collection but the parameters may be written."""
        import flax.linen as nn

        here, wide = trace_state(), dtype_of(params)
        running: list[str] = []

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            self.found.setdefault("/".join(context.module.path), context.module)
            follow(getattr(context.module, "cell", None), wide)
            # a call inside scan or remat belongs to another trace: its values cannot be taken out
            path = "/".join(context.module.path)
            # `super().__call__` is the same call once more; a module that is applied inside of another has no path
            if watch is None or context.method_name not in WATCHED_METHODS or trace_state() != here or path in running:
                return call(*args, **kwargs)
            running.append(path)
            try:
                return watch(path, call, args, kwargs)
            finally:
                running.pop()

        with nn.intercept_methods(intercept):
            # a port that writes its statistics in evaluation mode is to be compared, not to fail
            args, named = self.arguments(params, inputs)
            output, changed = self.module.apply({"params": params, **rest}, *args, mutable=list(rest), **named)
        return output, {**rest, **_plain(changed)} if self.train else rest

    def modules(self) -> dict[str, Any]:
        """Return the submodules of the last call."""
        return self.found


def _initialise(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return variables for a module that came without: only shapes count for what torch's weights will fill."""

    def init() -> Any:
        return module.init(jax.random.key(0), *inputs, **kwargs)

    outline = jax.eval_shape(init)
    if set(outline) <= {"params", "batch_stats"}:
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), outline)
    return jax.jit(init)()  # noqa: TID251 - runs once


def _plain(tree: Any) -> Any:
    """Turn Flax's own dictionaries into plain ones, and unbox partitioned leaves."""
    from flax import core

    return core.meta.unbox(core.unfreeze(tree))
