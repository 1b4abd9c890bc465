"""A torch side and a JAX model made one pair: the layout of the batch, a trial run, the mapping of the weights."""

import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgrad import _jaxpr
from jaxgrad._deprecated import renamed
from jaxgrad.models._facts import COUNT, STATISTICS, JaxFacts, TorchFacts
from jaxgrad.verify._errors import PairError, first_line, require
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.port._pair import Pair
from jaxgrad.verify.port.frameworks import _jax_forms, _losses
from jaxgrad.verify.port.frameworks._batch import choose_layout, to_int32
from jaxgrad.verify.port.frameworks._contexts import framework_default, precision
from jaxgrad.verify.port.frameworks._jax_model import cast, shapes
from jaxgrad.verify.port.frameworks._layer_settings import jax_configs
from jaxgrad.verify.port.frameworks._parts import Parts, parts_of
from jaxgrad.verify.port.frameworks._protocols import Adapt, Batch, TorchModel
from jaxgrad.verify.port.frameworks._torch_module import TorchSide, copied, unwrapped
from jaxgrad.verify.port.frameworks._validate import (
    check_batch,
    check_complex,
    check_mode,
    check_options,
    check_pairs,
)
from jaxgrad.verify.port.mapping import _search
from jaxgrad.verify.port.mapping._first_uses import first_uses, with_unseen
from jaxgrad.verify.port.mapping._fold_norms import folded, layers_to_fold
from jaxgrad.verify.port.mapping._model_pair import ModelPair, PairOptions
from jaxgrad.verify.port.mapping._search import Mapping, Rule
from jaxgrad.verify.port.quantities._names import SECOND

__all__ = ["bind", "pair", "with_defaults"]


TWO_DUMPS = "Without it, compare two dumps: jaxgrad diff A B"
"""What to do where one of the frameworks is not there."""


@renamed(perturb_constants="excite")
def pair(
    *,
    torch: Any,
    jax: Any,
    batch: Any,
    loss: Any = None,
    mapping: str | Sequence[Rule | tuple[Any, ...]] = "auto",
    weights: str = "torch",
    mode: str = "eval",
    torch_kwargs: dict[str, Any] | None = None,
    jax_kwargs: dict[str, Any] | None = None,
    adapt: Adapt | None = None,
    optimizer: tuple[Any, Any] | None = None,
    clip: tuple[Any, Any] | None = None,
    own: dict[str, tuple[Any, Any]] | None = None,
    perturb_constants: bool = True,
) -> Pair:
    r"""Bind a torch model and its JAX port for comparison.

    .. math:: f_\text{torch}(\theta, x) = f_\text{JAX}(M\theta, x)
              \quad\text{and so}\quad \nabla_\theta f_\text{torch} = M^\top \nabla f_\text{JAX}

    Args:
        torch: A ``torch.nn.Module``, in evaluation mode unless ``mode="train"``. It is copied, never changed.
        jax: A linen module, ``(linen module, variables)``, an NNX module, or ``(apply_fn, params)`` with
            ``apply_fn(params, *inputs)``.
        batch: NumPy arrays, one or a tuple: the inputs, and as the last of several the target of the loss, or as many
            targets as the loss takes. In torch's layout; images go over with channels last where the JAX model takes
            them so. A dict gives both models their inputs by name, and the target under ``"target"`` or
            ``"labels"``, or last. Arrays of another length than the rest (edge lists, masks) are shared.
        loss: ``(torch function, JAX function)`` of ``(output, target)``, or ``"mse"``, ``"cross_entropy"`` (integer
            labels, classes last), ``"mean_square"`` (of the output alone, for a batch without a target).
        mapping: ``"auto"``, or rules `Rule` (or their tuples) for what the automatic mapping cannot know.
        weights: ``"torch"`` gives the port torch's weights; ``"own"`` judges the weights that the port holds.
        mode: ``"eval"`` or ``"train"``; dropout must have the rate 0 in the latter.
        torch_kwargs: Keyword arguments of every call of the torch model; arrays become tensors, floating-point ones
            of the precision that is compared.
        jax_kwargs: The same of the JAX model, such as ``{"train": False}``; arrays as the JAX model takes them.
        adapt: ``adapt(*batch)`` gives the batch as the JAX side takes it; traceable.
        optimizer: ``(make, transformation)``: ``make(parameters)`` returns a torch optimizer, and the other is an
            optax transformation; for ``what="step"``.
        clip: ``(torch function of parameters, optax transformation)`` that clips gradients in that step.
        own: Functions of the user's own for a quantity, such as ``{"meta": (torch_fn, jax_fn)}``; each is called
            as ``fn(loss_fn, params, *batch)`` and returns a tree like ``params``.
        perturb_constants: Whether tensors that are constant (fresh scales of 1, biases and statistics of 0) are moved
            a little on both sides, since they would hide what is done to them. Only with ``weights="torch"``.

    Returns:
        A `Pair`, with ``audit()`` and ``check()``.

    Raises:
        PairError: If the batch does not fit a model, a model is in the wrong mode, or no loss is given.
        MappingError: If a rule does not fit.
        ModuleNotFoundError: If torch is missing.
        TypeError: If an argument is of another kind.

    Cost:
        One forward of the torch model and one abstract trace of the other.

    Example:
        >>> import flax.linen as nn, numpy as np, torch
        >>> from jaxgrad import verify
        >>> batch = np.ones((2, 3)), np.zeros((2, 4))
        >>> both = verify.pair(torch=torch.nn.Linear(3, 4).eval(), jax=nn.Dense(4), loss="mse", batch=batch)
        >>> sorted((entry.jax, entry.torch) for entry in both.mapping.entries)
        [('bias', ('bias',)), ('kernel', ('weight',))]

    References:
        ``docs/verify.md`` shows what a pair can be asked.
    """
    require("torch", otherwise=TWO_DUMPS)
    import torch as framework

    if not isinstance(torch, framework.nn.Module):
        message = f"torch must be a torch.nn.Module; got {type(torch).__name__}"
        raise TypeError(message)
    if loss is None:
        message = f"no loss was given: pass loss=(torch function, JAX function), or one of {_losses.names()}"
        raise PairError(message)
    check_options(weights, mode)
    check_pairs(own, SECOND, optimizer=optimizer, clip=clip)
    losses = _losses.named(loss)
    whole, parts = parts_of(batch, losses)
    arrays = check_batch(whole)
    torch = unwrapped(torch)
    check_mode(torch, mode)
    check_complex("torch", {n: str(p.dtype) for n, p in torch.named_parameters()})
    move = perturb_constants and weights == "torch"

    def half(module: Any) -> TorchSide:
        side = TorchSide.of(module, losses[0], train=mode == "train", parts=parts, kwargs=torch_kwargs)
        return side.perturb_constants() if move else side

    given = {"mapping": mapping, "weights": weights, "mode": mode, "jax_kwargs": jax_kwargs, "adapt": adapt,
             "optimizer": optimizer, "clip": clip, "own": own}  # fmt: skip
    bound = bind(half(torch), jax, losses[1], arrays, given)
    layers = layers_to_fold(bound.mapping)
    if not layers:
        return bound
    bound = bind(half(folded(torch, layers, copied)), jax, losses[1], arrays, given)
    return dataclasses.replace(bound, mapping=dataclasses.replace(bound.mapping, folded=tuple(layers)))


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(pair).parameters.items()
    if parameter.default is not inspect.Parameter.empty
}
"""What `pair` takes where a spec says nothing."""


