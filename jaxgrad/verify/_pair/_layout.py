"""The batch as the JAX side takes it: images with channels last, integers of 32 bits."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify._pair import _jax_side
from jaxgrad.verify._pair._jax_side import cast
from jaxgrad.verify._pair._torch_side import split

__all__ = ["as_it_is", "choose_layout", "narrow"]


def narrow(x: Any) -> Any:
    """Return integers as int32, which every JAX function takes."""
    return jnp.asarray(np.asarray(x, np.int32)) if jnp.issubdtype(x.dtype, jnp.integer) else x


def channels_last(*batch: Any) -> tuple[Any, ...]:
    """Move the channels of images (arrays of four or five axes) last."""
    return tuple(jnp.moveaxis(x, 1, -1) if x.ndim >= 4 else x for x in batch)


def as_it_is(*batch: Any) -> tuple[Any, ...]:
    """Leave the batch in torch's layout."""
    return batch


def choose_layout(kinds: Iterable[str], model: Any, arrays: tuple[np.ndarray, ...], kwargs: dict[str, Any]) -> Any:
    """Give images with channels last, unless the JAX model only takes them first."""
    images = any(a.ndim >= 4 for a in arrays)
    convolves = any(kind.startswith(("Conv", "LazyConv")) or kind.endswith(("2d", "3d")) for kind in kinds)
    if not images or not convolves:
        return as_it_is
    for layout in (channels_last, as_it_is):
        inputs, _ = split(layout(*(narrow(cast(x, "float32")) for x in arrays)))
        try:
            side = _jax_side.make(model, kwargs, inputs, train=False)
            jax.eval_shape(lambda p, r, *x, side=side: side.apply(p, r, *x)[0], *side.outline("float32"), *inputs)
        except Exception:
            continue
        return layout
    return channels_last
