"""The first run of a torch model: in which order its layers run, and which linear layers take a flattened image."""

import math
from collections.abc import Mapping
from typing import Any

from jaxgrad.verify._errors import PairError
from jaxgrad.verify.port.frameworks._outputs import main
from jaxgrad.verify.port.frameworks._protocols import Batch, FirstRun, RunningTorch, Shape

__all__ = ["first_run"]


def first_run(side: RunningTorch, batch: Batch) -> FirstRun:
    """Evaluate the loss once, and note which layers run and what shapes they see.

    Raises:
        PairError: If the loss has no gradient.
    """
    seen = _Seen(side.kinds)
    handles = []
    for name, module in side.at("float32").named_modules():
        handles.append(module.register_forward_pre_hook(seen.before(name), with_kwargs=True))
        handles.append(module.register_forward_hook(seen.after))
    try:
        params, buffers = side.tensors("float32")
        live = [p.requires_grad_() for n, p in params.items() if n not in side.frozen]
        loss = side.loss("float32", buffers)(params, *side.batch(batch, "float32"))
    finally:
        for handle in handles:
            handle.remove()
    if live and not loss.requires_grad:
        message = (
            "torch's loss has no gradient: the model's forward runs under torch.no_grad or inference_mode, or the loss"
            " leaves the graph (.item(), .detach()); compare without that decorator, model.forward.__wrapped__"
        )
        raise PairError(message)
    return FirstRun(seen.order, seen.images)


class _Seen:
    """The hooks of the run."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self.kinds = kinds
        self.order: dict[str, int] = {}
        self.images: dict[str, Shape] = {}
        self.returned: list[Shape] = []
        """The shapes of four axes that layers returned, in the order in which they did."""

    def before(self, name: str) -> Any:
        """Return the hook before a call of the module of that name."""

        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del module
            self.order.setdefault(name, len(self.order))
            given: Any = args[0] if args else kwargs.get("input")
            if self.kinds.get(name) == "Linear" and getattr(given, "ndim", 0) == 2:
                self._flattened(name, tuple(given.shape))

        return hook

    def _flattened(self, name: str, shape: Shape) -> None:
        """Note the last image that flattens to a shape."""
        for image in reversed(self.returned):
            if image[0] == shape[0] and math.prod(image[1:]) == shape[1] and math.prod(image[2:]) > 1:
                self.images[name] = image[1:]
                return

    def after(self, module: Any, args: Any, output: Any) -> None:
        """Note an image that a layer returns."""
        del module, args
        array = main(output)
        if array is not None and array.ndim == 4:
            self.returned.append(tuple(array.shape))
