"""The networks of waves and bumps, as Flax linen modules: points ``(..., d)`` to values ``(..., channels)``."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgrad._types import Array
from jaxgrad.models import _fields, _siren

__all__ = [
    "Finer",
    "FourierFeatures",
    "GaussianField",
    "PositionalReLU",
    "Siren",
    "Staf",
    "Wire",
    "dense",
]


class Siren(nn.Module):
    """Dense layers of the given sizes, the input's first, with ``sin(omega * .)`` between them.

    ``first_omega`` and ``hidden_omega`` are ``omega`` where they are ``None``.
    """

    sizes: tuple[int, ...]
    omega: float = 30.0
    param_dtype: Any = jnp.float32
    first_omega: float | None = None
    hidden_omega: float | None = None

    def setup(self) -> None:
        """Draw the weights so that each layer's inputs are spread alike (Sitzmann et al. 2020, section 3.2)."""
        self.omegas = _fields.omegas(self.sizes, self.omega, self.first_omega, self.hidden_omega)
        self.layers = dense(self.sizes, _siren.siren_layers(self.sizes, self.omegas[-1]), self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.sizes[0])
        for layer, omega in zip(self.layers[:-1], self.omegas, strict=False):
            x = _fields.wave(layer(x), omega)
        return self.layers[-1](x)


class Finer(nn.Module):
    """A SIREN of waves that quicken away from 0: ``sin(omega * (|x| + 1) * x)`` (Liu et al. 2024).

    ``first_bias`` is the largest bias of the first layer: the wider, the higher the frequencies that it starts with.
    """

    sizes: tuple[int, ...]
    omega: float = 30.0
    first_bias: float = 20.0
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw a SIREN's weights, and the first biases from a wider interval (Liu et al. 2024, section 3.3)."""
        _fields.check_sizes(self.sizes)
        self.layers = dense(self.sizes, _siren.finer_layers(self.sizes, self.omega, self.first_bias), self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.sizes[0])
        for layer in self.layers[:-1]:
            x = _fields.finer(layer(x), self.omega)
        return self.layers[-1](x)


class Sinusoids(nn.Module):
    """A trained activation: a sum of ``terms`` sines, whose amplitudes, frequencies and phases a layer shares."""

    terms: int
    omega: float
    param_dtype: Any

    def setup(self) -> None:
        """Draw a sum that is standard normal, whatever its input (Morabbi et al. 2025, section 3.4)."""
        self.amplitudes, self.frequencies, self.phases = (
            self.param(name, draw, (self.terms,), self.param_dtype)
            for name, draw in _siren.sinusoid_draws(self.terms, self.omega).items()
        )

    def __call__(self, x: Array) -> Array:
        """Apply the activation to every entry."""
        return _fields.sinusoids(x, self.amplitudes, self.frequencies, self.phases)


class Staf(nn.Module):
    """Dense layers with sums of ``terms`` sines between them, trained with the weights (Morabbi et al. 2025).

    ``omega`` is the highest frequency at the start.
    """

    sizes: tuple[int, ...]
    terms: int = 5
    omega: float = 30.0
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw a SIREN's weights, and the sines of each hidden layer."""
        _fields.check_sizes(self.sizes)
        self.layers = dense(self.sizes, _siren.siren_layers(self.sizes, self.omega), self.param_dtype)
        self.activations = [Sinusoids(self.terms, self.omega, self.param_dtype) for _ in self.sizes[1:-1]]

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.sizes[0])
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(x))
        return self.layers[-1](x)


