"""The networks of ``jaxgrad.models`` that are fields, as plain torch modules."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Siren(nn.Module):
    """Linear layers of the given sizes, the input's first, with ``sin(omega * .)`` between them."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        omega: float = 30.0,
        first_omega: float | None = None,
        hidden_omega: float | None = None,
    ) -> None:
        """Draw the weights so that each layer's inputs are spread alike (Sitzmann et al. 2020, section 3.2)."""
        super().__init__()
        self.first_omega = omega if first_omega is None else first_omega
        self.hidden_omega = omega if hidden_omega is None else hidden_omega
        self.layers = siren_layers(sizes, self.hidden_omega)

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        for i, layer in enumerate(self.layers[:-1]):
            x = torch.sin((self.first_omega if i == 0 else self.hidden_omega) * layer(x))
        return self.layers[-1](x)


class Finer(nn.Module):
    """A SIREN of waves that quicken away from 0, whose scale is differentiated too."""

    def __init__(self, sizes: tuple[int, ...], omega: float = 30.0, first_bias: float = 20.0) -> None:
        """Draw a SIREN's weights, and the first biases from a wider interval."""
        super().__init__()
        self.omega = omega
        self.layers = siren_layers(sizes, omega)
        nn.init.uniform_(self.layers[0].bias, -first_bias, first_bias)

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            x = layer(x)
            scale = x.abs() + 1
            x = torch.sin(self.omega * scale * x)
        return self.layers[-1](x)


class Sinusoids(nn.Module):
    """A trained activation: a sum of sines."""

    def __init__(self, terms: int, omega: float) -> None:
        """Draw a sum that is standard normal, whatever its input: normal numbers in polar coordinates."""
        super().__init__()
        normal = torch.randn(2, terms)
        # C sin(phase) is normal with variance 1 / terms where C and the phase are radius and angle of two such numbers
        self.amplitudes = nn.Parameter(normal.norm(dim=0) / math.sqrt(terms) * torch.randn(terms).sign())
        self.frequencies = nn.Parameter(omega * torch.rand(terms))
        self.phases = nn.Parameter(math.pi * (2 * torch.rand(terms) - 1))

    def forward(self, x: Any) -> Any:
        """Apply the activation to every entry."""
        waves = [
            c * torch.sin(w * x + p) for c, w, p in zip(self.amplitudes, self.frequencies, self.phases, strict=True)
        ]
        return sum(waves)


class Staf(nn.Module):
    """Linear layers with sums of sines between them, trained with the weights."""

    def __init__(self, sizes: tuple[int, ...], terms: int = 5, omega: float = 30.0) -> None:
        """Draw a SIREN's weights, and the sines of each hidden layer."""
        super().__init__()
        self.layers = siren_layers(sizes, omega)
        self.activations = nn.ModuleList(Sinusoids(terms, omega) for _ in sizes[1:-1])

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        for layer, activation in zip(self.layers[:-1], self.activations, strict=True):
            x = activation(layer(x))
        return self.layers[-1](x)


class GaussianField(nn.Module):
    """Linear layers with a Gaussian between them."""

    def __init__(self, sizes: tuple[int, ...], sigma: float = 0.1) -> None:
        """Draw the weights as torch does."""
        super().__init__()
        self.sigma = sigma
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            x = torch.exp(-(layer(x) ** 2) / (2 * self.sigma**2))
        return self.layers[-1](x)


class ComplexLinear(nn.Module):
    """A linear layer of complex numbers, which it makes from real parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Draw both parts as torch does."""
        super().__init__()
        self.real = nn.Linear(inputs, outputs, bias=False)
        self.imag = nn.Linear(inputs, outputs, bias=False)
        bound = 1 / math.sqrt(inputs)
        self.real_bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.imag_bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, z: Any) -> Any:
        """Apply the layer to complex inputs."""
        weight = torch.complex(self.real.weight, self.imag.weight)
        return z @ weight.T + torch.complex(self.real_bias, self.imag_bias)


class Wire(nn.Module):
    """Complex layers with Gabor wavelets between them, in torch's complex numbers."""

    def __init__(self, sizes: tuple[int, ...], omega: float = 20.0, scale: float = 10.0) -> None:
        """Draw real and imaginary parts as torch does."""
        super().__init__()
        self.omega, self.scale = omega, scale
        rest = [ComplexLinear(a, b) for a, b in itertools.pairwise(sizes[1:])]
        self.layers = nn.ModuleList([nn.Linear(sizes[0], sizes[1]), *rest])

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        for layer in self.layers[:-1]:
            z = layer(x)
            x = torch.exp(1j * self.omega * z - (self.scale * z) * (self.scale * z).conj())
        return self.layers[-1](x).real


class FourierFeatures(nn.Module):
    """A network on ``cos`` and ``sin`` of random frequencies, which are a buffer: saved, not trained."""

    def __init__(
        self,
        sizes: tuple[int, ...],
        frequencies: int = 256,
        scale: float = 10.0,
        activation: Callable[[Any], Any] = torch.relu,
    ) -> None:
        """Draw the frequencies, and the weights as Glorot and Bengio (2010) do."""
        super().__init__()
        self.activation = activation
        self.register_buffer("frequencies", scale * torch.randn(sizes[0], frequencies))
        self.layers = relu_layers((2 * frequencies, *sizes[1:]))

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        waves = torch.exp(2j * math.pi * (x @ self.frequencies))
        x = torch.cat([waves.real, waves.imag], -1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class PositionalReLU(nn.Module):
    """A ReLU network on the points and on waves of doubling frequencies."""

    def __init__(self, sizes: tuple[int, ...], octaves: int = 6, activation: Callable[[Any], Any] = torch.relu) -> None:
        """Draw the weights as Glorot and Bengio (2010) do."""
        super().__init__()
        self.octaves, self.activation = octaves, activation
        self.layers = relu_layers((sizes[0] * (1 + 2 * octaves), *sizes[1:]))

    def forward(self, x: Any) -> Any:
        """Apply the network to points of shape ``(..., sizes[0])``."""
        features = [x]
        for wave in (torch.sin, torch.cos):
            for k in range(self.octaves):
                features += [wave(2**k * math.pi * x)]
        x = torch.cat(features, -1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def siren_layers(sizes: tuple[int, ...], omega: float) -> Any:
    """Return linear layers with a SIREN's weights."""
    layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
    for i, layer in enumerate(layers):
        n = layer.in_features
        bound = 1 / n if i == 0 else math.sqrt(6 / n) / omega
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.uniform_(layer.bias, -1 / math.sqrt(n), 1 / math.sqrt(n))
    return layers


def relu_layers(sizes: tuple[int, ...]) -> Any:
    """Return linear layers with the weights of Glorot and Bengio."""
    layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layers
