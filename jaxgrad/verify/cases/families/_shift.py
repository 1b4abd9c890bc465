"""Cases S: the gradient at w + a, with respect to w."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import gradient, shift
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def identity(x: Any) -> Any:
    """Return the input: no activation."""
    return x


def sum_of_differences(params: Any, x: Any, y: Any) -> Any:
    """Return the sum of |out_i - y_j| over all pairs: (4, 1) minus (4,) broadcasts to (4, 4), written out here."""
    return jnp.abs(mlp_jax(params, x, identity) - y[None, :]).sum()


def sum_of_differences_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the same in torch, where the broadcast is silent."""
    return (mlp_torch(params, x, identity) - y).abs().sum()


def written_out_torch(params: Any, moves: Any, x: Any, y: Any) -> Any:
    """Differentiate a forward with the shift of the weights written into each layer."""
    import torch

    leaves = {name: {k: v.clone().requires_grad_() for k, v in layer.items()} for name, layer in params.items()}
    first, last = leaves["layer0"], leaves["layer1"]
    hidden = x @ (first["weight"] + moves["layer0"]["weight"]).T + first["bias"]
    out = hidden @ (last["weight"] + moves["layer1"]["weight"]).T + last["bias"]
    slopes = torch.autograd.grad((out - y).abs().sum(), jax.tree.leaves(leaves))
    return jax.tree.unflatten(jax.tree.structure(leaves), slopes)