class GaussianField(nn.Module):
    """Dense layers with ``exp(-x**2 / (2 * sigma**2))`` between them (Ramasinghe and Lucey 2022)."""

    sizes: tuple[int, ...]
    sigma: float = 0.1
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the weights as torch does."""
        _fields.check_sizes(self.sizes)
        self.layers = dense(self.sizes, _siren.plain_layers(self.sizes), self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.sizes[0])
        for layer in self.layers[:-1]:
            x = _fields.gaussian(layer(x), self.sigma)
        return self.layers[-1](x)


class ComplexDense(nn.Module):
    """A linear layer of complex numbers, in real parameters: those of ``real`` and of ``imag``."""

    features: int
    draws: _siren.Draws
    param_dtype: Any

    def setup(self) -> None:
        """Draw both parts alike."""
        kernel, bias = self.draws
        part = {"use_bias": False, "kernel_init": kernel, "param_dtype": self.param_dtype}
        self.real, self.imag = nn.Dense(self.features, **part), nn.Dense(self.features, **part)
        self.real_bias, self.imag_bias = (
            self.param(name, bias, (self.features,), self.param_dtype) for name in ("real_bias", "imag_bias")
        )

    def __call__(self, real: Array, imag: Array) -> tuple[Array, Array]:
        """Apply the layer to the two parts of its input."""
        return _fields.complex_layer(self.real, self.imag, self.real_bias, self.imag_bias, real, imag)


class Wire(nn.Module):
    """Complex layers with Gabor wavelets ``exp(i * omega * z - |scale * z|**2)`` between them (Saragadam et al. 2023).

    ``sizes`` counts complex units; the first layer is real, and the field is the real part of the last. All parameters
    are real.
    """

    sizes: tuple[int, ...]
    omega: float = 20.0
    scale: float = 10.0
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw real and imaginary parts as torch does."""
        _fields.check_sizes(self.sizes)
        draws = _siren.plain_layers(self.sizes)
        first = dense(self.sizes[:2], draws[:1], self.param_dtype)
        rest = zip(self.sizes[2:], draws[1:], strict=True)
        self.layers = [*first, *(ComplexDense(size, drawn, self.param_dtype) for size, drawn in rest)]

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.points_of(x, self.sizes[0])
        real, imag = _fields.gabor(self.layers[0](x), None, self.omega, self.scale)
        for layer in self.layers[1:-1]:
            real, imag = layer(real, imag)
            real, imag = _fields.gabor(real, imag, self.omega, self.scale)
        return self.layers[-1](real, imag)[0]


class FourierFeatures(nn.Module):
    """A network on ``cos`` and ``sin`` of random frequencies (Tancik et al. 2020).

    ``frequencies`` is how many there are, ``scale`` their deviation, in turns a unit of coordinate. They are no
    parameters: they lie in the collection ``constants``, which is saved with the variables and never trained.
    """

    sizes: tuple[int, ...]
    frequencies: int = 256
    scale: float = 10.0
    activation: Callable[[Array], Array] = nn.relu
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the frequencies, and the weights as Glorot and Bengio (2010) do.

        Raises:
            ValueError: If the variables of a call lack the frequencies.
        """
        _fields.check_sizes(self.sizes)
        inner = (2 * self.frequencies, *self.sizes[1:])
        self.layers = dense(inner, _siren.glorot_layers(inner), self.param_dtype)
        shape = (self.sizes[0], self.frequencies)
        if not (self.is_initializing() or self.has_variable("constants", "frequencies")):
            message = (
                "FourierFeatures needs the frequencies that it was trained with, which are saved beside the"
                ' parameters: give variables={"params": ..., "constants": {"frequencies": ...}}'
            )
            raise ValueError(message)
        draw = _siren.normal(self.scale)
        self.drawn = self.variable(
            "constants", "frequencies", lambda: draw(self.make_rng("params"), shape, self.param_dtype)
        )

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.fourier_features(_fields.points_of(x, self.sizes[0]), self.drawn.value)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class PositionalReLU(nn.Module):
    """A ReLU network on the points and on waves of ``octaves`` doubling frequencies (Mildenhall et al. 2020)."""

    sizes: tuple[int, ...]
    octaves: int = 6
    activation: Callable[[Array], Array] = nn.relu
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the weights as Glorot and Bengio (2010) do."""
        _fields.check_sizes(self.sizes)
        inner = (_fields.octaves_size(self.sizes[0], self.octaves), *self.sizes[1:])
        self.layers = dense(inner, _siren.glorot_layers(inner), self.param_dtype)

    def __call__(self, x: Array) -> Array:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        x = _fields.octaves(_fields.points_of(x, self.sizes[0]), self.octaves)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def dense(sizes: tuple[int, ...], draws: list[_siren.Draws], param_dtype: Any) -> list[nn.Dense]:
    """Return linear layers of the given sizes, the input's first."""
    return [
        nn.Dense(size, kernel_init=kernel, bias_init=bias, param_dtype=param_dtype)
        for size, (kernel, bias) in zip(sizes[1:], draws, strict=True)
    ]
