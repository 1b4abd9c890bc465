"""Rows of the family ``shift``."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import torch_ref.shift
from bench._row import Contender, Problem, Program, Row
from jaxgrad import shift
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network."""
    return jnp.mean((mlp_jax(params, x, jax.nn.relu) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the ReLU network, in torch."""
    return ((mlp_torch(params, x, torch.relu) - y) ** 2).mean()


AGREEMENT = 1e-2
"""In float32 one ReLU whose input is within rounding of 0 changes a leaf by some 1e-3, in any two programs."""


class Setting(NamedTuple):
    """The inputs of a row in both frameworks, and one gradient as the unit of cost."""

    params: Any
    data: tuple[Any, Any]
    params_torch: Any
    data_torch: tuple[Any, Any]
    gradient: Contender
    sizes: tuple[int, ...]


def setting(quick: bool, batch: int = 256) -> Setting:
    """Draw the network and its data."""
    sizes, batch = ((64, 128, 10), 32) if quick else ((784, 512, 512, 10), batch)
    rng = np.random.default_rng(0)
    trees = (mlp_params(sizes, 0), (rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1]))))
    (p, data), (pt, data_torch) = to_jax(trees, np.float32), to_torch(trees, np.float32)
    gradient = jax.jit(jax.grad(loss))
    unit = Contender("jax.grad", "jax", lambda: gradient(p, *data), Program(gradient, (p, *data)))
    return Setting(p, data, pt, data_torch, unit, sizes)


def ours(fun: Any, *args: Any) -> Contender:
    """Return our contender on its arguments."""
    return Contender("jaxgrad", "jax", lambda: fun(*args), Program(fun, args))


class InPlace:
    """What torch optimizers do: move the weights in place, differentiate, and move them back."""

    def __init__(self, params: Any, data: tuple[Any, Any]) -> None:
        """Take a copy of the weights of its own."""
        self.params = jax.tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
        self.leaves, self.structure = jax.tree.flatten(self.params)
        self.data = data

    def gradient(self) -> Any:
        """Return the gradient at the present weights."""
        return torch.autograd.grad(loss_torch(self.params, *self.data), self.leaves)

    def at(self, shift: Any) -> Any:
        """Return the gradient at shifted weights."""
        with torch.no_grad():
            torch._foreach_add_(self.leaves, shift)
        slopes = self.gradient()
        with torch.no_grad():
            torch._foreach_sub_(self.leaves, shift)
        return slopes

    def tree(self, slopes: Any) -> Any:
        """Return a list of gradients as a tree."""
        return jax.tree.unflatten(self.structure, slopes)


def gradient_problem(quick: bool) -> Problem:
    """A given shift, against torch in place and torch.func."""
    s = setting(quick)
    moves = mlp_params(s.sizes, 1)
    a, at = to_jax(moves, np.float32), to_torch(moves, np.float32)
    place, flat = InPlace(s.params_torch, s.data_torch), jax.tree.leaves(at)

    def functional() -> Any:
        moved = jax.tree.map(torch.add, s.params_torch, at)
        return torch.func.grad(loss_torch)(moved, *s.data_torch)

    return Problem(
        [
            ours(functools.partial(shift.gradient, loss), s.params, a, *s.data),
            Contender("torch in place", "torch", lambda: place.tree(place.at(flat))),
            Contender("torch.func", "torch", functional),
            Contender(
                "torch_ref", "torch", lambda: torch_ref.shift.gradient(loss_torch, s.params_torch, at, *s.data_torch)
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def sam_problem(quick: bool) -> Problem:
    """SAM against the in-place form of torch's optimizers."""
    s = setting(quick)
    place = InPlace(s.params_torch, s.data_torch)

    def in_place() -> Any:
        slopes = place.gradient()
        scale = 0.05 / (torch.stack(torch._foreach_norm(slopes)).norm() + 1e-12)
        return place.tree(place.at(torch._foreach_mul(slopes, scale)))

    return Problem(
        [
            ours(functools.partial(shift.sam_gradient, loss, radius=0.05), s.params, *s.data),
            Contender("torch in place", "torch", in_place),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.sam_gradient(loss_torch, s.params_torch, *s.data_torch, radius=0.05),
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def extragradient_problem(quick: bool) -> Problem:
    """The extragradient against the in-place form."""
    s = setting(quick)
    place = InPlace(s.params_torch, s.data_torch)
    return Problem(
        [
            ours(functools.partial(shift.extragradient, loss, learning_rate=0.1), s.params, *s.data),
            Contender(
                "torch in place", "torch", lambda: place.tree(place.at(torch._foreach_mul(place.gradient(), -0.1)))
            ),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.extragradient(loss_torch, s.params_torch, *s.data_torch, learning_rate=0.1),
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def expected_problem(quick: bool, count: int = 8) -> Problem:
    """The mean over several shifts, against torch in place and JAX's ``vmap``."""
    s = setting(quick)
    moves = jax.tree.map(lambda *leaves: 0.01 * np.stack(leaves), *[mlp_params(s.sizes, 1 + k) for k in range(count)])
    a, at = to_jax(moves, np.float32), to_torch(moves, np.float32)
    place = InPlace(s.params_torch, s.data_torch)
    rows = [[leaf[k] for leaf in jax.tree.leaves(at)] for k in range(count)]

    def in_place() -> Any:
        total = list(place.at(rows[0]))
        for row in rows[1:]:
            torch._foreach_add_(total, place.at(row))
        return place.tree(torch._foreach_div(total, count))

    @jax.jit
    def vmapped(params: Any, shifts: Any, x: Any, y: Any) -> Any:
        def one(a: Any) -> Any:
            return jax.grad(loss)(jax.tree.map(jnp.add, params, a), x, y)

        return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(one)(shifts))

    return Problem(
        [
            ours(functools.partial(shift.expected_gradient, loss), s.params, a, *s.data),
            Contender("torch in place", "torch", in_place),
            Contender(
                "jax.vmap(grad)",
                "jax",
                lambda: vmapped(s.params, a, *s.data),
                Program(vmapped, (s.params, a, *s.data)),
            ),
            Contender(
                "torch_ref",
                "torch",
                lambda: torch_ref.shift.expected_gradient(loss_torch, s.params_torch, at, *s.data_torch),
            ),
        ],
        gradient=s.gradient,
        agreement=AGREEMENT,
    )


def random_problem(quick: bool) -> Problem:
    """The draws against ``jax.random.normal`` leaf by leaf with the same keys; torch's numbers are others."""
    s = setting(quick)
    draw = functools.partial(shift.random_shifts, key=jax.random.key(0), num_shifts=8)

    @jax.jit
    def leaf_by_leaf(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(0), len(leaves))
        draws = [jax.random.normal(k, (8, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, draws)

    return Problem(
        [
            ours(draw, s.params),
            Contender("jax.random.normal", "jax", lambda: leaf_by_leaf(s.params), Program(leaf_by_leaf, (s.params,))),
        ],
        gradient=s.gradient,
    )


ROWS = [
    Row("gradient", "MLP 784-512-512-10, batch 256", gradient_problem),
    Row("sam_gradient", "MLP 784-512-512-10, batch 256", sam_problem),
    Row("extragradient", "MLP 784-512-512-10, batch 256", extragradient_problem),
    Row("expected_gradient", "MLP 784-512-512-10, batch 256, 8 shifts", expected_problem),
    Row("random_shifts", "MLP 784-512-512-10, 8 shifts", random_problem),
]
