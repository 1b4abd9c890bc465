"""The networks of waves and bumps, as Flax NNX modules: points ``(..., d)`` to values ``(..., channels)``."""

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxgrad._types import Array
from jaxgrad.models import _fields, _siren

__all__ = [
    "Constant",
    "Finer",
    "FourierFeatures",
    "GaussianField",
    "PositionalReLU",
    "Siren",
    "Staf",
    "Wire",
    "linear",
]


class Constant(nnx.Variable):
    """What belongs to a network and is saved with it, and is never trained."""


class Siren(nnx.Module):
    """Dense layers of the given sizes, the input's first, with ``sin(omega * .)`` between them.

    ``first_omega`` and ``hidden_omega`` are ``omega`` where they are ``None``.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        omega: float = 30.0,
        first_omega: float | None = None,
        hidden_omega: float | None = None,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights so that each layer's inputs are spread alike (Sitzmann et al. 2020, section 3.2)."""
        self.coordinates, self.omegas = sizes[0], _fields.omegas(sizes, omega, first_omega, hidden_omega)
        self.layers = linear(sizes, _siren.siren_layers(sizes, self.omegas[-1]), rngs, dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.coordinates)
        for layer, omega in zip(self.layers[:-1], self.omegas, strict=False):
            x = _fields.wave(layer(x), omega)
        return self.layers[-1](x)


class Finer(nnx.Module):
    """A SIREN of waves that quicken away from 0: ``sin(omega * (|x| + 1) * x)`` (Liu et al. 2024).

    ``first_bias`` is the largest bias of the first layer: the wider, the higher the frequencies that it starts with.
    """

    def __init__(
        self, sizes: tuple[int, ...], omega: float = 30.0, first_bias: float = 20.0, *, rngs: nnx.Rngs, **dtypes: Any
    ) -> None:
        """Draw a SIREN's weights, and the first biases from a wider interval (Liu et al. 2024, section 3.3)."""
        _fields.check_sizes(sizes)
        self.coordinates, self.omega = sizes[0], omega
        self.layers = linear(sizes, _siren.finer_layers(sizes, omega, first_bias), rngs, dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.coordinates)
        for layer in self.layers[:-1]:
            x = _fields.finer(layer(x), self.omega)
        return self.layers[-1](x)


class Sinusoids(nnx.Module):
    """A trained activation: a sum of ``terms`` sines, whose amplitudes, frequencies and phases a layer shares."""

    def __init__(self, terms: int, omega: float, *, rngs: nnx.Rngs, **dtypes: Any) -> None:
        """Draw a sum that is standard normal, whatever its input (Morabbi et al. 2025, section 3.4)."""
        dtype = dtypes.get("param_dtype", jnp.float32)
        drawn = _siren.sinusoid_draws(terms, omega)
        self.amplitudes = nnx.Param(drawn["amplitudes"](rngs.params(), (terms,), dtype))
        self.frequencies = nnx.Param(drawn["frequencies"](rngs.params(), (terms,), dtype))
        self.phases = nnx.Param(drawn["phases"](rngs.params(), (terms,), dtype))

    def __call__(self, x: Array) -> Array:
        """Apply the activation to every entry."""
        return _fields.sinusoids(x, self.amplitudes[...], self.frequencies[...], self.phases[...])


class Staf(nnx.Module):
    """Dense layers with sums of ``terms`` sines between them, trained with the weights (Morabbi et al. 2025).

    ``omega`` is the highest frequency at the start.
    """

    def __init__(
        self, sizes: tuple[int, ...], terms: int = 5, omega: float = 30.0, *, rngs: nnx.Rngs, **dtypes: Any
    ) -> None:
        """Draw a SIREN's weights, and the sines of each hidden layer."""
        _fields.check_sizes(sizes)
        self.coordinates = sizes[0]
        self.layers = linear(sizes, _siren.siren_layers(sizes, omega), rngs, dtypes)
        self.activations = nnx.List([Sinusoids(terms, omega, rngs=rngs, **dtypes) for _ in sizes[1:-1]])

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.coordinates)
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(x))
        return self.layers[-1](x)


class GaussianField(nnx.Module):
    """Dense layers with ``exp(-x**2 / (2 * sigma**2))`` between them (Ramasinghe and Lucey 2022)."""

    def __init__(self, sizes: tuple[int, ...], sigma: float = 0.1, *, rngs: nnx.Rngs, **dtypes: Any) -> None:
        """Draw the weights as torch does."""
        _fields.check_sizes(sizes)
        self.coordinates, self.sigma = sizes[0], sigma
        self.layers = linear(sizes, _siren.plain_layers(sizes), rngs, dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.coordinates)
        for layer in self.layers[:-1]:
            x = _fields.gaussian(layer(x), self.sigma)
        return self.layers[-1](x)


