"""The torch half of a pair: a private copy of the module, called with parameters given by name."""

import contextlib
import copy
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np

from jaxgrad.models._facts import kind_of as kind_of
from jaxgrad.models._facts import kinds_of
from jaxgrad.verify._bridge import to_torch
from jaxgrad.verify._errors import PairError, first_line
from jaxgrad.verify.port.frameworks import _lift_torch
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["TorchSide"]

NORMS_WITH_STATISTICS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")


class TorchSide:
    """A torch module, copied once for each dtype; the user's own is never touched."""

    def __init__(
        self,
        module: Any,
        loss: Any,
        *,
        train: bool = False,
        parts: Parts = Parts(),  # noqa: B008 - frozen
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        module = unwrapped(module)
        self.module, self.plain_loss, self.train, self.parts, self.kwargs = module, loss, train, parts, kwargs or {}
        self.settled: dict[str, np.ndarray] = {}
        """Float64 values of tensors that were made in float32, for the stage that judges definitions."""
        self.copies: dict[str, Any] = {}
        named = dict(module.named_parameters(remove_duplicate=True))
        owners = {id(p): name for name, p in named.items()}
        every = module.named_parameters(remove_duplicate=False)
        self.aliases: dict[str, str] = {n: owners[id(p)] for n, p in every if n not in named}
        """Names of tied parameters, each with the name that stands for both."""
        self.params = {name: _numpy(p) for name, p in named.items()}
        self.frozen = {name for name, p in named.items() if not p.requires_grad}
        self.buffers = {name: _numpy(b) for name, b in module.named_buffers()}
        self.places = _places(module)
        self.excited: list[str] = []
        shapes = {name: tuple(p.shape) for name, p in module.named_parameters(remove_duplicate=False)}
        shapes |= {name: b.shape for name, b in self.buffers.items()}
        place = {name: i for i, name in enumerate(module.state_dict())}
        self.outline = dict(sorted(shapes.items(), key=lambda item: place.get(item[0], len(place))))
        """The shape of every tensor, tied names included, in the order of ``state_dict``."""
        self.kinds = kinds_of(module)
        """The class of every module by path: torch's own where it is one of them by another name."""

    def order(self, batch: tuple[np.ndarray, ...]) -> dict[str, int]:
        """Return the order in which the layers first ran, and evaluate the loss once on the way.

        Raises:
            PairError: If the batch does not fit the model or the loss.
        """
        from jaxgrad.verify.port.tracing._record_torch import execution_order

        try:
            return execution_order(self, batch)
        except PairError:
            raise
        except Exception as error:  # whatever a user's code raises on a batch that it was not made for
            shapes = ", ".join(str(a.shape) for a in batch)
            message = f"the torch model or its loss fails on the batch (shapes {shapes}): {first_line(error)}"
            raise PairError(message) from error

    def excite(self) -> None:
        """Move tensors that are constant, as fresh scales, biases and statistics are: they would hide differences.

        Frozen tensors and other buffers stay: a port may have them as constants of its own.
        """
        moving = {n: p for n, p in self.params.items() if n not in self.frozen}
        statistics = {n: b for n, b in self.buffers.items() if _is_statistic(n)}
        for name, array in [*moving.items(), *statistics.items()]:
            hides = array.size > 1 or not array.any()
            if array.dtype != np.float64 or not array.size or not hides or np.ptp(array) > 0:
                continue
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            noise = 0.1 * rng.normal(size=array.shape)
            held = self.params if name in self.params else self.buffers
            held[name] = array + (np.abs(noise) if name.endswith("running_var") else noise)
            self.excited.append(name)

    def images(self, batch: tuple[np.ndarray, ...]) -> dict[str, tuple[int, ...]]:
        """Return the linear layers that take a flattened image, with its channels, height and width."""
        from jaxgrad.verify.port.tracing import _match_calls, _record_torch

        if not any(kind.startswith("Conv") for kind in self.kinds.values()):
            return {}
        return _match_calls.flattened_images(_record_torch.capture(self, batch).calls)

    def unreached(self, batch: tuple[np.ndarray, ...]) -> set[str]:
        """Return the parameters that the loss does not depend on."""
        import torch

        params, buffers = self.tensors("float64")
        live = {n: p.requires_grad_() for n, p in params.items() if n not in self.frozen}
        loss = self.loss("float64", buffers)(params, *self.batch(batch, "float64"))
        if not live or not loss.requires_grad:
            return set(live)
        found = torch.autograd.grad(loss, list(live.values()), allow_unused=True)
        return {name for name, slope in zip(live, found, strict=True) if slope is None}

    def constants(self, names: Collection[str], batch: tuple[np.ndarray, ...]) -> set[str]:
        """Return those of the names that are no weights: masks and tables, and what the loss does not depend on."""
        held = {n for n in names if (n in self.buffers and not _is_statistic(n)) or n in self.frozen}
        with contextlib.suppress(Exception):
            # a model that fails in float64 is told where its quantities are asked for
            return held | (self.unreached(batch) & set(names) if set(names) - held else set())
        return held

    def value(self, batch: tuple[np.ndarray, ...]) -> float:
        """Return the loss in float64."""
        params, buffers = self.tensors("float64")
        return float(self.loss("float64", buffers)(params, *self.batch(batch, "float64")))

    def at(self, dtype: str) -> Any:
        """Return the module in a dtype, in evaluation or training mode."""
        import torch

        if dtype not in self.copies:
            copied = _copied(self.module).to(getattr(torch, dtype))
            # an exported module refuses to be told a mode, and has none
            training = any(m.training for m in copied.modules())
            self.copies[dtype] = copied if not training and not self.train else copied.train(self.train)
        return self.copies[dtype]

    def tensors(self, dtype: str, jitter: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return fresh parameters and buffers in a dtype; buffers of integers keep theirs."""
        settled = self.settled if dtype == "float64" else {}
        params = {n: _jittered(settled.get(n, p), dtype, jitter) for n, p in self.params.items()}
        buffers = {n: settled.get(n, b) for n, b in self.buffers.items()}
        return to_torch(params, _np(dtype)), to_torch(buffers, _np(dtype))

    def islands(self, batch: tuple[np.ndarray, ...]) -> tuple[dict[str, str], list[np.ndarray]]:
        """Return where the model computes in float32 whatever it is given, and the tables that it makes of nothing."""
        seen = _lift_torch.watch(self, batch)
        return seen.casts, seen.made

    def tables(self, taken: set[str]) -> dict[str, np.ndarray]:
        """Return what the module holds in float32 beside the tensors that the other side takes, in float64."""
        held = {**self.params, **self.buffers}
        others = {n: x for n, x in held.items() if n not in taken and x.dtype.kind in "fc" and x.size > 1}
        wide = {n: x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for n, x in others.items()}
        return wide | _lift_torch.attributes(self.module)

    def settle(self, name: str, values: np.ndarray) -> None:
        """Let a table be other numbers in float64."""
        if name in self.params or name in self.buffers:
            self.settled[name] = values
        else:
            _lift_torch.set_attribute(self.at("float64"), name, values)

    def loss_fn(self, output: Any, *targets: Any) -> Any:
        """Evaluate the loss of an output, in float64 throughout where the output is."""
        import torch

        wide = any(x.dtype == torch.float64 for x in torch.utils._pytree.tree_leaves(output) if torch.is_tensor(x))
        with _lift_torch.widened() if wide else contextlib.nullcontext():
            return self.plain_loss(output, *targets)

    def call(self, dtype: str, params: dict[str, Any], buffers: dict[str, Any], *inputs: Any) -> Any:
        """Apply the module to tensors, with the parameters given, in float64 throughout where that is asked for.

        Buffers are updated in place in training mode. The inputs are copied: a model may change them in place.
        """
        with _lift_torch.widened() if dtype == "float64" else contextlib.nullcontext():
            return self.plain_call(dtype, params, buffers, *inputs)

    def plain_call(self, dtype: str, params: dict[str, Any], buffers: dict[str, Any], *inputs: Any) -> Any:
        """Apply the module to tensors, with the parameters given; what it computes in float32 itself stays so."""
        import torch
        from torch.func import functional_call
        from torch.nn.attention import SDPBackend, sdpa_kernel

        # only the plain attention kernel has second derivatives
        # and no compiled function has any
        with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"):
            tensors = {name: (params if own in params else buffers)[own] for name, own in self.places.items()}
            copies = tuple(x.clone() for x in inputs)
            # torch's own search for tied weights sets a module that has two names twice, and leaves ours in it
            args, named = self.parts.arguments(copies)
            options = {name: _as_tensor(value, dtype) for name, value in self.kwargs.items()}
            return functional_call(self.at(dtype), tensors, args, {**options, **named}, tie_weights=False)

    def loss(self, dtype: str, buffers: dict[str, Any], detach_buffers: bool = True) -> Any:
        """Return ``loss(params, *batch)``; the module's buffers are copied for each call."""

        def evaluate(params: dict[str, Any], *batch: Any) -> Any:
            held = {name: b.clone() for name, b in buffers.items()} if detach_buffers else buffers
            inputs, targets = self.parts.split(batch)
            return self.loss_fn(self.call(dtype, params, held, *inputs), *targets)

        return evaluate

    def batch(self, batch: tuple[np.ndarray, ...], dtype: str, jitter: int | None = None) -> tuple[Any, ...]:
        """Return the batch as tensors; torch wants integers as int64."""
        wide = tuple(
            x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else _jittered(x, dtype, jitter) for x in batch
        )
        return tuple(to_torch(x, _np(dtype)) for x in wide)


def _copied(module: Any) -> Any:
    """Return a copy of a module; what it has computed and holds beside its parameters is a constant of the copy."""
    import torch

    held = [x for part in module.modules() for x in vars(part).values() if isinstance(x, torch.Tensor)]
    # torch's older weight norm keeps the kernel that it made, which no deepcopy takes
    return copy.deepcopy(module, {id(x): x.detach().clone() for x in held if not x.is_leaf})


def unwrapped(module: Any) -> Any:
    """Return the module inside of what only changes how it runs: DataParallel, or torch.compile."""
    from torch import nn

    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module
    return module


def _as_tensor(value: Any, dtype: str) -> Any:
    """Return an argument of the user's with its arrays as tensors, floating-point ones in a dtype."""
    import torch

    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.array(value))
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.detach().to(getattr(torch, dtype)) if floating else value


def _is_statistic(name: str) -> bool:
    """Say whether a buffer is a running statistic of a norm."""
    return name.endswith(("running_mean", "running_var"))


def _places(module: Any) -> dict[str, str]:
    """Return every place of a tensor, each under one name, and the name that stands for the tensor."""
    owners: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, part in module.named_modules(remove_duplicate=True):
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            key = f"{path}.{name}" if path else name
            found[key] = owners.setdefault(id(tensor), key)
    return found


def _jittered(array: np.ndarray, dtype: str, seed: int | None) -> np.ndarray:
    """Move every number by up to a unit of rounding of a dtype, where a seed is given."""
    import jax.numpy as jnp

    if seed is None or array.dtype.kind != "f":
        return array
    noise = np.random.default_rng([seed, array.size]).uniform(-1, 1, array.shape)
    return array * (1 + float(jnp.finfo(dtype).eps) * noise)


def _np(dtype: str) -> Any:
    """Return a dtype that NumPy (with ml_dtypes) knows."""
    import jax.numpy as jnp

    return jnp.dtype(dtype)


def _numpy(tensor: Any) -> np.ndarray:
    """Return a tensor's values; half precision is widened."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.double()
    return tensor.numpy().copy()
