"""Cases G1 to G3: gradients of the 2-5-1 network by its input, by its parameters, and by one after the other."""

from typing import Any

import jax
import numpy as np

from jaxgrad import gradient
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_params

NAMES = ("mlp.weight", "mlp.bias", "out.weight", "out.bias")
MAPPING = tuple((name, name.replace(".", "/")) for name in NAMES)
"""Torch's names of the 2-5-1 network, in the order of ``named_parameters``, and where its leaves are in our tree."""


def net(params: Any, x: Any) -> Any:
    """Return ``out(relu(mlp(x**2)))`` for one point, in JAX."""
    hidden = jax.nn.relu(params["mlp"]["weight"] @ x**2 + params["mlp"]["bias"])
    return (params["out"]["weight"] @ hidden + params["out"]["bias"])[0]


def net_torch(params: Any, x: Any) -> Any:
    """Return ``out(relu(mlp(x**2)))`` for one point, in torch."""
    import torch

    hidden = torch.relu(params["mlp"]["weight"] @ x**2 + params["mlp"]["bias"])
    return (params["out"]["weight"] @ hidden + params["out"]["bias"])[0]


def problem() -> tuple[Any, np.ndarray]:
    """Draw the weights of the 2-5-1 network; at the point two units of five are active, and none is near its kink."""
    layers = mlp_params((2, 5, 1), 0)
    return {"mlp": layers["layer0"], "out": layers["layer1"]}, np.array([1.0, 1.0])


def active(params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hidden units at a point, and which of them are active."""
    before = params["mlp"]["weight"] @ x**2 + params["mlp"]["bias"]
    return np.maximum(before, 0), (before > 0).astype(float)


def is_matrix(_: str, leaf: Any) -> bool:
    """Say whether a leaf has more than one axis."""
    return leaf.ndim > 1


@case("G1", "Gradient of the 2-5-1 network with respect to its input")
def by_input(dtype: np.dtype) -> list[Quantity | Criterion]:
    """At [1, 1], against torch and the chain rule written out."""
    import torch_ref.gradient

    params, x = problem()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)
    _, mask = active(params, x)
    return [
        Quantity(
            "df/dx",
            lambda: gradient.input_gradient(net, p, point),
            lambda: torch_ref.gradient.input_gradient(net_torch, pt, xt),
            truth=2 * x * ((params["out"]["weight"][0] * mask) @ params["mlp"]["weight"]),
        )
    ]


@case("G2", "Gradient with respect to the parameters, with torch's names")
def by_parameters(dtype: np.dtype) -> list[Quantity | Criterion]:
    """All leaves, only those of rank above 1, and by name, against a torch module's ``named_parameters``."""
    import torch

    import torch_ref.gradient

    params, x = problem()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)
    hidden, mask = active(params, x)
    slope = params["out"]["weight"][0] * mask
    truth = {
        "mlp": {"weight": np.outer(slope, x**2), "bias": slope},
        "out": {"weight": hidden[None], "bias": np.ones(1)},
    }

    def module_gradients() -> dict[str, Any]:
        layers = {"mlp": torch.nn.Linear(2, 5), "relu": torch.nn.ReLU(), "out": torch.nn.Linear(5, 1)}
        module = torch.nn.Sequential()
        for name, layer in layers.items():
            module.add_module(name, layer.to(xt.dtype))
        module.load_state_dict({name: pt[name.split(".")[0]][name.split(".")[1]] for name in NAMES})
        module(xt**2).sum().backward()
        return {name: parameter.grad for name, parameter in module.named_parameters()}

    def matrices_only() -> Any:
        whole = torch_ref.gradient.parameter_gradient(net_torch, pt, xt)
        return {k: {"weight": v["weight"], "bias": torch.zeros_like(v["bias"])} for k, v in whole.items()}

    def names() -> tuple[bool, str]:
        ours = list(gradient.named_gradients(net, p, point, mapping=MAPPING))
        return ours == list(module_gradients()), ", ".join(ours)

    return [
        Quantity(
            "all leaves",
            lambda: gradient.parameter_gradient(net, p, point),
            lambda: torch_ref.gradient.parameter_gradient(net_torch, pt, xt),
            truth=truth,
        ),
        Quantity(
            "leaves of rank > 1",
            lambda: gradient.parameter_gradient(net, p, point, wrt=is_matrix),
            matrices_only,
        ),
        Quantity(
            "by torch's names",
            lambda: dict(gradient.named_gradients(net, p, point, mapping=MAPPING)),
            module_gradients,
            truth={name: truth[name.split(".")[0]][name.split(".")[1]] for name in NAMES},
        ),
        Criterion("names in the order of named_parameters", names),
    ]


@case("G3", "Gradient with respect to the input of each entry of a parameter gradient, and of its sum")
def mixed(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against one backward pass an entry, and the second derivatives written out."""
    import torch

    import torch_ref.gradient

    params, x = problem()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)
    ones, ones_torch = to_jax(jax.tree.map(np.ones_like, params), dtype), jax.tree.map(torch.ones_like, pt)
    _, mask = active(params, x)
    slope = params["out"]["weight"][0] * mask
    truth = {
        "mlp": {"weight": np.einsum("i,j,jk->ijk", slope, 2 * x, np.eye(2)), "bias": np.zeros((5, 2))},
        "out": {"weight": (mask[:, None] * params["mlp"]["weight"] * 2 * x)[None], "bias": np.zeros((1, 2))},
    }
    total = sum(leaf.sum(tuple(range(leaf.ndim - 1))) for leaf in jax.tree.leaves(truth))
    return [
        Quantity(
            "each entry",
            lambda: gradient.mixed_jacobian(net, p, point),
            lambda: torch_ref.gradient.mixed_jacobian(net_torch, pt, xt),
            truth=truth,
        ),
        Quantity(
            "the sum",
            lambda: gradient.mixed_product(net, p, ones, point),
            lambda: torch_ref.gradient.mixed_product(net_torch, pt, ones_torch, xt),
            truth=total,
        ),
    ]
