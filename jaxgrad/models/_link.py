"""How one torch tensor, or some rows of it, lies in one JAX leaf."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["Layout", "Link"]


@dataclass(frozen=True)
class Layout:
    """A rearrangement of entries: reshape, permute the axes, flip some, reshape.

    It is an orthogonal map, so gradients are rearranged like weights. Every method takes arrays with any number
    ``lead`` of further axes in front, which stay.
    """

    torch_shape: tuple[int, ...]
    """Shape of the torch tensor, or of the rows of it."""
    split: tuple[int, ...]
    """Shape before the axes are permuted."""
    axes: tuple[int, ...]
    """Axes of the split tensor in the order of JAX."""
    jax_shape: tuple[int, ...]
    """Shape of the JAX leaf."""
    flip: tuple[int, ...] = ()
    """Axes, in JAX's order before the last reshape, along which the entries run backwards."""
    pads: tuple[tuple[int, int], ...] = ()
    """For each axis of the leaf how many entries before and after get nothing; empty where all of it is filled."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not hold the same number of entries.

        Raises:
            ValueError: If they do not, or ``axes`` is no permutation.
        """
        sizes = {math.prod(self.torch_shape), math.prod(self.split), math.prod(self.filled)}
        if len(sizes) > 1 or sorted(self.axes) != list(range(len(self.split))):
            message = f"a layout must keep every entry; got {self}"
            raise ValueError(message)

    @property
    def filled(self) -> tuple[int, ...]:
        """The shape of the part of the leaf that is filled."""
        if not self.pads:
            return self.jax_shape
        return tuple(size - before - after for size, (before, after) in zip(self.jax_shape, self.pads, strict=True))

    def overlaps(self, other: "Layout") -> bool:
        """Say whether two layouts of a leaf fill any entry of it both."""
        if not (self.pads and other.pads):
            return True
        sides = zip(self.jax_shape, self.pads, other.pads, strict=True)
        return all(a < size - d and c < size - b for size, (a, b), (c, d) in sides)

    def to_jax(self, tensor: np.ndarray, lead: int = 0) -> np.ndarray:
        """Rearrange from torch's layout to JAX's."""
        front = tensor.shape[:lead]
        axes = (*range(lead), *(axis + lead for axis in self.axes))
        moved = tensor.reshape(front + self.split).transpose(axes)
        kept = moved[self._backwards(lead)]
        kept = kept.reshape(front + self.filled)
        if not self.pads:
            return kept
        array = np if isinstance(kept, np.ndarray) else jnp
        return array.pad(kept, [(0, 0)] * lead + list(self.pads))

    def to_torch(self, leaf: np.ndarray, lead: int = 0) -> np.ndarray:
        """Rearrange from JAX's layout to torch's."""
        front = leaf.shape[:lead]
        if self.pads:
            spans = (slice(before, before + n) for (before, _), n in zip(self.pads, self.filled, strict=True))
            leaf = leaf[(slice(None),) * lead + tuple(spans)]
        axes = (*range(lead), *(axis + lead for axis in np.argsort(self.axes)))
        moved = leaf.reshape(front + tuple(self.split[axis] for axis in self.axes))
        return moved[self._backwards(lead)].transpose(axes).reshape(front + self.torch_shape)

    def _backwards(self, lead: int) -> Any:
        """Return the index that runs the flipped axes backwards, for arrays of NumPy and of JAX, traced ones too."""
        steps = [-1 if axis in self.flip else 1 for axis in range(len(self.split))]
        return (slice(None),) * lead + tuple(slice(None, None, step) for step in steps) if self.flip else ...

    def __str__(self) -> str:
        """Return the steps that do something, in torch's words."""
        kept = math.prod(self.split)
        steps = [f"reshape{self.split}"] if self.split != self.torch_shape else []
        steps += [f"permute{self.axes}"] if self.axes != tuple(range(len(self.axes))) else []
        steps += [f"flip{self.flip}"] if self.flip else []
        moved = tuple(self.split[axis] for axis in self.axes)
        steps += [f"reshape{self.filled}"] if self.filled != moved and kept else []
        parts = zip(self.pads, self.filled, self.jax_shape, strict=False)
        steps += [f"at {a}:{a + n} of axis {i}" for i, ((a, _), n, size) in enumerate(parts) if n != size]
        return ".".join(steps) or "as it is"


@dataclass(frozen=True)
class Link:
    """Rows of a torch tensor, and the JAX leaf that holds them.

    A leaf with several links is the sum of what they bring (the two biases of a recurrent cell, or parts of the leaf
    that lie side by side: packed projections, layers stacked for a scan). A tensor with several
    links is cut along its first axis (the joined projection of an attention layer).
    """

    name: str
    """Name of the torch tensor, as in ``state_dict``."""
    path: str
    """Path of the JAX leaf, its keys joined by ``/``."""
    layout: Layout
    """How the rows lie in the leaf."""
    start: int | None = None
    """The first of the rows; ``None`` for the whole tensor."""

    @property
    def stop(self) -> int | None:
        """One past the last of the rows; ``None`` for the whole tensor."""
        return None if self.start is None else self.start + self.layout.torch_shape[0]

    def index(self, lead: int = 0) -> Any:
        """Return what picks the rows out of the tensor, behind ``lead`` further axes."""
        return ... if self.start is None else (slice(None),) * lead + (slice(self.start, self.stop),)

    def __str__(self) -> str:
        """Return a line for a report."""
        rows = "" if self.start is None else f"[{self.start}:{self.stop}]"
        shapes = f"{list(self.layout.torch_shape)} -> {list(self.layout.jax_shape)}"
        return f"{self.name}{rows} -> {self.path}: {shapes}, {self.layout}"


def to_numpy(array: Any) -> np.ndarray:
    """Return a torch tensor, or an array of JAX or NumPy, as NumPy; bfloat16 is kept to the bit."""
    if type(array).__module__.split(".")[0] == "torch":
        import torch

        # what is left of complex numbers may be a view that torch negates when it is read
        array = array.detach().cpu().resolve_conj().resolve_neg()
        if array.dtype == torch.bfloat16:
            import ml_dtypes

            return array.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return array.numpy()
    return np.asarray(array)