def by_hand(params: Any, moves: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Return the gradient from the 16 signs, by the chain rule in NumPy."""
    first, last = (params[name]["weight"] + moves[name]["weight"] for name in ("layer0", "layer1"))
    hidden = x @ first.T + params["layer0"]["bias"]
    signs = np.sign(hidden @ last.T + params["layer1"]["bias"] - y).sum(1)
    back = signs[:, None] * last
    return {
        "layer0": {"weight": back.T @ x, "bias": back.sum(0)},
        "layer1": {"weight": signs[None] @ hidden, "bias": signs.sum(keepdims=True)},
    }


@case("S1", "Shifted weights of two linear layers, biases where they are")
def shifted_weights(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Sizes 6-4-1, batch 4, a loss of 16 signs; the shift has no biases."""
    import torch_ref.shift

    rng = np.random.default_rng(1)
    params, moves = mlp_params((6, 4, 1), 0), mlp_params((6, 4, 1), 1)
    moves = {name: {"weight": layer["weight"]} for name, layer in moves.items()}
    x, y = rng.normal(size=(4, 6)), rng.normal(size=4)
    p, a, *data = to_jax((params, moves, x, y), dtype)
    pt, at, *data_torch = to_torch((params, moves, x, y), dtype)
    at_moved = {name: {**layer, "weight": layer["weight"] + at[name]["weight"]} for name, layer in pt.items()}

    def ours() -> Any:
        return shift.gradient(sum_of_differences, p, a, *data)

    def last_bias() -> tuple[bool, str]:
        value = ours()["layer1"]["bias"].item()
        return value % 2 == 0 and -16 <= value <= 16, f"{value:g}"

    return [
        Quantity(
            "against a forward with w + a written out",
            ours,
            lambda: written_out_torch(pt, at, *data_torch),
            truth=by_hand(params, moves, x, y),
        ),
        Quantity(
            "against the plain network at the moved weights",
            ours,
            lambda: torch_ref.shift.gradient(sum_of_differences_torch, at_moved, None, *data_torch),
        ),
        Criterion("the last bias' gradient is even, from -16 to 16", last_bias),
    ]


def mean_square(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def mean_square_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network, in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


SIZES = (5, 8, 6, 2)


def regression() -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Draw weights, a shift and data for the tanh network."""
    rng = np.random.default_rng(3)
    return mlp_params(SIZES, 0), mlp_params(SIZES, 1), rng.normal(size=(16, 5)), rng.normal(size=(16, 2))


@case("S3", "A shift that covers only some leaves")
def partial_shift(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Absent keys and ``None`` are zeros."""
    import torch_ref.shift

    params, moves, *data = regression()
    absent = {"layer1": moves["layer1"], "layer2": {"bias": moves["layer2"]["bias"]}}
    none = {"layer0": None, "layer1": moves["layer1"], "layer2": {"weight": None, "bias": moves["layer2"]["bias"]}}
    zeros = {
        "layer0": jax.tree.map(np.zeros_like, moves["layer0"]),
        "layer1": moves["layer1"],
        "layer2": {"weight": np.zeros_like(moves["layer2"]["weight"]), "bias": moves["layer2"]["bias"]},
    }
    p, *data_jax = to_jax((params, *data), dtype)
    pt, zt, *data_torch = to_torch((params, zeros, *data), dtype)

    def against_zeros(name: str, moves: Any) -> Quantity:
        a = to_jax(moves, dtype)
        return Quantity(
            name,
            lambda: shift.gradient(mean_square, p, a, *data_jax),
            lambda: torch_ref.shift.gradient(mean_square_torch, pt, zt, *data_torch),
        )

    return [against_zeros("keys absent", absent), against_zeros("None in their place", none)]


@case("S4", "d/dw L(w + a) = d/da L(w + a); a zero shift is the plain gradient")
def in_the_shift(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Torch differentiates with respect to the shift, and the unshifted network."""
    import torch_ref.shift

    params, moves, *data = regression()
    p, a, *data_jax = to_jax((params, moves, *data), dtype)
    pt, at, *data_torch = to_torch((params, moves, *data), dtype)
    zero = to_jax(jax.tree.map(np.zeros_like, moves), dtype)

    def loss_of_shift(a: Any, p: Any, x: Any, y: Any) -> Any:
        return mean_square(jax.tree.map(jnp.add, p, a), x, y)

    def equal_bits() -> tuple[bool, str]:
        pairs = [
            (
                shift.gradient(mean_square, p, a, *data_jax),
                gradient.parameter_gradient(loss_of_shift, a, p, *data_jax),
            ),
            (shift.gradient(mean_square, p, zero, *data_jax), gradient.parameter_gradient(mean_square, p, *data_jax)),
        ]
        leaves = [map(np.asarray, both) for pair in pairs for both in zip(*map(jax.tree.leaves, pair), strict=True)]
        gaps = [np.abs(x - y).max() for x, y in leaves]
        return bool(max(gaps) == 0), f"largest difference {max(gaps):g}"

    return [
        Quantity(
            "against torch's derivative by the shift",
            lambda: shift.gradient(mean_square, p, a, *data_jax),
            lambda: torch_ref.shift.gradient(mean_square_torch, at, pt, *data_torch),
        ),
        Quantity(
            "zero shift against torch's plain gradient",
            lambda: shift.gradient(mean_square, p, zero, *data_jax),
            lambda: torch_ref.shift.gradient(mean_square_torch, pt, None, *data_torch),
        ),
        Criterion("both identities hold bit for bit", equal_bits),
    ]


@case("S5", "Global norm of a gradient: of the concatenation, and of the norms of its tensors")
def norms(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Three ways to one number."""
    import torch

    import torch_ref.shift

    params, moves, *data = regression()
    p, a, *data_jax = to_jax((params, moves, *data), dtype)
    pt, at, *data_torch = to_torch((params, moves, *data), dtype)

    @jax.jit
    def norms(p: Any, a: Any, *data: Any) -> Any:
        tree = shift.gradient(mean_square, p, a, *data)
        leaves = jax.tree.leaves(tree)
        return {
            "of the tree": gradient.global_norm(tree),
            "of the concatenation": gradient.global_norm(jnp.concatenate([leaf.ravel() for leaf in leaves])),
            "of the norms": gradient.global_norm([gradient.global_norm(leaf) for leaf in leaves]),
        }

    def theirs() -> Any:
        leaves = jax.tree.leaves(torch_ref.shift.gradient(mean_square_torch, pt, at, *data_torch))
        of_norms = torch.stack([leaf.norm() for leaf in leaves]).norm()
        whole = torch.cat([leaf.flatten() for leaf in leaves]).norm()
        return {"of the tree": whole, "of the concatenation": whole, "of the norms": of_norms}

    return [Quantity("three norms", lambda: norms(p, a, *data_jax), theirs)]


@case("S6", "The expected gradient over random shifts; SAM, ASAM, extragradient")
def random_and_chosen_shifts(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The same shifts on both sides, drawn once in float32 so that every precision gets the same numbers."""
    import torch_ref.shift

    params, _, *data = regression()
    p, *data_jax = to_jax((params, *data), dtype)
    pt, *data_torch = to_torch((params, *data), dtype)

    def expected(name: str, distribution: Literal["normal", "uniform"], trees: Any) -> Quantity:
        like = to_jax(trees, np.float32)
        draws = shift.random_shifts(like, key=jax.random.key(0), num_shifts=8, distribution=distribution, scale=0.2)
        a, at = (cross(jax.tree.map(np.asarray, draws), dtype) for cross in (to_jax, to_torch))
        return Quantity(
            name,
            lambda: shift.expected_gradient(mean_square, p, a, *data_jax),
            lambda: torch_ref.shift.expected_gradient(mean_square_torch, pt, at, *data_torch),
        )

    def chosen(name: str, function: str, **options: Any) -> Quantity:
        ours, theirs = getattr(shift, function), getattr(torch_ref.shift, function)
        return Quantity(
            name,
            lambda: ours(mean_square, p, *data_jax, **options),
            lambda: theirs(mean_square_torch, pt, *data_torch, **options),
        )

    def at_rest() -> tuple[bool, str]:
        still = to_jax(jax.tree.map(np.zeros_like, params), dtype)
        slopes = shift.sam_gradient(lambda q: gradient.global_norm(q) ** 2, still, radius=0.05)
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(slopes))
        return largest == 0, f"largest entry {largest:g}"

    weights = {name: {"weight": layer["weight"]} for name, layer in params.items()}
    return [
        expected("8 normal shifts", "normal", params),
        expected("8 uniform shifts", "uniform", params),
        expected("weight noise: 8 normal shifts of the weights alone", "normal", weights),
        chosen("SAM", "sam_gradient", radius=0.05),
        chosen("ASAM", "sam_gradient", radius=0.5, adaptive=True),
        chosen("extragradient", "extragradient", learning_rate=0.1),
        chosen("SAM with the loss", "value_and_sam_gradient", radius=0.05),
        chosen("extragradient with the loss", "value_and_extragradient", learning_rate=0.1),
        Criterion("SAM where the gradient is zero gives zero, not NaN", at_rest),
    ]
