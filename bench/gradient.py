"""Rows of the family ``gradient``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.utils import _pytree as pytree

import torch_ref.gradient
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import gradient
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network, in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


def draw(size: Sizes) -> tuple[Any, Any]:
    """Return parameters, a vector like them, inputs and targets, for JAX and for torch."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(size.batch, size.mlp[0])), rng.normal(size=(size.batch, size.mlp[-1]))
    trees = (mlp_params(size.mlp, 0), mlp_params(size.mlp, 1), *data)
    return to_jax(trees, size.dtype), to_torch(trees, size.dtype)


def ours(function: Callable[..., Any], *inputs: Any, read: Callable[[Any], Any] | None = None) -> Contender:
    """Return our contender: a public function with its loss bound."""
    run, program = functools.partial(function, *inputs), Program(function, inputs)
    return Contender("jaxgrad", "jax", run, program, **({"read": read} if read else {}))


def in_torch(name: str, run: Callable[[], Any], read: Callable[[Any], Any] | None = None) -> Contender:
    """Return a rival in torch."""
    return Contender(name, "torch", run, **({"read": read} if read else {}))


def unit(p: Any, x: Any, y: Any) -> Contender:
    """Return one jitted gradient of the loss."""
    compiled = jax.jit(jax.grad(loss))
    return Contender("jax.grad", "jax", lambda: compiled(p, x, y), Program(compiled, (p, x, y)))


def tracked(tree: Any) -> Any:
    """Return copies of torch leaves that autograd follows."""
    return pytree.tree_map(lambda leaf: leaf.clone().requires_grad_(), tree)


def autograd(out: torch.Tensor, tree: Any, **options: Any) -> Any:
    """Return the gradient of a scalar with respect to a tree, by one backward pass."""
    leaves, structure = pytree.tree_flatten(tree)
    return pytree.tree_unflatten(list(torch.autograd.grad(out, leaves, **options)), structure)


def parameter_problem(size: Sizes) -> Problem:
    """The plain gradient against both of torch's spellings."""
    (p, _, x, y), (pt, _, xt, yt) = draw(size)
    leaf = tracked(pt)
    return Problem(
        [
            ours(functools.partial(gradient.parameter_gradient, loss), p, x, y),
            in_torch("torch.autograd", lambda: autograd(loss_torch(leaf, xt, yt), leaf)),
            in_torch("torch.func", lambda: torch.func.grad(loss_torch)(pt, xt, yt)),
        ],
        gradient=unit(p, x, y),
    )


def named_problem(size: Sizes) -> Problem:
    """Gradients by name against a walk over a module's ``named_parameters``."""
    (p, _, x, y), (pt, _, xt, yt) = draw(size)
    layers = [torch.nn.Linear(*reversed(layer["weight"].shape), dtype=xt.dtype) for layer in pt.values()]
    for layer, given in zip(layers, pt.values(), strict=True):
        layer.load_state_dict(given)
    module = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())][:-1])
    paths = [f"layer{i}/{kind}" for i in range(len(layers)) for kind in ("weight", "bias")]
    mapping = tuple(zip([name for name, _ in module.named_parameters()], paths, strict=True))

    def walk() -> dict[str, torch.Tensor]:
        module.zero_grad()
        ((module(xt) - yt) ** 2).mean().backward()
        return {name: parameter.grad for name, parameter in module.named_parameters()}

    return Problem(
        [
            ours(functools.partial(gradient.named_gradients, loss, mapping=mapping), p, x, y, read=dict),
            in_torch("torch.nn.Module", walk),
        ],
        gradient=unit(p, x, y),
    )


def input_problem(size: Sizes) -> Problem:
    """The gradient of the input of a whole batch against both of torch's spellings."""
    (p, _, x, y), (pt, _, xt, yt) = draw(size)
    leaf = xt.clone().requires_grad_()
    return Problem(
        [
            ours(functools.partial(gradient.input_gradient, loss), p, x, y),
            in_torch("torch.autograd", lambda: autograd(loss_torch(pt, leaf, yt), leaf)),
            in_torch("torch.func", lambda: torch.func.grad(loss_torch, argnums=1)(pt, xt, yt)),
        ],
        gradient=unit(p, x, y),
    )


def mixed_problem(size: Sizes) -> Problem:
    """The input gradient of a parameter gradient's product against double backward and forward over reverse."""
    (p, v, x, y), (pt, vt, xt, yt) = draw(size)
    slope_of = torch.func.grad(loss_torch, argnums=1)
    return Problem(
        [
            ours(functools.partial(gradient.mixed_product, loss), p, v, x, y),
            in_torch("torch_ref", lambda: torch_ref.gradient.mixed_product(loss_torch, pt, vt, xt, yt)),
            in_torch("torch.func", lambda: torch.func.jvp(lambda q: slope_of(q, xt, yt), (pt,), (vt,))[1]),
        ],
        gradient=unit(p, x, y),
    )


