"""Cases N: derivatives of any order."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgrad import nth
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch

ORDER = 10
"""The highest order of the closed forms."""


def cubic(x: Any) -> Any:
    """Return ``2 x^3``, in either framework."""
    return 2 * x**3


@case("N1", "Every derivative of 2 x^3 at -2")
def of_a_cubic(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The four derivatives that are not zero, and zeros after them."""
    import torch_ref.nth

    x, xt = to_jax(np.array(-2.0), dtype), to_torch(np.array(-2.0), dtype)
    truth = np.array([-16.0, 24.0, -24.0, 12.0, 0.0, 0.0, 0.0])
    return [
        Quantity(
            "orders 0 to 6",
            lambda: nth.derivatives(cubic, x, 6),
            lambda: torch_ref.nth.derivatives(cubic, xt, 6),
            truth=truth,
        )
    ]


@case("N2", "Every order from one call, and the nth alone")
def all_and_one(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A function of one number, by nested differentiation."""
    import torch

    import torch_ref.nth

    x, xt = to_jax(np.array(0.7), dtype), to_torch(np.array(0.7), dtype)

    def ours(z: Any) -> Any:
        return jnp.tanh(z * jnp.exp(-z)) / (1 + z**2)

    def twin(z: Any) -> Any:
        return torch.tanh(z * torch.exp(-z)) / (1 + z**2)

    return [
        Quantity("orders 0 to 6", lambda: nth.derivatives(ours, x, 6), lambda: torch_ref.nth.derivatives(twin, xt, 6)),
        Quantity("order 5 alone", lambda: nth.derivative(ours, x, 5), lambda: torch_ref.nth.derivative(twin, xt, 5)),
    ]


def tanh_orders(x: np.ndarray) -> np.ndarray:
    """Return the derivatives of tanh: each is a polynomial in tanh, and ``d/dx p(y) = p'(y) (1 - y^2)``."""
    y, polynomial, rows = np.tanh(x), np.polynomial.Polynomial([0.0, 1.0]), []
    for _ in range(ORDER + 1):
        rows.append(polynomial(y))
        polynomial = polynomial.deriv() * np.polynomial.Polynomial([1.0, 0.0, -1.0])
    return np.stack(rows)


def sine_orders(x: np.ndarray) -> np.ndarray:
    """Return the derivatives of the sine: a quarter turn each."""
    return np.stack([np.sin(x + k * np.pi / 2) for k in range(ORDER + 1)])


def exp_of_sine_orders(x: np.ndarray) -> np.ndarray:
    """Return the derivatives of ``exp(sin x)`` by Leibniz's rule on ``f' = cos(x) f``."""
    rows, cosine = [np.exp(np.sin(x))], sine_orders(x)[1:]
    for n in range(ORDER):
        rows.append(sum(math.comb(n, k) * cosine[k] * rows[n - k] for k in range(n + 1)))
    return np.stack(rows)


CLOSED_FORMS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "exp": ("exp", lambda x: np.stack([np.exp(x)] * (ORDER + 1))),
    "sin": ("sin", sine_orders),
    "tanh": ("tanh", tanh_orders),
    "log1p": (
        "log1p",
        lambda x: np.stack(
            [np.log1p(x), *[(-1) ** (k - 1) * math.factorial(k - 1) / (1 + x) ** k for k in range(1, ORDER + 1)]]
        ),
    ),
    "1/x": ("reciprocal", lambda x: np.stack([(-1) ** k * math.factorial(k) / x ** (k + 1) for k in range(ORDER + 1)])),
    "exp(sin x)": ("exp sin", exp_of_sine_orders),
}
"""Functions by the names that both frameworks give to their parts, and all their derivatives."""


def compose(library: Any, names: str) -> Callable[[Any], Any]:
    """Return the composition of a library's functions, the last one inside."""

    def composed(x: Any) -> Any:
        for name in reversed(names.split()):
            x = getattr(library, name)(x)
        return x

    return composed


def polynomial(x: Any) -> Any:
    """Return ``(x^3 - 2 x)^3 + x^2``, in either framework."""
    return (x**3 - 2 * x) ** 3 + x**2


