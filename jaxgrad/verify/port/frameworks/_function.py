"""A plain function of parameters and inputs, as the JAX half of a pair."""

from collections.abc import Callable
from typing import Any

from jaxgrad.verify.port.frameworks._jax_model import JaxModel, Watch
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["FunctionModel"]


class FunctionModel(JaxModel):
    """A plain ``apply_fn(params, *inputs)``, nothing of which can be seen inside."""

    def __init__(self, apply_fn: Callable[..., Any], params: Any, kwargs: dict[str, Any], *, parts: Parts) -> None:
        self.apply_fn, self.kwargs, self.fresh, self.parts = apply_fn, kwargs, False, parts
        super().__init__(params, {})

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Call the function."""
        del watch
        args, named = self.arguments(params, inputs)
        return self.apply_fn(params, *args, **named), rest
