# ruff: noqa: E501 - weights of whole networks, a line each
"""How a difference is planted: networks with options on either side, losses, weights converted wrongly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch.nn import functional as f

from jaxgrad.verify import pair
from tests.verify.mutations import models_jax as mj
from tests.verify.mutations import models_torch as mt

FIRST = ("value", "gradient", "input_gradient")


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A planted difference."""

    name: str
    build: Callable[[], Any]
    """Returns the pair."""
    paths: tuple[str, ...]
    """The first layers that are right."""
    causes: tuple[str, ...]
    """The causes that are right."""
    what: tuple[str, ...] = FIRST
    dtypes: tuple[str, ...] = ("float64",)


def batch_of(kind: str, seed: int = 0):
    """Draw a batch for a kind of network: axes of different lengths, so that no exchange goes unseen."""
    rng = np.random.default_rng(seed)
    if kind == "mlp":
        return rng.normal(size=(5, 6)), rng.normal(size=(5, 3))
    if kind == "cnn":
        return rng.normal(size=(3, 3, 8, 12)), rng.integers(0, 4, 3)
    tokens = rng.integers(1, 11, (3, 7))
    return tokens, rng.integers(0, 11 if kind == "transformer" else 4, (3, 7))


NETWORKS = {"mlp": (mt.Mlp, mj.Mlp), "cnn": (mt.Cnn, mj.Cnn), "transformer": (mt.Transformer, mj.Transformer),
            "rnn": (mt.Tagger, mj.Tagger)}  # fmt: skip


def planted(kind: str, ours: dict | None = None, theirs: dict | None = None, *, setup: Any = None, **given: Any):
    """Return a function that builds the pair of a network with options on either side."""

    def build():
        torch.manual_seed(0)
        make_torch, make_jax = NETWORKS[kind]
        module = make_torch(**(theirs or {})).eval()
        if setup is not None:
            setup(module)
        options = {"loss": "mse" if kind == "mlp" else "cross_entropy", "batch": batch_of(kind), **given}
        model = make_jax(ours)
        if "variables" in options:
            model = (model, options.pop("variables")(module))
            options["weights"] = "own"
        return pair(torch=module, jax=model, **options)

    return build


def matched(kind: str):
    """Return the pair of a network without any difference."""
    return planted(kind)()


def stop(x):
    return jax.lax.stop_gradient(x)


@jax.custom_vjp
def doubled(x):
    return fnn.gelu(x, approximate=False)


doubled.defvjp(
    lambda x: (fnn.gelu(x, approximate=False), x),
    lambda x, g: (2 * g * jax.grad(lambda a: fnn.gelu(a, approximate=False).sum())(x),),
)


def zero_unit(module):
    """Give one unit a pre-activation of exactly zero, and keep the bias from being constant."""
    with torch.no_grad():
        module.fc1.weight[0] = 0
        module.fc1.bias.uniform_(0.1, 0.2)
        module.fc1.bias[0] = 0


def freeze(module):
    module.head.weight.requires_grad_(False)


def constant_output(module):
    """Make the first output the constant 0.5, so that a residual can be exactly zero."""
    with torch.no_grad():
        module.head.weight[0] = 0
        module.head.bias.copy_(torch.tensor([0.5, 0.2, 0.3]))


def square_transposed(module):
    """Convert the weights with the square kernel left as it is."""
    return {"params": {
        name: {"kernel": jnp.asarray(np.array(w.weight.detach().double().numpy().T)), "bias": w.bias.detach().double().numpy()}
        for name, w in (("fc1", module.fc1), ("head", module.head))
    } | {
        "fc2": {"kernel": module.fc2.weight.detach().double().numpy(), "bias": module.fc2.bias.detach().double().numpy()},
        "ln": {"scale": module.ln.weight.detach().double().numpy(), "bias": module.ln.bias.detach().double().numpy()},
    }}  # fmt: skip


def flatten_forgotten(module):
    """Convert the weights without turning the rows of the layer behind the flattened image."""
    made = planted("cnn")().weights("float64")
    params = jax.tree.map(np.asarray, made[0])
    params["fc"]["kernel"] = module.fc.weight.detach().double().numpy().T
    statistics = {"bn": {"mean": np.zeros(8), "var": np.ones(8)}}
    state = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
    for name in ("conv1", "conv2"):
        params[name] = {"kernel": state[f"{name}.weight"].transpose(2, 3, 1, 0), "bias": state[f"{name}.bias"]}
    for name in ("bn", "gn"):
        params[name] = {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}
    params["fc"]["bias"] = state["fc.bias"]
    return {"params": params, "batch_stats": statistics}


def ce_jax(z, t):
    return optax.softmax_cross_entropy_with_integer_labels(z, t)


def ce_torch(z, t, **options):
    return f.cross_entropy(z.reshape(-1, z.shape[-1]), t.reshape(-1), **options)


def adam(lr=1e-2, **options):
    return lambda p: torch.optim.Adam(p, lr=lr, **options)


def stepped(name, theirs, ours, paths, causes, *, what=("step",), setup=None, clip=None, ours_options=None):
    """A difference in the optimizer, on the dense network."""
    return Mutation(
        name,
        planted("mlp", ours_options, optimizer=(theirs, ours), clip=clip, setup=setup),
        paths,
        causes,
        what,
    )


def fomaml(loss_fn, params, *batch):
    """MAML whose inner gradient is stopped."""
    for _ in range(2):
        gradient = stop(jax.grad(loss_fn)(params, *batch))
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient)
    return jax.grad(loss_fn)(params, *batch)


def maml_torch(loss_fn, params, *batch):
    adapted = dict(params)
    for _ in range(2):
        gradient = torch.autograd.grad(loss_fn(adapted, *batch), list(adapted.values()), create_graph=True)
        adapted = {n: p - 0.05 * g for (n, p), g in zip(adapted.items(), gradient, strict=True)}
    found = torch.autograd.grad(loss_fn(adapted, *batch), list(params.values()))
    return dict(zip(params, found, strict=True))


def rows_torch(loss_fn, params, *batch):
    rows = [
        torch.autograd.grad(loss_fn(params, *(x[i : i + 1] for x in batch)), list(params.values())) for i in range(4)
    ]
    return {n: torch.stack([r[k] for r in rows]) for k, n in enumerate(params)}


def rows_divided(loss_fn, params, *batch):
    """Per-example gradients of the mean over the batch, each too small by the batch size."""

    def one(*example):
        return jax.grad(lambda p: loss_fn(p, *(x[None] for x in example)) / len(batch[0]))(params)

    return jax.vmap(one)(*(x[:4] for x in batch))