def polynomial_orders(x: np.ndarray) -> np.ndarray:
    """Return the derivatives of `polynomial` from its coefficients."""
    inner = np.polynomial.Polynomial([0.0, -2.0, 0.0, 1.0])
    whole = inner**3 + np.polynomial.Polynomial([0.0, 0.0, 1.0])
    return np.stack([whole.deriv(k)(x) if k <= 9 else np.zeros_like(x) for k in range(ORDER + 1)])


@case("N3", "Derivatives up to order 10 against closed forms")
def closed_forms(dtype: np.dtype) -> list[Quantity | Criterion]:
    """exp, sin, tanh, log1p, 1/x, a composition and a polynomial, at four points."""
    import torch

    import torch_ref.nth

    points = np.array([0.3, 0.7, 1.1, 1.6])
    x, xt = to_jax(points, dtype), to_torch(points, dtype)

    def quantity(name: str, ours: Any, twin: Any, truth: np.ndarray) -> Quantity:
        return Quantity(
            name,
            lambda: nth.derivatives(ours, x, ORDER),
            lambda: torch_ref.nth.derivatives(twin, xt, ORDER),
            truth=truth,
        )

    return [
        *[
            quantity(name, compose(jnp, parts), compose(torch, parts), truth(points))
            for name, (parts, truth) in CLOSED_FORMS.items()
        ],
        quantity("a polynomial of degree 9", polynomial, polynomial, polynomial_orders(points)),
    ]


@case("N4", "Derivatives of a network with respect to its input, over a batch")
def of_a_network(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Orders 0 to 6 of the output of a tanh network 1-16-16-1 at 32 points."""
    import torch_ref.nth

    trees = (np.random.default_rng(4).uniform(-1, 1, 32), mlp_params((1, 16, 16, 1), 4))
    (x, p), (xt, pt) = to_jax(trees, dtype), to_torch(trees, dtype)

    def ours(z: Any, params: Any) -> Any:
        return mlp_jax(params, z[:, None])[:, 0]

    def twin(z: Any, params: Any) -> Any:
        return mlp_torch(params, z[:, None])[:, 0]

    return [
        Quantity(
            "orders 0 to 6",
            lambda: nth.derivatives(ours, x, 6, p),
            lambda: torch_ref.nth.derivatives(twin, xt, 6, pt),
        )
    ]


def at_point(x: Any, params: Any) -> Any:
    """Return the network's outputs at one point, in JAX."""
    return mlp_jax(params, x)


def at_point_torch(x: Any, params: Any) -> Any:
    """Return the network's outputs at one point, in torch."""
    return mlp_torch(params, x)


@case("N5", "Directional and mixed derivatives, Laplacian and biharmonic of a network")
def of_several_variables(dtype: np.dtype) -> list[Quantity | Criterion]:
    """At one point of a tanh network 3-12-12-2."""
    import torch_ref.nth

    rng = np.random.default_rng(5)
    trees = (rng.normal(size=3), rng.normal(size=3), mlp_params((3, 12, 12, 2), 5))
    (x, v, p), (xt, vt, pt) = to_jax(trees, dtype), to_torch(trees, dtype)
    return [
        Quantity(
            "order 4 along a direction",
            lambda: nth.directional(at_point, x, v, 4, p),
            lambda: torch_ref.nth.directional(at_point_torch, xt, vt, 4, pt),
        ),
        Quantity(
            "orders (2, 0, 1)",
            lambda: nth.mixed_partial(at_point, x, (2, 0, 1), p),
            lambda: torch_ref.nth.mixed_partial(at_point_torch, xt, (2, 0, 1), pt),
        ),
        Quantity(
            "Laplacian",
            lambda: nth.laplacian(at_point, x, p),
            lambda: torch_ref.nth.laplacian(at_point_torch, xt, pt),
        ),
        Quantity(
            "biharmonic",
            lambda: nth.biharmonic(at_point, x, p),
            lambda: torch_ref.nth.biharmonic(at_point_torch, xt, pt),
        ),
    ]