@renamed(perturb_constants="excite")
def with_defaults(**spec: Any) -> dict[str, Any]:
    """Return the arguments of `pair` with what it takes where a spec says nothing; a dump takes the same."""
    return {**_DEFAULTS, **spec}


def bind(side: TorchModel, model: Any, loss: Any, batch: Batch, given: dict[str, Any]) -> Pair:
    """Return the pair of a torch model and a JAX model.

    Args:
        side: The torch model, or what a run on disk holds of it.
        model: The JAX model in any of its forms.
        loss: The loss on the JAX side.
        batch: In torch's layout.
        given: The other arguments of `jaxgrad.verify.pair`.

    Raises:
        PairError: If the batch does not fit a model.
        MappingError: If a rule does not fit.
    """
    kwargs, mapping = dict(given["jax_kwargs"] or {}), given["mapping"]
    rules = _search.rules(mapping)
    asked = {name: given[name] for name in ("weights", "mode", "optimizer", "clip")}
    options = PairOptions(**asked, own=given["own"] or {})
    # the models are made and tried as a user runs them, with x64 off
    with precision(), framework_default():
        adapt = given["adapt"] or choose_layout(side, model, batch, kwargs)
        inputs = _inputs(adapt, batch, side.parts)
        ours = _jax_forms.make(model, kwargs, inputs, train=given["mode"] == "train", parts=side.parts)
        check_complex("JAX", {p: str(getattr(x, "dtype", "")) for p, x in flatten(ours.params).items()})
        unmapped = Pair(
            torch=side, jax=ours, jax_loss=loss, batch=batch, adapt=adapt, options=options
        )  # fmt: skip
        run = side.first_run(batch)
        found = _find_mapping(unmapped, rules, dict(run.order), _try_jax(unmapped, inputs))
        bound = dataclasses.replace(unmapped, mapping=found, images=run.images)
        trained = {key for e in found.entries if e.jax in bound.jax_paths for key in e.torch if key in side.params}
        return dataclasses.replace(bound, torch=side.thaw(trained))


