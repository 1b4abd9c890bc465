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
    pad: int = 0
    """How many entries of the leaf, the last ones, get nothing."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not hold the same number of entries.

        Raises:
            ValueError: If they do not, or ``axes`` is no permutation.
        """
        sizes = {math.prod(self.torch_shape), math.prod(self.split), math.prod(self.jax_shape) - self.pad}
        if len(sizes) > 1 or sorted(self.axes) != list(range(len(self.split))):
            message = f"a layout must keep every entry; got {self}"
            raise ValueError(message)

    def to_jax(self, tensor: np.ndarray, lead: int = 0) -> np.ndarray:
        """Rearrange from torch's layout to JAX's."""
        front = tensor.shape[:lead]
        axes = (*range(lead), *(axis + lead for axis in self.axes))
        moved = tensor.reshape(front + self.split).transpose(axes)
        kept = moved[self._backwards(lead)]
        if self.pad:
            array = np if isinstance(kept, np.ndarray) else jnp
            kept = array.pad(kept.reshape((*front, -1)), [(0, 0)] * lead + [(0, self.pad)])
        return kept.reshape(front + self.jax_shape)

    def to_torch(self, leaf: np.ndarray, lead: int = 0) -> np.ndarray:
        """Rearrange from JAX's layout to torch's."""
        front = leaf.shape[:lead]
        if self.pad:
            leaf = leaf.reshape((*front, -1))[..., : -self.pad]
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
        steps += [f"reshape{self.jax_shape}"] if self.jax_shape != moved and kept else []
        return ".".join(steps) or "as it is"


@dataclass(frozen=True)
class Link:
    """Rows of a torch tensor, and the JAX leaf that holds them.

    A leaf with several links is the sum of what they bring (the two biases of a recurrent cell). A tensor with several
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

        array = array.detach().cpu()
        if array.dtype == torch.bfloat16:
            import ml_dtypes

            return array.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return array.numpy()
    return np.asarray(array)
