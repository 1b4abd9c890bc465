"""Rows of the family ``curvature``."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as pytree

import torch_ref.curvature
from bench import _curvature_estimates, _curvature_least_squares
from bench import _curvature_problems as problems
from bench._inputs import to_jax, to_torch
from bench._rivals import KFAC_JAX
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import curvature
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params, mlp_torch


def loss(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def loss_torch(params: Any, x: Any, y: Any) -> Any:
    """Mean squared error of the tanh network, in torch."""
    return ((mlp_torch(params, x) - y) ** 2).mean()


def hvp_problem(size: Sizes) -> Problem:
    """Hessian-vector product against double backward and torch's forward over reverse."""
    sizes, batch = size.mlp, size.batch
    rng = np.random.default_rng(0)
    trees = (
        mlp_params(sizes, 0),
        mlp_params(sizes, 1),
        rng.normal(size=(batch, sizes[0])),
        rng.normal(size=(batch, sizes[-1])),
    )
    p, v, x, y = to_jax(trees, size.dtype)
    pt, vt, xt, yt = to_torch(trees, size.dtype)
    gradient = jax.jit(jax.grad(loss))
    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: curvature.hvp(loss, p, v, x, y),
                Program(functools.partial(curvature.hvp, loss), (p, v, x, y)),
            ),
            Contender("torch_ref", "torch", lambda: torch_ref.curvature.hvp(loss_torch, pt, vt, xt, yt)),
            Contender(
                "torch.func",
                "torch",
                lambda: torch.func.jvp(torch.func.grad(lambda q: loss_torch(q, xt, yt)), (pt,), (vt,))[1],
            ),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


def dense_hessian_problem(size: Sizes) -> Problem:
    """The whole Hessian of a small network against torch's row by row and its vectorised form."""
    sizes, batch = size.mlp, size.batch
    rng = np.random.default_rng(0)
    trees = (mlp_params(sizes, 0), rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])))
    p, x, y = to_jax(trees, size.dtype)
    pt, xt, yt = to_torch(trees, size.dtype)
    in_jax_order = {name: dict(sorted(leaf.items())) for name, leaf in pt.items()}
    flat, structure = pytree.tree_flatten(in_jax_order)
    shapes = [leaf.shape for leaf in flat]
    gradient = jax.jit(jax.grad(loss))

    def loss_of_flat(vector: Any) -> Any:
        parts = vector.split([shape.numel() for shape in shapes])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return loss_torch(pytree.tree_unflatten(leaves, structure), xt, yt)

    whole = torch.cat([leaf.reshape(-1) for leaf in flat])
    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: curvature.dense_hessian(loss, p, x, y),
                Program(functools.partial(curvature.dense_hessian, loss), (p, x, y)),
            ),
            Contender(
                "torch_ref", "torch", lambda: torch_ref.curvature.dense_hessian(loss_torch, in_jax_order, xt, yt)
            ),
            Contender("torch.func", "torch", lambda: torch.func.hessian(loss_of_flat)(whole)),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


DENSE, RELU = "MLP {mlp}, batch {batch}", "ReLU MLP {mlp}, batch {batch}"
IMAGES = "CNN {side}x{side}, {channels} channels, {hidden} dense, batch {batch}"
NETWORK, TINY = {"mlp": (784, 512, 512, 10), "batch": 256}, {"mlp": (64, 128, 10), "batch": 32}
MLP = RELU, {"mlp": (784, 784, 512, 10), "batch": 256}, TINY
WIDE = RELU, {"mlp": (784, 2500, 2500, 10), "batch": 256}, {"mlp": (64, 256, 10), "batch": 32}
CNN = (
    IMAGES,
    {"side": 28, "channels": (16, 32), "hidden": 128, "batch": 256},
    {"side": 8, "channels": (4, 8), "hidden": 16, "batch": 16},
    {"batch": 32},  # what is compared: XLA's convolutions in float64 take half a minute for the whole batch
)
FEW_WEIGHTS, FEWER = {"mlp": (8, 16, 16, 1), "batch": 256}, {"mlp": (4, 8, 1), "batch": 32}


def product(name: str, build: Callable[[Sizes], Problem], network: Any, vectors: int | None = None) -> Row:
    """A row on one of the networks, of one vector or of several."""
    template, full, *other = network
    return Row(name, template + ", {vectors} vectors" * bool(vectors), build, {**full, "vectors": vectors}, *other)


def of_product(kind: str) -> Callable[[Sizes], Problem]:
    """Return the build of a product."""
    return functools.partial(problems.product_problem, kind)


def row(name: str, build: Callable[[Sizes], Problem], template: str = DENSE, **more: Any) -> Row:
    """A row on the dense network."""
    return Row(name, template, build, {**NETWORK, **more}, TINY)


