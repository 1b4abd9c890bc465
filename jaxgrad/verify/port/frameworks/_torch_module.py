"""The torch half of a pair: a private copy of the module, called with parameters given by name."""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

import numpy as np

from jaxgrad.models._facts import kind_of as kind_of
from jaxgrad.models._facts import kinds_of
from jaxgrad.verify._bridge import jittered, to_torch
from jaxgrad.verify._errors import PairError, first_line
from jaxgrad.verify.judge._arrays import to_float64
from jaxgrad.verify.port.frameworks import _formulas, _lift_torch
from jaxgrad.verify.port.frameworks._first_run import first_run
from jaxgrad.verify.port.frameworks._parts import Parts
from jaxgrad.verify.port.frameworks._perturb import is_statistic, perturb
from jaxgrad.verify.port.frameworks._protocols import Batch, FirstRun, Shape, TorchModel

__all__ = ["TorchSide", "copied", "kind_of", "running", "unwrapped"]


@dataclasses.dataclass(frozen=True, eq=False)
class TorchSide:
    """A torch module, copied once for each dtype; the user's own is never touched. `TorchSide.of` makes one."""

    module: Any
    plain_loss: Any
    train: bool
    parts: Parts
    kwargs: Mapping[str, Any]
    params: dict[str, np.ndarray]
    """The parameters by name; of tied ones the one that stands for all."""
    buffers: dict[str, np.ndarray]
    perturbed: tuple[str, ...] = ()
    """Constant tensors that were moved a little, since they would hide what is done to them."""
    settled: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Float64 values of tensors that were made in float32, for the stage that judges definitions."""
    thawed: frozenset[str] = frozenset()
    """Parameters that are frozen in the module, and compared as if they were not."""
    copies: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)
    """The module in every dtype that was asked for; made when it is needed."""

    @classmethod
    def of(
        cls,
        module: Any,
        loss: Any,
        *,
        train: bool = False,
        parts: Parts = Parts(),  # noqa: B008 - frozen
        kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the side of a module and a loss of ``(output, *targets)``."""
        module = unwrapped(module)
        params = {name: to_float64(p) for name, p in module.named_parameters()}
        return cls(
            module, loss, train, parts, kwargs or {}, params, {n: to_float64(b) for n, b in module.named_buffers()}
        )

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """Names of tied parameters, each with the name that stands for both."""
        owners = {id(p): name for name, p in self.module.named_parameters()}
        every = self.module.named_parameters(remove_duplicate=False)
        return {name: owners[id(p)] for name, p in every if owners[id(p)] != name}

    @functools.cached_property
    def frozen(self) -> frozenset[str]:
        """The parameters that are not trained."""
        held = (name for name, p in self.module.named_parameters() if not p.requires_grad)
        return frozenset(held) - self.thawed

    @functools.cached_property
    def outline(self) -> dict[str, Shape]:
        """The shape of every tensor, tied names included, in the order of ``state_dict``."""
        shapes = {name: tuple(p.shape) for name, p in self.module.named_parameters(remove_duplicate=False)}
        shapes |= {name: b.shape for name, b in self.buffers.items()}
        place = {name: i for i, name in enumerate(self.module.state_dict())}
        return dict(sorted(shapes.items(), key=lambda item: place.get(item[0], len(place))))

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """The class of every module by path: torch's own where it is one of them by another name."""
        return kinds_of(self.module)

    @functools.cached_property
    def places(self) -> dict[str, str]:
        """Every place of a tensor, and the name that stands for the tensor."""
        return _places(self.module)

    def first_run(self, batch: Batch) -> FirstRun:
        """Return in which order the layers first ran, and what they saw; the loss is evaluated once on the way.

        Raises:
            PairError: If the batch does not fit the model or the loss.
        """
        try:
            return first_run(self, batch)
        except PairError:
            raise
        except Exception as error:  # whatever a user's code raises on a batch that it was not made for
            shapes = ", ".join(str(a.shape) for a in batch)
            message = f"the torch model or its loss fails on the batch (shapes {shapes}): {first_line(error)}"
            raise PairError(message) from error

    def perturb_constants(self) -> Self:
        """Return the side with its constant tensors moved a little, see `perturb`."""
        params, buffers, names = perturb(self.params, self.buffers, self.frozen)
        return dataclasses.replace(self, params=params, buffers=buffers, perturbed=(*self.perturbed, *names))

    def thaw(self, names: Collection[str]) -> Self:
        """Return the side with those parameters trained, where the module trains none.

        A module that is frozen as a whole was loaded to be run; it does not say which parameters its port holds still.
        """
        return self if set(self.params) - self.frozen else dataclasses.replace(self, thawed=frozenset(names))

    def unreached(self, batch: Batch) -> set[str]:
        """Return the parameters that the loss does not depend on."""
        import torch

        params, buffers = self.tensors("float64")
        live = {n: p.requires_grad_() for n, p in params.items() if n not in self.frozen}
        loss = self.loss("float64", buffers)(params, *self.batch(batch, "float64"))
        if not live or not loss.requires_grad:
            return set(live)
        found = torch.autograd.grad(loss, list(live.values()), allow_unused=True)
        return {name for name, slope in zip(live, found, strict=True) if slope is None}

    def constants(self, names: Collection[str], batch: Batch) -> set[str]:
        """Return those of the names that are no weights: masks and tables, and what the loss does not depend on."""
        held = {n for n in names if (n in self.buffers and not is_statistic(n)) or n in self.frozen}
        with contextlib.suppress(Exception):
            # a model that fails in float64 is told where its quantities are asked for
            return held | (self.unreached(batch) & set(names) if set(names) - held else set())
        return held

    def value(self, batch: Batch) -> float:
        """Return the loss in float64."""
        params, buffers = self.tensors("float64")
        return float(self.loss("float64", buffers)(params, *self.batch(batch, "float64")))

    def at(self, dtype: str) -> Any:
        """Return the module in a dtype, in evaluation or training mode."""
        import torch

        if dtype not in self.copies:
            made = copied(self.module).to(getattr(torch, dtype))
            for name, values in self.settled.items() if dtype == "float64" else ():
                if name not in self.params and name not in self.buffers:
                    _lift_torch.set_attribute(made, name, values)
            # an exported module refuses to be told a mode, and has none
            training = any(m.training for m in made.modules())
            self.copies[dtype] = made if not training and not self.train else made.train(self.train)
        return self.copies[dtype]

    def tensors(self, dtype: str, jitter: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return fresh parameters and buffers in a dtype; buffers of integers keep theirs."""
        settled = self.settled if dtype == "float64" else {}
        params = {n: jittered(settled.get(n, p), dtype, jitter) for n, p in self.params.items()}
        buffers = {n: settled.get(n, b) for n, b in self.buffers.items()}
        return to_torch(params, _np(dtype)), to_torch(buffers, _np(dtype))

    def islands(self, batch: Batch) -> tuple[dict[str, str], list[np.ndarray]]:
        """Return where the model computes in float32 whatever it is given, and what tables and numbers it makes."""
        seen = _lift_torch.watch(self, batch)
        return seen.casts, [*seen.made, *map(np.asarray, seen.numbers)]

    def remarks(self) -> list[str]:
        """Return what a user should know of the module's own derivatives in torch."""
        return _formulas.notes(self.module)

    def tables(self, taken: set[str]) -> dict[str, np.ndarray]:
        """Return what the module holds in float32 beside the tensors that the other side takes, in float64."""
        held = {**self.params, **self.buffers}
        others = {n: x for n, x in held.items() if n not in taken and x.dtype.kind in "fc" and x.size > 1}
        wide = {n: x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for n, x in others.items()}
        return wide | _lift_torch.attributes(self.module)

    def with_tables(self, tables: Mapping[str, np.ndarray]) -> Self:
        """Return the side with tables that are other numbers in float64."""
        return dataclasses.replace(self, settled={**self.settled, **tables}) if tables else self

    def loss_fn(self, output: Any, *targets: Any) -> Any:
        """Evaluate the loss of an output, in float64 throughout where the output is."""
        import torch

        wide = any(x.dtype == torch.float64 for x in torch.utils._pytree.tree_leaves(output) if torch.is_tensor(x))
        with _lift_torch.widened() if wide else contextlib.nullcontext(), _with_second_derivatives():
            return self.plain_loss(output, *targets)

    def call(self, dtype: str, params: dict[str, Any], buffers: dict[str, Any], *inputs: Any) -> Any:
        """Apply the module to tensors, with the parameters given, in float64 throughout where that is asked for.

        Buffers are updated in place in training mode. The inputs are copied: a model may change them in place.
        """
        with _lift_torch.widened() if dtype == "float64" else contextlib.nullcontext():
            return self.plain_call(dtype, params, buffers, *inputs)

    def plain_call(self, dtype: str, params: dict[str, Any], buffers: dict[str, Any], *inputs: Any) -> Any:
        """Apply the module to tensors, with the parameters given; what it computes in float32 itself stays so."""
        from torch.func import functional_call

        with _with_second_derivatives():
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

    def batch(self, batch: Batch, dtype: str, jitter: int | None = None) -> tuple[Any, ...]:
        """Return the batch as tensors; torch wants integers as int64."""
        wide = tuple(
            x.astype(np.int64) if np.issubdtype(x.dtype, np.integer) else jittered(x, dtype, jitter) for x in batch
        )
        return tuple(to_torch(x, _np(dtype)) for x in wide)


@contextlib.contextmanager
def _with_second_derivatives() -> Iterator[None]:
    """Let torch compute by what it differentiates twice: the plain attention kernel, formulas, nothing compiled."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"), _formulas.by_formula():
        yield


def copied(module: Any) -> Any:
    """Return a deep copy of a module; a tensor that it computed and keeps (of weight norm) comes without its graph."""
    import torch

    kept = [x for m in module.modules() for x in vars(m).values() if isinstance(x, torch.Tensor) and not x.is_leaf]
    return copy.deepcopy(module, {id(x): x.detach().clone() for x in kept})


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


def running(model: TorchModel) -> TorchSide:
    """Return a torch model that can be run.

    Raises:
        PairError: If it is only what a run on disk holds.
    """
    if not isinstance(model, TorchSide):
        message = "a torch run on disk computes nothing: give the torch model itself"
        raise PairError(message)
    return model


def _places(module: Any) -> dict[str, str]:
    """Return every place of a tensor, each under one name, and the name that stands for the tensor."""
    owners: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, part in module.named_modules(remove_duplicate=True):
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            key = f"{path}.{name}" if path else name
            found[key] = owners.setdefault(id(tensor), key)
    return found


def _np(dtype: str) -> Any:
    """Return a dtype that NumPy (with ml_dtypes) knows."""
    import jax.numpy as jnp

    return jnp.dtype(dtype)
