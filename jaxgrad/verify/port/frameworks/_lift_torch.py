"""A torch model with its float32 islands computed in float64, and what these islands are.

Inside of `widened` every ``.float()``, every ``dtype=torch.float32`` and every tensor that a model keeps in float32 is
taken in float64. Tables that were made in float32 before are found here, and settled against the other side's by
`_islands`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import to_array
from jaxgrad.verify.judge._leaf import wide
from jaxgrad.verify.port.frameworks._protocols import Batch, RunningTorch

__all__ = ["Watch", "attributes", "set_attribute", "watch", "widened"]


@contextlib.contextmanager
def widened(tell: Callable[[str, Any, Any], None] | None = None) -> Iterator[None]:
    """Compute in float64 wherever torch code asks for float32.

    Args:
        tell: Called with the name of every function, its tensors and its result.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils import _pytree as pytree

    wider: dict[Any, Any] = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    wider |= {"torch.FloatTensor": "torch.DoubleTensor", torch.FloatTensor: torch.DoubleTensor}
    named = {"float": torch.Tensor.double, "cfloat": torch.Tensor.cdouble}

    def widen(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.to(wider[leaf.dtype]) if leaf.dtype in wider else leaf
        return wider.get(leaf, leaf) if isinstance(leaf, torch.dtype | str | type) else leaf

    class Wide(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            name, kwargs = getattr(func, "__name__", ""), kwargs or {}
            given = (args, kwargs)
            # a tensor that is written to stays the one that it is
            written = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
            wide, named_wide = pytree.tree_map(widen, given)
            wide = (args[0], *wide[1:]) if written and args else wide
            result = named.get(name, func)(*wide, **named_wide)
            if tell is not None and name != "__get__":
                asked = name in named or any(a is not b for a, b in _leaves(given, (wide, named_wide)) if _is_type(a))
                tell(name if asked else "", (wide, named_wide), result)
            return result

    def _is_type(leaf: Any) -> bool:
        return not isinstance(leaf, torch.Tensor)

    def _leaves(a: Any, b: Any) -> Any:
        return zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Wide():
            yield
    finally:
        torch.set_default_dtype(usual)


def attributes(module: Any) -> dict[str, np.ndarray]:
    """Return the float32 tensors that modules hold as plain attributes, by path, in float64."""
    found = {}
    for path, child, name in _attributes(module):
        found[path] = _array(vars(child)[name])
    return found


def set_attribute(module: Any, path: str, values: np.ndarray) -> None:
    """Put other values into a plain attribute."""
    import torch

    for other, child, name in _attributes(module):
        if other == path:
            setattr(child, name, torch.from_numpy(np.array(values)))


def _attributes(module: Any) -> list[tuple[str, Any, str]]:
    """Return the path, the owner and the name of every plain attribute that is a float32 tensor."""
    import torch

    found = []
    for path, child in module.named_modules():
        for name, value in vars(child).items():
            if isinstance(value, torch.Tensor) and value.dtype in (torch.float32, torch.complex64):
                found.append((f"{path}.{name}" if path else name, child, name))
    return found


def _array(tensor: Any) -> np.ndarray:
    """Return a tensor's values in float64."""
    return np.array(wide(to_array(tensor)))


class Watch:
    """What a run of a model in float64 asks of float32."""

    def __init__(self, variable: list[Any]) -> None:
        self.path: list[str] = [""]
        self.moving = {id(x): x for x in variable}
        """Tensors that depend on parameters or inputs; they are kept, so that no other takes their id."""
        self.casts: dict[str, str] = {}
        self.made: list[np.ndarray] = []
        self.numbers: set[float] = set()
        """The Python numbers that torch's functions are given."""

    def leave(self, *_: Any) -> None:
        """Note that a module has returned."""
        self.path.pop()

    def __call__(self, name: str, given: Any, result: Any) -> None:
        """Note one function."""
        import torch
        from torch.utils import _pytree as pytree

        results = [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.numbers |= {x for x in pytree.tree_leaves(given) if type(x) is float}
        moving = [x for x in pytree.tree_leaves(given) if id(x) in self.moving]
        if moving:
            self.moving |= {id(x): x for x in results}
            # a mask that becomes numbers is no rounding
            if name and any(x.is_floating_point() for x in moving):
                self.casts.setdefault(self.path[-1], name)
            return
        made = [_array(x) for x in results if x.dtype in (torch.float64, torch.complex128) and x.numel()]
        self.made += [array for array in made if array.size > 1]
        self.numbers |= {float(array) for array in made if not array.ndim and array.dtype.kind == "f"}


def watch(side: RunningTorch, batch: Batch) -> Watch:
    """Run a model and its loss once in float64, and return what they asked of float32, and which tables they made."""
    import torch

    params, buffers = side.tensors("float64")
    arrays = side.batch(batch, "float64")
    inputs, targets = side.parts.split(arrays)
    seen = Watch([*params.values(), *arrays])
    handles = []
    for name, module in side.at("float64").named_modules():
        before: Callable[..., None] = lambda *_, name=name: seen.path.append(name)  # noqa: E731
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(seen.leave)]
    try:
        with torch.no_grad(), widened(seen):
            output = side.plain_call("float64", params, buffers, *inputs)
            seen.path.append("loss")
            side.plain_loss(output, *targets)
    finally:
        for handle in handles:
            handle.remove()
    return seen