def kronecker_inputs(size: Sizes) -> tuple[Any, ...]:
    """Return a network, a vector and a batch for both frameworks."""
    sizes, batch = size.mlp, size.batch
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])))
    trees = (mlp_params(sizes, 0), mlp_params(sizes, 1), *data)
    return *to_jax(trees, size.dtype), *to_torch(trees, size.dtype)


def sides_torch(params: Any, x: Any, y: Any) -> dict[str, tuple[Any, Any]]:
    """Return what enters every layer and the cotangents of what leaves it, by one backward pass by hand."""
    inputs, outputs = {}, {}
    leaves = jax.tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
    for i, (name, layer) in enumerate(leaves.items()):
        x = torch.tanh(x) if i else x
        inputs[name] = x.detach()
        x = outputs[name] = torch.nn.functional.linear(x, layer["weight"], layer["bias"])
    total = ((x - y) ** 2).mean(1).sum()
    cotangents = torch.autograd.grad(total, list(outputs.values()))
    return {f"{name}/weight": (inputs[name], b) for name, b in zip(inputs, cotangents, strict=True)}


def factors_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the factors of the weights, and the blocks of the biases."""
    sides = sides_torch(params, x, y)
    found = {path: (a.T @ a / len(x), b.T @ b / len(x)) for path, (a, b) in sides.items()}
    return found | {path.replace("weight", "bias"): b for path, (_, b) in found.items()}


def used_torch(params: Any, x: Any, y: Any) -> Any:
    """Return the loss of one example, and the uses of the weights, for the twin."""
    uses: dict[str, list[Any]] = {}
    for i, (name, layer) in enumerate(sorted(params.items())):
        entering = (torch.tanh(x) if i else x)[None]
        leaving = entering @ layer["weight"].T + layer["bias"]
        uses[f"{name}/weight"], x = [(entering, leaving)], leaving[0]
    return ((x - y) ** 2).mean(), uses


def held(factors: Any) -> Any:
    """Return the factors of the weights, and the blocks of the biases, as torch has them."""
    forms = factors.about.leaves
    return {
        f.path: tuple(side[0] for side in factors.pair(f.path)) if f.form == "kronecker" else factors.block(f.path)
        for f in forms
    }


def kfac_problem(size: Sizes) -> Problem:
    """The factors of a batch against the same by hand, with a backward pass of the whole batch, and by loops."""
    p, _, x, y, pt, _, xt, yt = kronecker_inputs(size)
    gradient = jax.jit(jax.grad(loss))
    ours = functools.partial(curvature.kfac, loss)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, x, y), Program(ours, (p, x, y)), held),
            Contender("torch by hand", "torch", lambda: factors_torch(pt, xt, yt)),
            Contender("torch_ref", "torch", lambda: torch_ref.curvature.kfac(used_torch, pt, xt, yt)),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
        absent={"kfac-jax": KFAC_JAX},
    )


def kfac_product_problem(size: Sizes) -> Problem:
    """The product of Kronecker factors with a vector."""
    p, v, x, y, pt, vt, xt, yt = kronecker_inputs(size)
    gradient, factors, by_hand = jax.jit(jax.grad(loss)), curvature.kfac(loss, p, x, y), factors_torch(pt, xt, yt)

    def product_torch() -> Any:
        return {
            name: {
                "weight": by_hand[f"{name}/weight"][1] @ layer["weight"] @ by_hand[f"{name}/weight"][0],
                "bias": by_hand[f"{name}/bias"] @ layer["bias"],
            }
            for name, layer in vt.items()
        }

    return Problem(
        [
            Contender(
                "jaxgrad",
                "jax",
                lambda: factors.product(v),
                Program(lambda factors, v: factors.product(v), (factors, v)),
            ),
            Contender("torch by hand", "torch", product_torch),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


def ekfac_problem(size: Sizes) -> Problem:
    """The correction of the eigenvalues, with its eigendecompositions; the traces of the blocks are compared."""
    p, _, x, y, pt, _, xt, yt = kronecker_inputs(size)
    gradient = jax.jit(jax.grad(loss))
    ours = functools.partial(curvature.ekfac, loss, wrt="*/weight")

    def corrected_torch() -> Any:
        found = []
        for a, b in sides_torch(pt, xt, yt).values():
            bases = [torch.linalg.eigh(side.T @ side / len(xt))[1] for side in (b, a)]
            left, right = ((side @ basis) ** 2 for side, basis in zip((b, a), bases, strict=True))
            found.append(left.T @ right / len(xt))
        return found

    def traces(result: Any) -> Any:
        return [leaf.corrected.sum() for leaf in result.leaves]

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, x, y), Program(ours, (p, x, y)), traces),
            Contender("torch by hand", "torch", corrected_torch, None, lambda found: [leaf.sum() for leaf in found]),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


def error_of_one(params: Any, x: Any, y: Any) -> Any:
    """Squared error of one example."""
    return jnp.mean((mlp_jax(params, x) - y) ** 2)


def influence_problem(size: Sizes) -> Problem:
    """Scores of some tests against a training batch, with the gradients of both formed by torch."""
    p, _, x, y, pt, _, xt, yt = kronecker_inputs(size)
    gradient, tests = jax.jit(jax.grad(loss)), size.tests

    def scores_torch() -> Any:
        one = torch.func.grad(lambda q, x, y: ((mlp_torch(q, x) - y) ** 2).mean())
        rows = torch.func.vmap(one, (None, 0, 0))(pt, xt, yt)
        flat = torch.cat([leaf.flatten(1) for leaf in pytree.tree_leaves(rows)], 1)
        return -(flat[:tests] @ flat.T) / len(xt)

    def ours(p: Any, x: Any, y: Any) -> Any:
        return curvature.influence(error_of_one, p, (x, y), (x[:tests], y[:tests]))

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, x, y), Program(ours, (p, x, y))),
            Contender("torch vmap(grad), a product", "torch", scores_torch),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


def predictive_problem(size: Sizes) -> Problem:
    """Covariances of the outputs under Laplace's approximation, with torch's Jacobians and the same factors."""
    p, _, x, y, pt, _, xt, yt = kronecker_inputs(size)
    gradient, tests, prior = jax.jit(jax.grad(loss)), size.tests, {"prior_precision": 50.0, "num_examples": 100}
    eigen, by_hand = curvature.kfac(loss, p, x, y).eigen(), factors_torch(pt, xt, yt)
    ours = functools.partial(curvature.predictive_covariance, mlp_jax, **prior)
    roots = {
        path: [torch.linalg.eigh(side) for side in (f if isinstance(f, tuple) else (f,))] for path, f in by_hand.items()
    }

    def covariance_torch() -> Any:
        rows = torch.func.vmap(torch.func.jacrev(mlp_torch), (None, 0))(pt, xt[:tests])
        total = 0
        for name, layer in rows.items():
            (a, u), (b, v) = roots[f"{name}/weight"]
            turned = v.T @ layer["weight"] @ u / torch.sqrt(torch.outer(b, a) + 0.5)
            (b, v), bias = roots[f"{name}/bias"][0], layer["bias"]
            flat = torch.cat([turned.flatten(2), bias @ v / torch.sqrt(b + 0.5)], 2)
            total = total + flat @ flat.transpose(1, 2)
        return total / prior["num_examples"]

    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: ours(p, eigen, x[:tests]), Program(ours, (p, eigen, x[:tests]))),
            Contender("torch jacrev, factors", "torch", covariance_torch),
        ],
        gradient=Contender("jax.grad", "jax", lambda: gradient(p, x, y), Program(gradient, (p, x, y))),
    )


ROWS = [
    row("hvp", hvp_problem),
    *(product("hvp", of_product("hvp"), network) for network in (MLP, WIDE, CNN)),
    *(product("hvp", of_product("hvp"), network, 8) for network in (MLP, CNN)),
    *(product("ggn_product", of_product("ggn_product"), network) for network in (MLP, CNN)),
    *(product("ggn_product", of_product("ggn_product"), network, 8) for network in (MLP, CNN)),
    product("fisher_product", of_product("fisher_product"), MLP),
    *(
        product(f"linearize {kind}", functools.partial(problems.linearized_problem, kind), network)
        for kind in ("hvp", "ggn_product")
        for network in (MLP, CNN)
    ),
    product("jacobian_product", problems.jacobian_problem, MLP),
    Row(
        "over_dataset",
        f"ggn_product, {RELU}, {{batches}} batches",
        problems.dataset_problem,
        {**MLP[1], "batches": 64},
        {**TINY, "batches": 4},
        {"batches": 8},
    ),
    Row("dense_hessian", DENSE, dense_hessian_problem, FEW_WEIGHTS, FEWER),
    *_curvature_estimates.ROWS,
    row("kfac", kfac_problem),
    row("kfac product", kfac_product_problem, "MLP {mlp}, factors of a batch of {batch}"),
    row("ekfac", ekfac_problem),
    *_curvature_least_squares.ROWS,
    row("influence", influence_problem, "MLP {mlp}, {batch} training and {tests} test examples", tests=16),
    Row(
        "predictive_covariance",
        "MLP {mlp}, {tests} examples",
        predictive_problem,
        # every factor is turned for every example and output: the dense network of the other rows takes 4 s a call
        {"mlp": (784, 128, 128, 10), "batch": 256, "tests": 16},
        {**TINY, "tests": 4},
    ),
]
