"""The networks of the scripts, as NNX modules."""

from functools import partial

from flax import nnx
from jax import Array

__all__ = ["MLP", "Linear", "Normed", "TwoHeads"]

Linear = partial(nnx.Linear, param_dtype=float)


class MLP(nnx.Module):
    """A layer of 32 units, and one of outputs."""

    def __init__(self, inputs: int, outputs: int):
        """Draw the weights."""
        rngs = nnx.Rngs(0)
        self.hidden, self.out = Linear(inputs, 32, rngs=rngs), Linear(32, outputs, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the outputs."""
        return self.out(nnx.tanh(self.hidden(x)))


class Normed(nnx.Module):
    """The same for digits, with a BatchNorm."""

    def __init__(self) -> None:
        """Draw the weights."""
        rngs = nnx.Rngs(0)
        self.hidden, self.out = Linear(64, 32, rngs=rngs), Linear(32, 10, rngs=rngs)
        self.norm = nnx.BatchNorm(32, momentum=0.9, param_dtype=float, rngs=rngs)

    def __call__(self, x: Array, train: bool = True) -> Array:
        """Return the logits."""
        return self.out(nnx.relu(self.norm(self.hidden(x), use_running_average=not train)))


class TwoHeads(nnx.Module):
    """Says which digit it is, and whether it is odd."""

    def __init__(self) -> None:
        """Draw the weights."""
        rngs = nnx.Rngs(0)
        self.trunk = Linear(64, 32, rngs=rngs)
        self.digit, self.odd = Linear(32, 10, rngs=rngs), Linear(32, 2, rngs=rngs)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Return the logits of both."""
        x = nnx.relu(self.trunk(x))
        return self.digit(x), self.odd(x)
