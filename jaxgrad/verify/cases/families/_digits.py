"""Cases G, H and P once more, on networks trained for a moment on scanned digits."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgrad import curvature, gradient, per_example
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases import _trained
from jaxgrad.verify.cases._case import Criterion, Quantity, extend

NETWORKS = {
    "digits MLP (linen)": lambda: _trained.mlp("linen"),
    "digits MLP (NNX)": lambda: _trained.mlp("nnx"),
    "digits CNN (linen)": lambda: _trained.cnn("linen"),
    "digits CNN (NNX)": lambda: _trained.cnn("nnx"),
}
FEW = 4

Items = list[Quantity | Criterion]


def over(*names: str) -> Callable[[Callable[[str, _trained.Network, np.dtype], Items]], Callable[[np.dtype], Items]]:
    """Turn a comparison on one network into the build that makes it on several."""

    def decorate(compare: Callable[[str, _trained.Network, np.dtype], Items]) -> Callable[[np.dtype], Items]:
        return lambda dtype: [item for name in names for item in compare(name, NETWORKS[name](), dtype)]

    return decorate


def in_torch(network: _trained.Network, lead: int = 0) -> Callable[[Any], Any]:
    """Return what brings torch's gradients into the tree of the Flax network."""
    return lambda tensors: network.mapping.gradients_to_jax(tensors, lead=lead)


@extend("G1")
@over("digits MLP (linen)", "digits CNN (NNX)")
def input_gradient(name: str, network: _trained.Network, dtype: np.dtype) -> Items:
    """The gradient of the loss with respect to the pixels."""
    import torch_ref.gradient

    (p, x, y), (pt, xt, yt) = network.cast(dtype)
    return [
        Quantity(
            f"pixels of the {name}",
            lambda: gradient.input_gradient(network.loss, p, x, y),
            lambda: torch_ref.gradient.input_gradient(network.loss_torch, pt, xt, yt),
        )
    ]


@extend("G2")
@over("digits MLP (NNX)", "digits CNN (linen)")
def named_gradients(name: str, network: _trained.Network, dtype: np.dtype) -> Items:
    """The gradient by torch's names and in torch's layout, and the order of the names."""
    import torch_ref.gradient

    (p, x, y), (pt, xt, yt) = network.cast(dtype)

    def order() -> tuple[bool, str]:
        ours = list(gradient.named_gradients(network.loss, p, x, y, mapping=network.mapping))
        theirs = [key for key, _ in network.twin.named_parameters()]
        return ours == theirs, f"{len(theirs)} names, {'the same' if ours == theirs else f'{ours} against {theirs}'}"

    return [
        Quantity(
            f"weights of the {name}, by torch's names",
            lambda: network.mapping.gradients_to_torch(gradient.parameter_gradient(network.loss, p, x, y)),
            lambda: torch_ref.gradient.parameter_gradient(network.loss_torch, pt, xt, yt),
        ),
        Criterion(f"names of the {name} in the order of named_parameters", order),
    ]


@extend("H1")
@over("digits MLP (linen)", "digits CNN (NNX)")
def hessian_vector(name: str, network: _trained.Network, dtype: np.dtype) -> Items:
    """A product with the Hessian of the loss, all leaves."""
    import torch_ref.curvature

    (p, x, y), (pt, xt, yt) = network.cast(dtype)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), network.params)
    # by torch's names in float64, so that both precisions cast the same numbers
    v, vt = to_jax(direction, dtype), to_torch(network.mapping.to_torch(direction), dtype)
    return [
        Quantity(
            f"H r of the {name}",
            lambda: curvature.hvp(network.loss, p, v, x, y),
            lambda: in_torch(network)(torch_ref.curvature.hvp(network.loss_torch, pt, vt, xt, yt)),
        )
    ]


@extend("P1")
@over("digits MLP (NNX)", "digits CNN (linen)")
def example_gradients(name: str, network: _trained.Network, dtype: np.dtype) -> Items:
    """One gradient for each of a few images."""
    import torch_ref.per_example

    (p, x, y), (pt, xt, yt) = network.cast(dtype)
    few, few_torch = to_jax((np.asarray(x)[:FEW], np.asarray(y)[:FEW])), (xt[:FEW], yt[:FEW])
    return [
        Quantity(
            f"{FEW} images of the {name}",
            lambda: per_example.gradients(network.one, p, *few),
            lambda: in_torch(network, 1)(torch_ref.per_example.gradients(network.one_torch, pt, *few_torch)),
        )
    ]


@extend("P3")
@over("digits MLP (linen)", "digits CNN (linen)")
def clipped_sum(name: str, network: _trained.Network, dtype: np.dtype) -> Items:
    """The sum of the gradients of a batch, each clipped; some are above the limit and some below."""
    import torch_ref.per_example

    (p, x, y), (pt, xt, yt) = network.cast(dtype)
    limit = 0.5
    return [
        Quantity(
            f"sum of clipped gradients of the {name}",
            lambda: per_example.clipped_sum(network.one, p, x, y, clip_norm=limit)[0],
            lambda: in_torch(network)(
                torch_ref.per_example.clipped_sum(network.one_torch, pt, xt, yt, clip_norm=limit)[0]
            ),
        )
    ]
