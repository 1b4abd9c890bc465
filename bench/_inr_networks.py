"""Rows of the family ``inr`` for the networks that are fields, and for many fields at once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

import torch_ref.models
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Row, Sizes
from jaxgrad import inr, models
from jaxgrad.models import linen

__all__ = ["ROWS"]

NETWORKS = ("Finer", "FourierFeatures", "GaussianField", "HashGrid", "PositionalReLU", "Siren", "Staf", "Wire")


def network(name: str, sizes: tuple[int, ...], dtype: Any) -> tuple[Any, Any, Any]:
    """Return a network in JAX with its parameters, and its twin with the same."""
    torch.manual_seed(0)
    twin = getattr(torch_ref.models, name)(sizes).to(getattr(torch, np.dtype(dtype).name))
    ours = getattr(linen, name)(sizes, param_dtype=dtype)
    shapes = dict(jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, 2), dtype)))
    held = {"params": models.mapping_for(twin, shapes["params"]).to_jax(twin.state_dict())}
    if "constants" in shapes:
        held["constants"] = {"frequencies": jnp.asarray(twin.frequencies.cpu().numpy())}
    return *models.from_linen(ours, variables=held), twin


def step_problem(name: str, size: Sizes) -> Problem:
    """A gradient-matching step's gradient by the parameters; the unit is that of fitting by value."""
    rng, count, dtype = np.random.default_rng(0), size.points, size.dtype
    drawn = rng.uniform(-1, 1, (count, 2)), rng.uniform(size=(count, 3)), rng.normal(size=(count, 3, 2))

    apply_fn, params, twin = network(name, size.field, dtype)
    mapping = models.mapping_for(twin, params)
    x, values, slopes = to_jax(drawn, dtype)
    xt, _, slopes_t = to_torch(drawn, dtype)
    step = jax.jit(jax.grad(functools.partial(inr.gradient_loss, apply_fn)))
    unit = jax.jit(jax.grad(functools.partial(inr.value_loss, apply_fn)))
    leaves, buffers = dict(twin.named_parameters()), dict(twin.named_buffers())

    def at_point(own: Any, point: Any) -> Any:
        # a batch of one: an index without axes is none that vmap takes
        return functional_call(twin, {**own, **buffers}, (point[None],))[0]

    def theirs() -> Any:
        loss = ((vmap(jacrev(at_point, argnums=1), (None, 0))(leaves, xt) - slopes_t) ** 2).mean()
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    args, by_value = (params, x, slopes), (params, x, values)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(*args), Program(step, args)),
            Contender("torch.func vmap(jacrev)", "torch", theirs, read=mapping.gradients_to_jax),
        ],
        gradient=Contender("gradient by value", "jax", lambda: unit(*by_value), Program(unit, by_value)),
    )


def many_problem(size: Sizes) -> Problem:
    """Several fields with as many targets in one step; the unit is the step of one."""
    fields, count, sizes, dtype = size.fields, size.points, size.siren, size.dtype
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (count, 2)).astype(dtype)
    targets = rng.uniform(size=(fields, count, 1)).astype(dtype)
    ours = linen.Siren(sizes, param_dtype=dtype)
    stacked = jax.vmap(ours.init, (0, None))(jax.random.split(jax.random.key(0), fields), x)["params"]
    apply_fn, one = models.from_linen(ours, jnp.asarray(x), key=jax.random.key(0))
    twin = torch_ref.models.Siren(sizes).to(getattr(torch, dtype.name))
    mapping = models.mapping_for(twin, one)
    each = [mapping.to_torch(jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(fields)]
    stacked_t = {key: to_torch(np.stack([own[key] for own in each])) for key in each[0]}
    xt, targets_t = to_torch((x, targets))

    def loss(params: Any, values: Any) -> Any:
        return inr.value_loss(apply_fn, params, x, values)

    def loss_torch(params: Any, values: Any) -> Any:
        return ((functional_call(twin, params, (xt,)) - values) ** 2).mean()

    step, unit = jax.jit(jax.vmap(jax.grad(loss))), jax.jit(jax.grad(loss))
    theirs = vmap(torch.func.grad(loss_torch))

    def one_by_one() -> Any:
        found = [unit(jax.tree.map(lambda leaf, i=i: leaf[i], stacked), targets[i]) for i in range(fields)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

    def read(found: Any) -> Any:
        rows = [mapping.gradients_to_jax({key: leaf[i] for key, leaf in found.items()}) for i in range(fields)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    args = stacked, jnp.asarray(targets)
    first = jax.tree.map(lambda leaf: leaf[0], args)
    return Problem(
        [
            Contender("jaxgrad", "jax", lambda: step(*args), Program(step, args)),
            Contender("a loop over fields", "jax", one_by_one),
            Contender("torch.func.vmap", "torch", lambda: theirs(stacked_t, targets_t), read=read),
        ],
        gradient=Contender("one field", "jax", lambda: unit(*first), Program(unit, first)),
    )


ROWS = [
    *(
        Row(
            f"gradient_loss of {name}",
            "{field}, {points} points, gradient by weights",
            functools.partial(step_problem, name),
            # those of the papers, a small one behind a grid
            {"field": (2, 64, 64, 3) if name == "HashGrid" else (2, 256, 256, 256, 256, 3), "points": 4096},
            {"field": (2, 16, 16, 3), "points": 64},
            {"points": 512},
        )
        for name in NETWORKS
    ),
    Row(
        "value_loss of many fields",
        "{fields} SIRENs {siren}, {points} points, gradient by weights",
        many_problem,
        {"fields": 8, "siren": (2, 64, 64, 64, 1), "points": 1024},
        {"fields": 2, "siren": (2, 16, 16, 1), "points": 64},
    ),
]
