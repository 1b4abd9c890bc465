"""What a model drops at random in training, seen where it does so: dropout, stochastic depth, masks made by hand."""

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.port.frameworks._protocols import Batch
from jaxgrad.verify.port.frameworks._random_numbers import POINTS, Random, Value, interpret
from jaxgrad.verify.port.frameworks._torch_module import TorchSide
from jaxgrad.verify.port.frameworks._training_mode import layer_of, trace_in_training

__all__ = ["Drop", "drops_of_jax", "drops_of_torch"]


@dataclasses.dataclass(frozen=True)
class Drop:
    """One place at which a part of the entries is put to zero at random."""

    path: str
    """The layer."""
    rate: float
    """The part that is dropped."""
    form: str = ""
    """``"entries"``, ``"examples"`` (stochastic depth) or ``"axes"`` where several share their fate."""


def drops_of_jax(model: Any, inputs: tuple[Any, ...]) -> list[Drop]:
    """Return what a JAX model drops, in the order of execution, by tracing it in training."""
    found: dict[int, Drop] = {}

    def meet(eqn: Any, operands: list[Value], where: str) -> None:
        rate = _rate_of(eqn.primitive.name, operands)
        drawn = next(x for x in operands if isinstance(x, Random))
        if rate is not None and 0 < rate < 1:
            shape = eqn.outvars[0].aval.shape
            found.setdefault(drawn.source, Drop(layer_of(where), rate, _form(drawn.size, shape)))

    program = trace_in_training(model, inputs)
    interpret(program, [None] * len(program.jaxpr.invars), meet)
    return list(found.values())


def _rate_of(name: str, operands: list[Value]) -> float | None:
    """Return the part of the entries that an operation on data and a mask drops; ``None`` where it is no such thing."""
    if name in ("mul", "div", "and"):
        mask = next(x for x in operands if isinstance(x, Random))
        return _zeros(mask) if _is_mask(mask) else None
    if name == "select_n" and len(operands) == 3 and isinstance(operands[0], Random):
        mask, (off, on) = operands[0], operands[1:]
        if _is_mask(mask) and (_is_zero(off) or _is_zero(on)):
            return _zeros(mask) if _is_zero(off) else round(1 - _zeros(mask), 6)
    return None


def _is_mask(drawn: Random) -> bool:
    """Say whether a random array holds zeros and one other number."""
    values = np.unique(drawn.values)
    return len(values) == 2 and not values.all()


def _zeros(drawn: Random) -> float:
    """Return the part of a random array that is zero."""
    return round(float(np.mean(drawn.values == 0)), 6)


def _is_zero(value: Value) -> bool:
    """Say whether a value is the constant zero."""
    return isinstance(value, np.generic) and not value


def _form(size: int, shape: tuple[int, ...]) -> str:
    """Say what shares its fate, by the number of draws and the shape of what is dropped."""
    whole = int(np.prod(shape))
    if size >= whole:
        return "entries"
    return "examples" if shape and size == shape[0] else "axes"


def drops_of_torch(side: TorchSide, batch: Batch) -> list[Drop]:
    """Return what a torch module drops, in the order of execution, by running it once in training."""
    import torch

    trained = dataclasses.replace(side, train=True)
    seen = _Seen()
    inputs, _ = side.parts.split(side.batch(batch, "float32"))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _followed(trained.at("float32"), seen), _watched(seen):
        trained.plain_call("float32", *side.tensors("float32"), *inputs)
    return seen.drops