class ComplexLinear(nnx.Module):
    """A linear layer of complex numbers, in real parameters: those of ``real`` and of ``imag``."""

    def __init__(self, inputs: int, outputs: int, draws: _siren.Draws, *, rngs: nnx.Rngs, **dtypes: Any) -> None:
        """Draw both parts alike."""
        kernel, bias = draws
        part = {"use_bias": False, "kernel_init": kernel, "rngs": rngs, **dtypes}
        self.real, self.imag = nnx.Linear(inputs, outputs, **part), nnx.Linear(inputs, outputs, **part)
        dtype = dtypes.get("param_dtype", jnp.float32)
        self.real_bias, self.imag_bias = (nnx.Param(bias(rngs.params(), (outputs,), dtype)) for _ in range(2))

    def __call__(self, real: Array, imag: Array) -> tuple[Array, Array]:
        """Apply the layer to the two parts of its input."""
        biases = self.real_bias[...], self.imag_bias[...]
        return _fields.complex_layer(self.real, self.imag, *biases, real, imag)


class Wire(nnx.Module):
    """Complex layers with Gabor wavelets ``exp(i * omega * z - |scale * z|**2)`` between them (Saragadam et al. 2023).

    ``sizes`` counts complex units; the first layer is real, and the field is the real part of the last. All parameters
    are real.
    """

    def __init__(
        self, sizes: tuple[int, ...], omega: float = 20.0, scale: float = 10.0, *, rngs: nnx.Rngs, **dtypes: Any
    ) -> None:
        """Draw real and imaginary parts as torch does."""
        _fields.check_sizes(sizes)
        self.coordinates, self.omega, self.scale = sizes[0], omega, scale
        draws, pairs = _siren.plain_layers(sizes), list(itertools.pairwise(sizes))
        first = linear(sizes[:2], draws[:1], rngs, dtypes)
        rest = [
            ComplexLinear(a, b, drawn, rngs=rngs, **dtypes) for (a, b), drawn in zip(pairs[1:], draws[1:], strict=True)
        ]
        self.layers = nnx.List([*first, *rest])

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.coordinates)
        real, imag = _fields.gabor(self.layers[0](x), None, self.omega, self.scale)
        for layer in self.layers[1:-1]:
            real, imag = layer(real, imag)
            real, imag = _fields.gabor(real, imag, self.omega, self.scale)
        return self.layers[-1](real, imag)[0]


class FourierFeatures(nnx.Module):
    """A network on ``cos`` and ``sin`` of random frequencies (Tancik et al. 2020).

    ``frequencies`` is how many there are, ``scale`` their deviation, in turns a unit of coordinate. They are no
    ``nnx.Param`` but a `Constant`, which is saved with the module's state and never trained.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        frequencies: int = 256,
        scale: float = 10.0,
        activation: Callable[[Array], Array] = nnx.relu,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the frequencies, and the weights as Glorot and Bengio (2010) do."""
        _fields.check_sizes(sizes)
        self.coordinates, self.activation = sizes[0], activation
        inner = (2 * frequencies, *sizes[1:])
        self.layers = linear(inner, _siren.glorot_layers(inner), rngs, dtypes)
        shape, dtype = (sizes[0], frequencies), dtypes.get("param_dtype", jnp.float32)
        self.frequencies = Constant(_siren.normal(scale)(rngs.params(), shape, dtype))

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.fourier_features(_fields.points_of(x, self.coordinates), self.frequencies[...])
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class PositionalReLU(nnx.Module):
    """A ReLU network on the points and on waves of ``octaves`` doubling frequencies (Mildenhall et al. 2020)."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        octaves: int = 6,
        activation: Callable[[Array], Array] = nnx.relu,
        *,
        rngs: nnx.Rngs,
        **dtypes: Any,
    ) -> None:
        """Draw the weights as Glorot and Bengio (2010) do."""
        _fields.check_sizes(sizes)
        self.coordinates, self.octaves, self.activation = sizes[0], octaves, activation
        inner = (_fields.octaves_size(sizes[0], octaves), *sizes[1:])
        self.layers = linear(inner, _siren.glorot_layers(inner), rngs, dtypes)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.octaves(_fields.points_of(x, self.coordinates), self.octaves)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def linear(
    sizes: tuple[int, ...], draws: list[_siren.Draws], rngs: nnx.Rngs, dtypes: dict[str, Any]
) -> nnx.List[nnx.Linear]:
    """Return linear layers of the given sizes, the input's first."""
    pairs = zip(itertools.pairwise(sizes), draws, strict=True)
    return nnx.List(
        [nnx.Linear(a, b, kernel_init=kernel, bias_init=bias, rngs=rngs, **dtypes) for (a, b), (kernel, bias) in pairs]
    )
