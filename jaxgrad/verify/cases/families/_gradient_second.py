"""Cases G4 to G7: gradients of gradients, penalties, and derivatives of functions that are no scalar."""

from typing import Any, Literal

import jax
import numpy as np

from jaxgrad import curvature, gradient
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._gradient import net, net_torch, problem
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def doubled(tree: Any) -> Any:
    """Multiply a tree by two."""
    return jax.tree.map(lambda leaf: 2 * leaf, tree)


@case("G4", "G = sum of squares of the parameter gradient, and its gradient 2 H g")
def squared_norm(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Over all leaves, over one leaf, and against the Hessian product."""
    import torch

    import torch_ref.curvature
    import torch_ref.gradient

    params, x = problem()
    (p, point), (pt, xt) = to_jax((params, x), dtype), to_torch((params, x), dtype)

    def twice_product() -> Any:
        slope = torch_ref.gradient.parameter_gradient(net_torch, pt, xt)
        return doubled(torch_ref.curvature.hvp(net_torch, pt, slope, xt))

    def one_leaf() -> Any:
        weight = pt["mlp"]["weight"].clone().requires_grad_()

        def of_weight(weight: Any, x: Any) -> Any:
            return net_torch({**pt, "mlp": {**pt["mlp"], "weight": weight}}, x)

        square, slope = torch_ref.gradient.squared_norm_gradient(of_weight, weight, xt)
        zeros = jax.tree.map(torch.zeros_like, pt)
        return square, {**zeros, "mlp": {**zeros["mlp"], "weight": slope}}

    def half() -> Any:
        """Return H g by our own Hessian product."""
        return curvature.hvp(net, p, gradient.parameter_gradient(net, p, point), point)

    return [
        Quantity(
            "G and its gradient, all leaves",
            lambda: gradient.squared_norm_gradient(net, p, point),
            lambda: torch_ref.gradient.squared_norm_gradient(net_torch, pt, xt),
        ),
        Quantity(
            "G and its gradient, one leaf",
            lambda: gradient.squared_norm_gradient(net, p, point, wrt="mlp/weight"),
            one_leaf,
        ),
        Quantity(
            "grad G = 2 H g",
            lambda: {
                "grad G": gradient.squared_norm_gradient(net, p, point)[1],
                "2 H g": doubled(jax.tree.map(np.asarray, half())),
            },
            lambda: dict.fromkeys(("grad G", "2 H g"), twice_product()),
        ),
    ]


@case("G5", "Gradient of the norm of a gradient: b = a * a, a = [0, 1, 2, 3, 4]")
def norm_of_gradient(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against torch and the closed form ``0.4 a / norm(a)``."""
    import torch

    import torch_ref.gradient

    a = np.arange(5.0)
    (at,), (ours,) = to_torch([a], dtype), to_jax([a], dtype)

    def mean(a: Any) -> Any:
        return a.mean()

    def mean_square(a: Any) -> Any:
        return (a * a).mean()

    def norm(a: Any) -> Any:
        return gradient.gradient_norm(mean_square, a)

    def norm_torch() -> Any:
        leaf = at.clone().requires_grad_()
        return torch.autograd.grad(torch_ref.gradient.gradient_norm(mean_square, leaf), leaf)[0]

    def rounded() -> tuple[bool, str]:
        digits = np.round(np.asarray(gradient.parameter_gradient(norm, ours)), 4).tolist()
        return digits == [0.0, 0.0730, 0.1461, 0.2191, 0.2921], str(digits)

    return [
        Quantity(
            "d norm(g) / da",
            lambda: gradient.parameter_gradient(norm, ours),
            norm_torch,
            truth=0.4 * a / np.sqrt(30),
        ),
        Quantity(
            "d mean(a) / da",
            lambda: gradient.parameter_gradient(mean, ours),
            lambda: torch_ref.gradient.parameter_gradient(mean, at),
            truth=np.full(5, 0.2),
        ),
        Criterion("four decimals", rounded),
    ]


@case("G6", "Gradient penalties: squared norm and WGAN-GP")
def penalties(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A tanh critic on a batch: the penalty and its gradient, against a loop over examples; and a zero critic."""
    import torch

    import torch_ref.gradient

    drawn = mlp_params((3, 8, 1), 0), np.random.default_rng(1).normal(size=(6, 3))
    (p, x), (pt, xt) = to_jax(drawn, dtype), to_torch(drawn, dtype)
    dead = to_jax(jax.tree.map(np.zeros_like, drawn[0]), dtype)

    def critic(params: Any, x: Any) -> Any:
        return mlp_jax(params, x)[0]

    def critic_torch(params: Any, x: Any) -> Any:
        return mlp_torch(params, x)[0]

    def norms(params: Any, x: Any) -> Any:
        return gradient.gradient_penalty(critic, params, x, target=None)

    def wgan(params: Any, x: Any) -> Any:
        return gradient.gradient_penalty(critic, params, x)

    def compared(name: str, penalty: Any, target: float | None) -> Quantity:
        def penalty_torch(params: Any, x: Any) -> Any:
            return torch_ref.gradient.gradient_penalty(critic_torch, params, x, target=target)

        return Quantity(
            name,
            lambda: gradient.value_and_grad(penalty, p, x),
            lambda: torch_ref.gradient.value_and_grad(penalty_torch, pt, xt),
        )

    def at_zero() -> tuple[bool, str]:
        value, slope = gradient.value_and_grad(wgan, dead, x)
        finite = all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(slope))
        return finite and float(value) == 1, f"penalty {float(value)}, gradient {'finite' if finite else 'not finite'}"

    def at_zero_torch(params: Any, x: Any) -> Any:
        return torch_ref.gradient.gradient_penalty(critic_torch, params, x)

    return [
        compared("mean of norm^2, and its gradient", norms, None),
        compared("mean of (norm - 1)^2, and its gradient", wgan, 1.0),
        Quantity(
            "gradient where the norm is 0",
            lambda: gradient.value_and_grad(wgan, dead, x)[1],
            lambda: torch_ref.gradient.parameter_gradient(at_zero_torch, jax.tree.map(torch.zeros_like, pt), xt),
            truth=jax.tree.map(np.zeros_like, drawn[0]),
        ),
        Criterion("penalty of a critic without slope", at_zero),
    ]


@case("G7", "Jacobian and Hessian of a function that is no scalar")
def full_derivatives(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A tanh network with two outputs over a batch, against ``torch.func``; and the refusal of a scalar gradient."""
    import torch_ref.gradient

    drawn = mlp_params((3, 4, 2), 0), np.random.default_rng(1).normal(size=(5, 3))
    (p, x), (pt, xt) = to_jax(drawn, dtype), to_torch(drawn, dtype)

    def of_mode(mode: Literal["forward", "reverse"]) -> Quantity:
        return Quantity(
            f"Jacobian, {mode}",
            lambda: gradient.jacobian(mlp_jax, p, x, mode=mode),
            lambda: torch_ref.gradient.jacobian(mlp_torch, pt, xt, mode=mode),
        )

    def refused() -> tuple[bool, str]:
        try:
            gradient.parameter_gradient(mlp_jax, p, x)
        except ValueError as error:
            return "[5,2]" in str(error), str(error)
        return False, "it was not refused"

    return [
        of_mode("reverse"),
        of_mode("forward"),
        Quantity(
            "Hessian",
            lambda: gradient.hessian(mlp_jax, p, x),
            lambda: torch_ref.gradient.hessian(mlp_torch, pt, xt),
        ),
        Criterion("a scalar gradient is refused with the shape", refused),
    ]
