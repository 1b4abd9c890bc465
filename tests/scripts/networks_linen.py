"""The networks of the scripts, as linen modules."""

from functools import partial

from flax import linen as nn
from jax import Array

__all__ = ["MLP", "Dense", "Normed", "TwoHeads"]

Dense = partial(nn.Dense, param_dtype=float)


class MLP(nn.Module):
    """A layer of 32 units, and one of outputs."""

    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the outputs."""
        return Dense(self.outputs)(nn.tanh(Dense(32)(x)))


class Normed(nn.Module):
    """The same for digits, with a BatchNorm."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Return the logits."""
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, param_dtype=float)(Dense(32)(x))
        return Dense(10)(nn.relu(x))


class TwoHeads(nn.Module):
    """Says which digit it is, and whether it is odd."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Return the logits of both."""
        x = nn.relu(Dense(32, name="trunk")(x))
        return Dense(10, name="digit")(x), Dense(2, name="odd")(x)
