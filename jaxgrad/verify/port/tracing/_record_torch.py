"""What every layer of the torch model takes, returns and is told by the backward pass: read with hooks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.judge._arrays import to_float64
from jaxgrad.verify.port.frameworks._outputs import main
from jaxgrad.verify.port.frameworks._torch_module import kind_of

__all__ = ["Call", "Trace", "capture"]


@dataclasses.dataclass
class Call:
    """One call of one torch module."""

    path: str
    kind: str
    start: int
    """Its place in the order of events; every call has a start and an end."""
    parent: "Call | None"
    cell: bool = False
    """Whether it is a recurrent cell of torch, which takes ``(x, state)`` where Flax's take ``(carry, x)``."""
    inputs: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    """Positional tensors, ``None`` for what is no tensor; equal tensors are one, noted in `same`."""
    same: list[int] = dataclasses.field(default_factory=list)
    """For every input, the first input that is the same tensor."""
    given: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)
    """Tensors of the caller, and the copies of them that the layer was given; kept until the call ends."""
    tracked: set[int] = dataclasses.field(default_factory=set)
    """The inputs that a gradient can reach; one that is made of integers or of the batch alone has none."""
    input_grads: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    output: np.ndarray | None = None
    output_grad: np.ndarray | None = None
    end: int = 0


@dataclasses.dataclass
class Trace:
    """A whole pass: the calls in order, the loss, and the gradients of parameters."""

    calls: list[Call]
    output: Any
    loss: float
    gradients: dict[str, np.ndarray]
    input_gradients: list[np.ndarray | None]
    buffers: dict[str, np.ndarray]


def capture(side: Any, data: tuple[np.ndarray, ...], dtype: str = "float64", *, backward: bool = True) -> Trace:
    """Run forward and, unless asked not to, backward once, and keep what every call saw.

    The hooks give each call a copy of its inputs and outputs, so that the gradients of one tensor that goes to several
    layers are told apart. A copy and no view: a view that is changed in place has no gradient of its own any more.
    """
    import torch

    watcher, handles = _Watcher(), []
    for name, module in side.at(dtype).named_modules():
        handles.append(module.register_forward_pre_hook(watcher.before(name), with_kwargs=True))
        handles.append(module.register_forward_hook(watcher.after))
    params, buffers = side.tensors(dtype)
    params = {name: p.requires_grad_(name not in side.frozen) for name, p in params.items()}
    batch = side.batch(data, dtype)
    inputs, targets = side.parts.split(batch)
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs)
    try:
        output = side.call(dtype, params, buffers, *inputs)
        loss = side.loss_fn(output, *targets)
    finally:
        for handle in handles:
            handle.remove()
    if not backward:
        return Trace(watcher.calls, output, float(loss.detach()), {}, [], {})
    wanted = [p for n, p in params.items() if n not in side.frozen] + [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(loss, wanted, materialize_grads=True) if wanted else ())
    gradients = {n: next(found).numpy() for n in params if n not in side.frozen}
    input_gradients = [next(found).numpy() if x.requires_grad else None for x in inputs]
    for call in watcher.calls:
        call.input_grads = {i: to_float64(g) for i, g in call.input_grads.items()}
        call.output_grad = None if call.output_grad is None else to_float64(call.output_grad)
    after = {n: to_float64(b) for n, b in buffers.items()}
    return Trace(watcher.calls, output, float(loss.detach()), gradients, input_gradients, after)


class _Watcher:
    """The hooks of one pass."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.stack: list[Call] = []
        self.clock = 0

    def tick(self) -> int:
        """Return the next place in the order of events."""
        self.clock += 1
        return self.clock

    def before(self, name: str) -> Callable[..., Any]:
        """Return the hook before a call of the module of that name."""
        from torch.nn import RNNCellBase

        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            parent = self.stack[-1] if self.stack else None
            call = Call(name, kind_of(module), self.tick(), parent, isinstance(module, RNNCellBase))
            self.calls.append(call)
            self.stack.append(call)
            aliases: dict[int, tuple[int, Any]] = {}
            first = getattr(module, "batch_first", True)
            fresh = [self._input(call, i, value, aliases, first) for i, value in enumerate(args)]
            named = {k: aliases[id(v)][1] if id(v) in aliases else v for k, v in kwargs.items()}
            for k, v in kwargs.items():
                # a tensor by keyword counts as an input too, after those by position
                if id(v) not in aliases and k in ("input", "x", "hidden_states", "query", "key", "value"):
                    named[k] = self._input(call, len(call.inputs), v, aliases, first)
            return tuple(fresh), named

        return hook

    def _input(
        self, call: Call, index: int, value: Any, aliases: dict[int, tuple[int, Any]], batch_first: bool = True
    ) -> Any:
        """Note one argument, and return a copy of it that has a gradient of its own."""
        import torch

        if not isinstance(value, torch.Tensor):
            packed = _packed(value)
            call.inputs.append(None if packed is None else to_float64(_padded(packed, batch_first)))
            call.same.append(index)
            return value
        if id(value) in aliases:
            first, alias = aliases[id(value)]
            call.inputs.append(call.inputs[first])
            call.same.append(first)
            return alias
        call.inputs.append(to_float64(value))
        call.same.append(index)
        alias = value
        if value.requires_grad:
            alias = value.clone()
            alias.register_hook(lambda grad: _keep(call.input_grads, index, grad))
            call.given.append((value, alias))
            call.tracked.add(index)
        aliases[id(value)] = (index, alias)
        return alias

    def after(self, module: Any, args: Any, output: Any) -> Any:
        """Close the call on top of the stack."""
        del args
        import torch

        call = self.stack.pop()
        call.end = self.tick()
        for value, alias in call.given:
            # fresh from the hook a copy has version 0: a layer that changes its input in place changes the caller's
            if alias._version:
                value.copy_(alias)
        call.given.clear()
        tensor, packed = main(output), _packed(output)
        if tensor is None:
            return None
        if packed is not None:
            self._after_packed(call, packed, getattr(module, "batch_first", True))
            return None
        call.output = to_float64(tensor)
        if not tensor.requires_grad:
            return None
        if isinstance(output, torch.Tensor):
            output = tensor = output.clone()
        tensor.register_hook(lambda grad: _keep_output(call, grad))
        return output

    def _after_packed(self, call: Call, packed: Any, batch_first: bool) -> None:
        """Note a packed sequence as its ports have it: padded with zeros."""
        call.output = to_float64(_padded(packed, batch_first))
        if packed.data.requires_grad:
            packed.data.register_hook(lambda grad: _keep_output(call, _padded(packed._replace(data=grad), batch_first)))


def _packed(value: Any) -> Any:
    """Return the packed sequence that a value is, or that comes first in it."""
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(value, PackedSequence):
        return value
    return _packed(value[0]) if isinstance(value, tuple | list) and value else None


def _padded(packed: Any, batch_first: bool) -> Any:
    """Return a packed sequence padded with zeros, in the order of its batch."""
    from torch.nn.utils.rnn import pad_packed_sequence

    return pad_packed_sequence(packed, batch_first=batch_first)[0].detach()


def _keep(grads: dict[int, Any], index: int, grad: Any) -> None:
    """Add up the gradients that reach an input."""
    grads[index] = grads[index] + grad.detach() if index in grads else grad.detach().clone()


def _keep_output(call: Call, grad: Any) -> None:
    """Add up the gradients that reach an output."""
    kept = grad.detach().clone()
    call.output_grad = kept if call.output_grad is None else call.output_grad + kept