class _Seen:
    """What was seen of a run."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.drops: list[Drop] = []
        self.masks: dict[int, tuple[Any, Random]] = {}
        """Random tensors by their identity; they are kept, so that no other takes it."""
        self.met: set[int] = set()

    def drop(self, rate: Any, form: str) -> None:
        """Note a rate."""
        if isinstance(rate, int | float) and 0 < rate < 1:
            self.drops.append(Drop(self.running[-1] if self.running else "", float(rate), form))

    def mask(self, x: Any) -> Random | None:
        """Return what is known of a random tensor."""
        found = self.masks.get(id(x))
        return found[1] if found is not None else None

    def keep(self, x: Any, drawn: Random) -> Any:
        """Note what a tensor is made of."""
        self.masks[id(x)] = (x, drawn)
        return x


@contextlib.contextmanager
def _followed(module: Any, seen: _Seen) -> Iterator[None]:
    """Keep the path of the layer at work, and note the rates of recurrent layers, which show no operation."""

    def enter(path: str) -> Any:
        def hook(layer: Any, args: Any) -> None:
            del args
            seen.running.append(path)
            if hasattr(layer, "num_layers") and hasattr(layer, "bidirectional"):
                for _ in range(layer.num_layers - 1):
                    seen.drop(layer.dropout, "entries")

        return hook

    def leave(layer: Any, args: Any, output: Any) -> None:
        del layer, args, output
        seen.running.pop()

    hooks = [one for path, layer in module.named_modules()
             for one in (layer.register_forward_pre_hook(enter(path)), layer.register_forward_hook(leave))]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _watched(seen: _Seen) -> Any:
    """Return a context in which torch's functions are seen."""
    from torch.overrides import TorchFunctionMode

    class Watched(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            kwargs = kwargs or {}
            name = getattr(func, "__name__", "").strip("_")
            drawing = _drawn(name, args, kwargs)
            _note(seen, name, func, args, kwargs)
            made = func(*args, **kwargs)
            return _follow(seen, name, func, args, kwargs, made, drawing)

    return Watched()


FORMS = dict.fromkeys(("dropout", "native_dropout", "alpha_dropout"), "entries") | dict.fromkeys(
    ("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_alpha_dropout"), "axes"
)
"""Torch's functions that drop, and what shares its fate in them."""


def _note(seen: _Seen, name: str, func: Any, args: Any, kwargs: Any) -> None:
    """Note the rate of a function that drops by itself, or of a mask that meets data."""
    if name in FORMS:
        given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
        if given.get("training", given.get("train", True)):
            seen.drop(given.get("p", 0.5), FORMS[name])
    elif name == "scaled_dot_product_attention":
        seen.drop(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0), "entries")
    elif name == "multi_head_attention_forward":
        given = inspect.signature(func).bind(*args, **kwargs).arguments
        if given.get("training", True):
            seen.drop(given.get("dropout_p", 0.0), "entries")
    elif name.removeprefix("r").removeprefix("i") in ("mul", "multiply", "div", "truediv", "where", "masked_fill"):
        operands = [*args, *kwargs.values()]
        masks = [m for x in operands if (m := seen.mask(x)) is not None]
        if len(masks) == 1 and masks[0].source not in seen.met and _is_mask(masks[0]):
            data = [x for x in operands if seen.mask(x) is None and getattr(x, "ndim", 0) > 0]
            kept = 1 - _zeros(masks[0])
            # a mask of what is dropped is that of a filling, or of the first branch where that is zero
            turned = name == "masked_fill" or (name == "where" and data and operands[1] is not data[0])
            if data:
                seen.met.add(masks[0].source)
                shape = max((tuple(x.shape) for x in data), key=np.prod)
                seen.drop(round(kept if turned else 1 - kept, 6), _form(masks[0].size, shape))


def _drawn(name: str, args: Any, kwargs: Any) -> Any:
    """Return what a function draws at every point of the grid; ``None`` where it draws nothing that is followed."""
    grid = (np.arange(POINTS) + 0.5) / POINTS
    if name in ("rand", "rand_like"):
        return grid
    if name == "uniform":
        low, high = (*args[1:], *(0.0, 1.0)[len(args) - 1 :])[:2]
        return kwargs.get("from", low) + (kwargs.get("to", high) - kwargs.get("from", low)) * grid
    if name == "bernoulli":
        given = kwargs.get("p", args[1] if len(args) > 1 else args[0])
        values = np.unique(np.asarray(given.detach() if hasattr(given, "detach") else given))
        return (grid < values[0]).astype(float) if len(values) == 1 else None
    return None


MOVES = {"view", "reshape", "expand", "expand_as", "unsqueeze", "squeeze", "permute", "transpose", "contiguous",
         "broadcast_to", "flatten", "getitem", "to", "type", "type_as", "float", "double", "half", "bfloat16", "int",
         "long", "clone", "detach", "requires_grad", "view_as", "get"}  # fmt: skip
ENTRIES = {"add", "sub", "mul", "div", "radd", "rsub", "rmul", "rdiv", "truediv", "rtruediv", "iadd", "isub", "imul",
           "idiv", "itruediv", "true_divide", "floor", "ceil", "round", "trunc", "lt", "le", "gt", "ge", "eq", "ne",
           "logical_not", "bitwise_not", "invert", "neg", "less", "greater", "floor_divide", "clamp", "bool",
           "less_equal", "greater_equal", "subtract", "multiply", "divide"}  # fmt: skip
"""Functions that move the entries of a tensor or keep their values, and those of single entries."""


def _follow(seen: _Seen, name: str, func: Any, args: Any, kwargs: Any, made: Any, drawing: Any) -> Any:
    """Note what a function returns, where that is made of random numbers alone."""
    import torch

    if drawing is not None and isinstance(made, torch.Tensor):
        return seen.keep(made, Random(drawing, len(seen.masks) + len(seen.drops), made.numel()))
    drawn = [m for x in args if (m := seen.mask(x)) is not None]
    if len(drawn) != 1 or not isinstance(made, torch.Tensor):
        return made
    if name in MOVES and seen.mask(args[0]) is not None:
        return seen.keep(made, drawn[0])
    if name in ENTRIES and all(seen.mask(x) is not None or getattr(x, "ndim", 0) == 0 for x in args):
        grids = [torch.tensor(m.values) if (m := seen.mask(x)) is not None else x for x in args]
        return seen.keep(made, drawn[0].of(func(*grids, **kwargs).numpy()))
    seen.masks.pop(id(made), None)
    return made
