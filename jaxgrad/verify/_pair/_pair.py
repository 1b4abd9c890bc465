"""A torch model and its JAX port, bound together by a mapping, a loss and a batch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify._pair import _jax_side, _losses, _mapping
from jaxgrad.verify._pair._jax_side import JaxSide, cast, flatten, framework_default, precision, unflatten
from jaxgrad.verify._pair._mapping import Mapping, MappingError, Rule
from jaxgrad.verify._pair._torch_side import TorchSide, split

__all__ = ["Pair", "PairError", "pair"]


class PairError(ValueError):
    """A pair that cannot be compared, and what to change."""


class Pair:
    """Both models, ready to be compared; made by `pair`."""

    def __init__(
        self,
        torch: TorchSide,
        jax_side: JaxSide,
        jax_loss: Any,
        batch: tuple[np.ndarray, ...],
        adapt: Callable[..., tuple[Any, ...]],
        options: dict[str, Any],
    ) -> None:
        self.torch, self.jax, self.jax_loss = torch, jax_side, jax_loss
        self.batch, self.adapt, self.options = batch, adapt, options
        self.shapes = {name: p.shape for name, p in torch.params.items()}
        self.rest_paths = {f"{name}": path for name, path in _rest_paths(jax_side.rest).items()}
        self.mapping: Mapping = Mapping((), (), ())
        self.flattened: dict[str, tuple[int, ...]] = {}
        """Torch layers behind a flatten of an image: their inputs' channels, height and width."""

    @functools.cached_property
    def jax_paths(self) -> list[str]:
        """The paths of JAX's parameters."""
        return list(flatten(self.jax.params))

    def weights(self, dtype: str) -> tuple[Any, Any]:
        """Return JAX's parameters and other collections in a dtype: torch's, carried across, or the port's own."""
        params, rest = self.jax.params, self.jax.rest
        if self.options["weights"] == "torch":
            made = self.mapping.fill({**self.torch.params, **self.torch.buffers}, [e.jax for e in self.mapping.entries])
            own = flatten(params)
            params = unflatten(params, {path: made.get(path, leaf) for path, leaf in own.items()})
            others = flatten(rest)
            rest = unflatten(rest, {p: made.get(self.rest_paths.get(p, p), leaf) for p, leaf in others.items()})
        return cast(params, dtype), cast(rest, dtype)

    def data(self, dtype: str) -> tuple[Any, ...]:
        """Return the batch as JAX arrays, in torch's layout."""
        return tuple(_narrow(cast(x, dtype)) for x in self.batch)

    def jax_loss_of(self, rest: Any) -> Callable[..., Any]:
        """Return ``loss(params, *batch)`` on the JAX side; the batch comes in torch's layout."""

        def evaluate(params: Any, *batch: Any) -> Any:
            inputs, targets = split(self.adapt(*batch))
            output, _ = self.jax.apply(params, rest, *inputs)
            return self.jax_loss(output, *targets)

        return evaluate

    def pull_back(self, gradient: Any) -> dict[str, Any]:
        """Carry a tree like JAX's parameters to torch's names and shapes; frozen tensors are left out."""
        found = self.mapping.pull_back(flatten(gradient), self.shapes)
        return {name: leaf for name, leaf in found.items() if name not in self.torch.frozen}

    def push(self, tensors: dict[str, Any], like: Any) -> Any:
        """Carry a direction by torch names to a tree like JAX's parameters; leaves that nothing fills stay still."""
        made = self.mapping.fill(tensors, self.jax_paths)
        still = flatten(like)
        return unflatten(like, {path: made.get(path, np.zeros(leaf.shape)) for path, leaf in still.items()})

    def jax_path(self, key: str) -> str:
        """Return the JAX leaves that a torch tensor fills, for messages."""
        return ", ".join(e.jax for e in self.mapping.entries if key in e.torch)

    def audit(self, **options: Any) -> Any:
        """Compare mapping and settings before anything runs; see `jaxgrad.verify.audit`."""
        from jaxgrad.verify._pair._audit import audit

        return audit(self, **options)

    def check(self, what: Sequence[str] | None = None, **options: Any) -> Any:
        """Compare what both models compute; see `jaxgrad.verify.check`."""
        from jaxgrad.verify._pair._check import check

        return check(self, what, **options)


