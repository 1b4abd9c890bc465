"""The batch as the JAX side takes it: images with channels last, integers of 32 bits."""

import math
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.port.frameworks import _jax_forms
from jaxgrad.verify.port.frameworks._jax_model import cast
from jaxgrad.verify.port.frameworks._protocols import Adapt, Batch, TorchModel

__all__ = ["as_it_is", "choose_layout", "to_int32"]


def to_int32(x: Any) -> Any:
    """Return integers as int32, which every JAX function takes."""
    return jnp.asarray(np.asarray(x, np.int32)) if jnp.issubdtype(x.dtype, jnp.integer) else x


def channels_last(*batch: Any) -> tuple[Any, ...]:
    """Move the channels of images (arrays of four or five axes) last."""
    return tuple(jnp.moveaxis(x, 1, -1) if x.ndim >= 4 else x for x in batch)


def signals_last(*batch: Any) -> tuple[Any, ...]:
    """Move the channels of signals and images (arrays of three axes or more) last."""
    return tuple(jnp.moveaxis(x, 1, -1) if x.ndim >= 3 else x for x in batch)


def as_it_is(*batch: Any) -> tuple[Any, ...]:
    """Leave the batch in torch's layout."""
    return batch


def choose_layout(side: TorchModel, model: Any, arrays: Batch, kwargs: dict[str, Any]) -> Adapt:
    """Give images with channels last, unless the JAX model only takes them first; signals as its weights have it.

    Args:
        side: The torch side.
        model: The JAX model.
        arrays: The batch, in torch's layout.
        kwargs: The JAX model's keyword arguments.
    """
    kinds, parts = set(side.kinds.values()), side.parts
    sizes = Counter(math.prod(shape) for shape in side.outline.values())
    images = any(a.ndim >= 4 for a in arrays) and any(
        kind.startswith(("Conv", "LazyConv")) or kind.endswith(("2d", "3d")) for kind in kinds
    )
    signals = any(a.ndim == 3 for a in arrays) and "Conv1d" in kinds
    if not images and not signals:
        return as_it_is
    options: list[Adapt] = [channels_last] * images + [as_it_is] + [signals_last] * signals
    best: tuple[int, Adapt] = (-1, options[0])
    for layout in options:
        inputs, _ = parts.split(layout(*(to_int32(cast(x, "float32")) for x in arrays)))
        try:
            made = _jax_forms.make(model, kwargs, inputs, train=False, parts=parts)
            jax.eval_shape(lambda p, r, *x, made=made: made.apply(p, r, *x)[0], *made.outline("float32"), *inputs)
        except Exception:
            continue
        # a fresh linen model takes its channels from where it finds them: in the right layout its weights are torch's
        ours = Counter(int(np.size(x)) for x in jax.tree.leaves((made.params, made.rest.get("batch_stats", {}))))
        fitting = (ours & sizes).total()
        if fitting == ours.total():
            return layout
        best = max(best, (fitting, layout), key=lambda option: option[0])
    return best[1]