def _inputs(adapt: Adapt, batch: Batch, parts: Parts) -> tuple[Any, ...]:
    """Return the inputs of the JAX model, as a user has them.

    Raises:
        PairError: If ``adapt`` fails.
    """
    try:
        return parts.split(adapt(*(to_int32(cast(x, "float32")) for x in batch)))[0]
    except Exception as error:
        message = f"adapt fails on the batch: {first_line(error)}"
        raise PairError(message) from error


def _try_jax(pair: ModelPair, inputs: tuple[Any, ...]) -> dict[str, int]:
    """Trace the JAX model and its loss once, and note in which order the layers ran.

    Raises:
        PairError: If the batch does not fit.
    """
    given = ", ".join(str(a.shape) for a in pair.batch)
    order: dict[str, int] = {}

    def watch(path: str, call: Any, args: Any, kwargs: Any) -> Any:
        order.setdefault(path, len(order))
        return call(*args, **kwargs)

    try:
        program, output = jax.make_jaxpr(lambda p, r, *x: pair.jax.apply(p, r, *x, watch=watch)[0], return_shape=True)(
            *pair.jax.outline("float32"), *inputs
        )
        _, targets = pair.torch.parts.split(pair.adapt(*pair.data("float32")))
        jax.eval_shape(pair.jax_loss, output, *targets)
    except Exception as error:
        message = f"the JAX model or its loss fails on the batch (shapes {given}): {first_line(error)}"
        raise PairError(message) from error
    # the layers of a plain function, and cells in a scan, are not seen, but what is used first comes first
    return with_unseen(order, first_uses(program.jaxpr, pair.jax.params))


def _find_mapping(
    pair: ModelPair, rules: list[Rule], torch_order: dict[str, int], jax_order: dict[str, int]
) -> Mapping:
    """Find the mapping of parameters and statistics."""
    side = pair.torch
    # what the port keeps beside its parameters needs no counterpart, but for the statistics of norms
    others = {p: np.shape(x) for p, x in flatten(pair.jax.rest).items() if _may_be_a_weight(p, x)}
    loose = frozenset(path for path in others if not path.endswith(("/mean", "/var")))
    ours = JaxFacts(shapes(pair.jax.params) | others, jax_configs(pair.jax), jax_order, loose)
    buffers = {n: b for n, b in side.buffers.items() if not n.endswith(STATISTICS)}
    integers = {name for name, buffer in buffers.items() if buffer.dtype.kind not in "fc"}
    floating = {name: shape for name, shape in side.outline.items() if name not in integers}
    theirs = TorchFacts(floating, dict(side.kinds), dict(side.aliases), torch_order, frozenset(buffers) - integers)
    counted = {name for name in integers if name.rpartition(".")[2] == COUNT}
    found = _search.automatic(theirs, ours, rules, frozenset(integers))
    found = dataclasses.replace(found, unused=tuple(name for name in found.unused if name not in counted))
    return _without_constants(pair, found, ours.shapes)


def _may_be_a_weight(path: str, leaf: Any) -> bool:
    """Say whether what a port holds beside its parameters is a statistic of a norm, or a table of numbers."""
    floating = jax.dtypes.issubdtype(getattr(leaf, "dtype", np.int32), np.floating)
    return path.endswith(("/mean", "/var")) or (floating and np.size(leaf) > 1)


def _without_constants(pair: ModelPair, mapping: Mapping, ours: dict[str, tuple[int, ...]]) -> Mapping:
    """Take out of what is left over what is no weight: it needs no counterpart, and its values are judged anyway."""
    unread = _unread(pair, mapping.unfilled) if mapping.unfilled else set()
    unfilled = tuple(path for path in mapping.unfilled if path not in unread)
    constant = pair.torch.constants(mapping.unused, pair.batch) if mapping.unused else set()
    # one that a JAX leaf still waits for is a weight after all
    waiting = {math.prod(ours[path]) for path in unfilled}
    constant = {key for key in constant if math.prod(pair.torch.outline[key]) not in waiting}
    unused = tuple(key for key in mapping.unused if key not in constant)
    return dataclasses.replace(
        mapping, unused=unused, unfilled=unfilled, constants=(*mapping.constants, *sorted(constant), *sorted(unread))
    )


def _unread(pair: ModelPair, paths: Sequence[str]) -> set[str]:
    """Return the JAX leaves among ``paths`` that the loss does not depend on."""
    arguments = (*pair.jax.outline("float32"), *pair.data("float32"))
    program = jax.make_jaxpr(lambda params, rest, *batch: pair.jax_loss_of(rest)(params, *batch))(*arguments)
    _, used = _jaxpr.needed(program.jaxpr, [True])
    read = dict(zip(flatten(arguments[:2]), used, strict=False))
    return {path for path in paths if not read.get(f"0/{path}", read.get(f"1/{path}", True))}