def pair(
    *,
    torch: Any,
    jax: Any,
    batch: Any,
    loss: Any = None,
    mapping: str | Sequence[Rule | tuple[Any, ...]] = "auto",
    weights: str = "torch",
    mode: str = "eval",
    jax_kwargs: dict[str, Any] | None = None,
    adapt: Callable[..., tuple[Any, ...]] | None = None,
    optimizer: tuple[Any, Any] | None = None,
    clip: tuple[Any, Any] | None = None,
    own: dict[str, tuple[Any, Any]] | None = None,
    excite: bool = True,
) -> Pair:
    r"""Bind a torch model and its JAX port for comparison.

    .. math:: f_\text{torch}(\theta, x) = f_\text{JAX}(M\theta, x)
              \quad\text{and so}\quad \nabla_\theta f_\text{torch} = M^\top \nabla f_\text{JAX}

    Args:
        torch: A ``torch.nn.Module``, in evaluation mode unless ``mode="train"``. It is copied, never changed.
        jax: A linen module, ``(linen module, variables)``, an NNX module, or ``(apply_fn, params)`` with
            ``apply_fn(params, *inputs)``.
        batch: NumPy arrays, one or a tuple: the inputs, and as the last of several the target of the loss. In
            torch's layout; images go over with channels last where the JAX model takes them so.
        loss: ``(torch function, JAX function)`` of ``(output, target)``, or ``"mse"``, ``"cross_entropy"`` (integer
            labels, classes last), ``"mean_square"`` (of the output alone, for a batch without a target).
        mapping: ``"auto"``, or rules `Rule` (or their tuples) for what the automatic mapping cannot know.
        weights: ``"torch"`` gives the port torch's weights; ``"own"`` judges the weights that the port holds.
        mode: ``"eval"`` or ``"train"``; dropout must have the rate 0 in the latter.
        jax_kwargs: Keyword arguments of every call of the JAX model, such as ``{"train": False}``.
        adapt: ``adapt(*batch)`` gives the batch as the JAX side takes it; traceable.
        optimizer: ``(make, transformation)``: ``make(parameters)`` returns a torch optimizer, and the other is an
            optax transformation; for ``what="step"``.
        clip: ``(torch function of parameters, optax transformation)`` that clips gradients in that step.
        own: Functions of the user's own for a quantity, such as ``{"meta": (torch_fn, jax_fn)}``; each is called
            as ``fn(loss_fn, params, *batch)`` and returns a tree like ``params``.
        excite: Whether tensors that are constant (fresh scales of 1, biases and statistics of 0) are moved a little
            on both sides, since they would hide what is done to them. Only with ``weights="torch"``.

    Returns:
        A `Pair`, with ``audit()`` and ``check()``.

    Raises:
        PairError: If the batch does not fit a model, a model is in the wrong mode, or no loss is given.
        MappingError: If a rule does not fit.
        ModuleNotFoundError: If torch or flax is missing.
        TypeError: If an argument is of another kind.

    Cost:
        One forward of the torch model and one abstract trace of the other.
    """
    _need("torch")
    _need("flax")
    import torch as framework

    if not isinstance(torch, framework.nn.Module):
        message = f"torch must be a torch.nn.Module; got {type(torch).__name__}"
        raise TypeError(message)
    if loss is None:
        message = f"no loss was given: pass loss=(torch function, JAX function), or one of {_losses.names()}"
        raise PairError(message)
    _check_options(weights, mode)
    losses = _losses.named(loss)
    arrays = _batch(batch)
    _check_mode(torch, mode)
    side = TorchSide(torch, losses[0], train=mode == "train")
    if excite and weights == "torch":
        side.excite()
    rules = [] if mapping == "auto" else [r if isinstance(r, Rule) else Rule(*r) for r in mapping]
    # the models are made and tried as a user runs them, with x64 off
    with precision(), framework_default():
        adapt = adapt or _choose_layout(torch, jax, arrays, jax_kwargs or {})
        inputs, _ = split(adapt(*(_narrow(cast(x, "float32")) for x in arrays)))
        ours = _jax_side.make(jax, dict(jax_kwargs or {}), inputs, train=mode == "train")
        options = {"weights": weights, "mode": mode, "optimizer": optimizer, "clip": clip, "own": own or {}}
        bound = Pair(side, ours, losses[1], arrays, adapt, options)
        orders = _run_once(bound, inputs)
        bound.mapping = _find_mapping(bound, rules, *orders)
    return bound


def _need(name: str) -> None:
    """Refuse to go on without a framework.

    Raises:
        ModuleNotFoundError: With how to install it.
    """
    import importlib.util

    if importlib.util.find_spec(name) is None:
        message = f"{name} is not installed here: pip install {name}. Without it, compare two dumps: jaxgrad diff A B"
        raise ModuleNotFoundError(message)


def _check_options(weights: str, mode: str) -> None:
    """Refuse words that are not options."""
    for name, value, allowed in (("weights", weights, ("torch", "own")), ("mode", mode, ("eval", "train"))):
        if value not in allowed:
            message = f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}"
            raise PairError(message)