def squared_problem(size: Sizes) -> Problem:
    """The squared gradient norm and its gradient against double backward and forward over reverse."""
    (p, _, x, y), (pt, _, xt, yt) = draw(size)
    slope_of = torch.func.grad(loss_torch)

    def forward_over_reverse() -> Any:
        slope = slope_of(pt, xt, yt)
        product = torch.func.jvp(lambda q: slope_of(q, xt, yt), (pt,), (slope,))[1]
        return sum((g**2).sum() for g in pytree.tree_leaves(slope)), pytree.tree_map(lambda leaf: 2 * leaf, product)

    return Problem(
        [
            ours(functools.partial(gradient.squared_norm_gradient, loss), p, x, y),
            in_torch("torch_ref", lambda: torch_ref.gradient.squared_norm_gradient(loss_torch, pt, xt, yt)),
            in_torch("torch.func", forward_over_reverse),
        ],
        gradient=unit(p, x, y),
    )


def penalty(params: Any, x: Any) -> Any:
    """The WGAN-GP penalty of the network's first output."""
    return gradient.gradient_penalty(lambda params, x: mlp_jax(params, x)[0], params, x)


def penalty_problem(size: Sizes) -> Problem:
    """The parameter gradient of the WGAN-GP penalty against the batched torch idiom and ``torch.func``."""
    (p, _, x, y), (pt, _, xt, _) = draw(size)
    leaf, points = tracked(pt), xt.clone().requires_grad_()

    def idiom() -> Any:
        slope = autograd(mlp_torch(leaf, points)[:, 0].sum(), points, create_graph=True)
        return autograd(((slope.norm(dim=1) - 1) ** 2).mean(), leaf, materialize_grads=True)

    def mapped(params: Any) -> Any:
        slope = torch.func.vmap(torch.func.grad(lambda x: mlp_torch(params, x)[0]))(xt)
        return ((slope.norm(dim=1) - 1) ** 2).mean()

    return Problem(
        [
            ours(functools.partial(gradient.parameter_gradient, penalty), p, x),
            in_torch("torch.autograd", idiom),
            in_torch("torch.func", lambda: torch.func.grad(mapped)(pt)),
        ],
        gradient=unit(p, x, y),
    )


def jacobian_problem(size: Sizes) -> Problem:
    """The Jacobian of a batch of outputs by the parameters against ``torch.func.jacrev``."""
    (p, _, x, y), (pt, _, xt, _) = draw(size)
    return Problem(
        [
            ours(functools.partial(gradient.jacobian, mlp_jax), p, x),
            in_torch("torch.func", lambda: torch.func.jacrev(mlp_torch)(pt, xt)),
        ],
        gradient=unit(p, x, y),
    )


def clipping_problem(size: Sizes) -> Problem:
    """Clipping a tree of gradients by its norm against optax and torch's fused lists of tensors."""
    (t, *_), (tt, *_) = draw(size)
    rival = jax.jit(lambda tree: optax.clip_by_global_norm(1.0).update(tree, optax.EmptyState())[0])
    leaves, structure = pytree.tree_flatten(tt)

    def fused() -> Any:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(leaves)))
        return pytree.tree_unflatten(torch._foreach_mul(leaves, torch.clamp(1.0 / (norm + 1e-6), max=1.0)), structure)

    return Problem(
        [
            ours(functools.partial(gradient.clip_by_global_norm, max_norm=1.0), t, read=lambda pair: pair[0]),
            Contender("optax", "jax", lambda: rival(t), Program(rival, (t,))),
            in_torch("torch.foreach", fused),
        ],
        # torch and we divide by the norm and 1e-6, optax by the norm
        agreement=1e-6,
    )


def step_problem(size: Sizes) -> Problem:
    """One descent step to a new tree against torch's, out of place too."""
    (p, _, x, y), (pt, _, xt, yt) = draw(size)
    leaf = tracked(pt)

    def step() -> Any:
        slopes = autograd(loss_torch(leaf, xt, yt), leaf)
        return pytree.tree_map(lambda old, slope: old.detach() - 0.1 * slope, leaf, slopes)

    return Problem(
        [
            ours(functools.partial(gradient.descent_step, loss, learning_rate=0.1), p, x, y),
            in_torch("torch.autograd", step),
        ],
        gradient=unit(p, x, y),
    )


MLP, SMALL = {"mlp": (784, 512, 512, 10), "batch": 256}, {"mlp": (64, 128, 10), "batch": 32}


def row(name: str, build: Callable[[Sizes], Problem], template: str = "MLP {mlp}, batch {batch}") -> Row:
    """Return a row on the network of the family."""
    return Row(name, template, build, MLP, SMALL)


ROWS = [
    row("parameter_gradient", parameter_problem),
    row("named_gradients", named_problem),
    row("input_gradient", input_problem),
    row("mixed_product", mixed_problem),
    row("squared_norm_gradient", squared_problem),
    row("gradient_penalty", penalty_problem, "its parameter gradient, MLP {mlp}, batch {batch}"),
    Row(
        "jacobian",
        "MLP {mlp}, batch {batch}",
        jacobian_problem,
        {"mlp": (32, 64, 64, 4), "batch": 16},
        {"mlp": (8, 16, 2), "batch": 4},
    ),
    Row(
        "clip_by_global_norm",
        "the weights of an MLP {mlp}",
        clipping_problem,
        {"mlp": (784, 2048, 2048, 2048, 10), "batch": 1},
        {"mlp": (64, 128, 10)},
    ),
    row("descent_step", step_problem),
]