def _batch(batch: Any) -> tuple[np.ndarray, ...]:
    """Return the batch as a tuple of NumPy arrays."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    arrays = tuple(np.asarray(part) for part in parts)
    bad = [f"batch[{i}] is {a.dtype}" for i, a in enumerate(arrays) if a.dtype.kind not in "fiub"]
    if bad or not arrays:
        message = (
            f"batch must be NumPy arrays of numbers, inputs first and the target last; {', '.join(bad) or 'empty'}"
        )
        raise PairError(message)
    if any(a.ndim and len(a) == 0 for a in arrays):
        message = "the batch is empty: its leading axis has length 0"
        raise PairError(message)
    if len(arrays) > 1 and len({len(a) for a in arrays if a.ndim}) > 1:
        message = f"the arrays of the batch have different lengths: {[a.shape for a in arrays]}"
        raise PairError(message)
    return arrays


def _check_mode(module: Any, mode: str) -> None:
    """Refuse a model whose answer would be random, or not the one that is asked for."""
    training = [name or "the model itself" for name, m in module.named_modules() if m.training]
    if mode == "eval" and training:
        message = (
            f"the torch model is in training mode ({training[0]}): call .eval() on it, or pass mode='train' to"
            " compare training mode, with dropout at 0"
        )
        raise PairError(message)
    dropping = [n for n, m in module.named_modules() if "Dropout" in type(m).__name__ and getattr(m, "p", 0) > 0]
    if mode == "train" and dropping:
        message = f"dropout is random and never equal across frameworks: set p=0 in {', '.join(dropping)}"
        raise PairError(message)


def _narrow(x: Any) -> Any:
    """Return integers as int32, which every JAX function takes."""
    return jnp.asarray(np.asarray(x, np.int32)) if jnp.issubdtype(x.dtype, jnp.integer) else x


def _channels_last(*batch: Any) -> tuple[Any, ...]:
    """Move the channels of images (arrays of four or five axes) last."""
    return tuple(jnp.moveaxis(x, 1, -1) if x.ndim >= 4 else x for x in batch)


def _as_it_is(*batch: Any) -> tuple[Any, ...]:
    """Leave the batch in torch's layout."""
    return batch


def _choose_layout(module: Any, model: Any, arrays: tuple[np.ndarray, ...], kwargs: dict[str, Any]) -> Any:
    """Give images with channels last, unless the JAX model only takes them first."""
    images = any(a.ndim >= 4 for a in arrays)
    convolves = any(type(m).__name__.startswith(("Conv", "LazyConv")) for m in module.modules())
    if not images or not convolves:
        return _as_it_is
    for layout in (_channels_last, _as_it_is):
        inputs, _ = split(layout(*(_narrow(cast(x, "float32")) for x in arrays)))
        try:
            side = _jax_side.make(model, kwargs, inputs, train=False)
            jax.eval_shape(lambda p, r, *x, side=side: side.apply(p, r, *x)[0], side.params, side.rest, *inputs)
        except Exception:
            continue
        return layout
    return _channels_last


def _rest_paths(rest: Any) -> dict[str, str]:
    """Return the paths of collections; those of batch statistics are known without the collection's name."""
    return {path: path for path in flatten(rest)}


def _run_once(bound: Pair, inputs: tuple[Any, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Run both models once, and note in which order their layers ran.

    Raises:
        PairError: If the batch does not fit.
    """
    from jaxgrad.verify._pair._watch_torch import execution_order

    given = ", ".join(str(a.shape) for a in bound.batch)
    try:
        theirs = execution_order(bound)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        message = f"the torch model or its loss fails on the batch (shapes {given}): {_first_line(error)}"
        raise PairError(message) from error
    ours: dict[str, int] = {}

    def watch(path: str, call: Any, args: Any, kwargs: Any) -> Any:
        ours.setdefault(path, len(ours))
        return call(*args, **kwargs)

    try:
        output = jax.eval_shape(lambda p, r, *x: bound.jax.apply(p, r, *x, watch=watch)[0], *_outline(bound), *inputs)
        _, targets = split(bound.adapt(*bound.data("float32")))
        jax.eval_shape(bound.jax_loss, output, *targets)
    except Exception as error:
        message = f"the JAX model or its loss fails on the batch (shapes {given}): {_first_line(error)}"
        raise PairError(message) from error
    return theirs, ours


def _outline(bound: Pair) -> tuple[Any, Any]:
    """Return shapes for the parameters and collections, in float32 as the inputs are."""

    def leaf(x: Any) -> Any:
        dtype = getattr(x, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            return x
        return jax.ShapeDtypeStruct(np.shape(x), jnp.float32)

    return jax.tree.map(leaf, bound.jax.params), jax.tree.map(leaf, bound.jax.rest)


def _first_line(error: Exception) -> str:
    """Return the first line of an error that says something, with its type."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _find_mapping(bound: Pair, rules: list[Rule], torch_order: dict[str, int], jax_order: dict[str, int]) -> Mapping:
    """Find the mapping of parameters and statistics."""
    from jaxgrad.verify._pair._configs import jax_configs

    module = bound.torch.module
    tensors = {n: tuple(p.shape) for n, p in module.named_parameters(remove_duplicate=False)}
    order = {name: i for i, name in enumerate(module.state_dict())}
    tensors |= {n: b.shape for n, b in bound.torch.buffers.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: order.get(item[0], len(order))))
    kinds = {name: type(m).__name__ for name, m in module.named_modules()}
    statistics = {p: np.shape(x) for p, x in flatten(bound.jax.rest).items() if p.endswith(("/mean", "/var"))}
    ours = _jax_side.shapes(bound.jax.params) | statistics
    return _mapping.automatic(
        tensors, kinds, bound.torch.aliases, ours, jax_configs(bound.jax), rules, torch_order, jax_order
    )


__all__ += ["MappingError", "Rule"]
