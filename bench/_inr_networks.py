"""Rows of the family ``inr`` for the networks that are fields, and for many fields at once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

import torch_ref.models
from bench._row import Contender, Problem, Program, Row
from jaxgrad import inr, models
from jaxgrad.models import linen

__all__ = ["ROWS"]

NETWORKS = ("Finer", "FourierFeatures", "GaussianField", "HashGrid", "PositionalReLU", "Siren", "Staf", "Wire")


def sizes_of(name: str, quick: bool) -> tuple[int, ...]:
    """Return the sizes of a network: those of the papers, a small one behind a grid."""
    if quick:
        return (2, 16, 16, 3)
    return (2, 64, 64, 3) if name == "HashGrid" else (2, 256, 256, 256, 256, 3)


def network(name: str, quick: bool, dtype: Any) -> tuple[Any, Any, Any]:
    """Return a network in JAX with its parameters, and its twin with the same."""
    torch.manual_seed(0)
    sizes = sizes_of(name, quick)
    twin = getattr(torch_ref.models, name)(sizes).to(torch.float64 if dtype == np.float64 else torch.float32)
    ours = getattr(linen, name)(sizes, param_dtype=dtype)
    shapes = dict(jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, 2), dtype)))
    held = {"params": models.mapping_for(twin, shapes["params"]).to_jax(twin.state_dict())}
    if "constants" in shapes:
        held["constants"] = {"frequencies": jnp.asarray(twin.frequencies.numpy())}
    return *models.from_linen(ours, variables=held), twin


def step_problem(name: str, quick: bool) -> Problem:
    """A gradient-matching step's gradient by the parameters; the unit is that of fitting by value."""
    rng, count = np.random.default_rng(0), 64 if quick else 4096
    drawn = rng.uniform(-1, 1, (count, 2)), rng.uniform(size=(count, 3)), rng.normal(size=(count, 3, 2))

    def contenders(dtype: Any) -> tuple[list[Contender], Contender]:
        apply_fn, params, twin = network(name, quick, dtype)
        mapping = models.mapping_for(twin, params)
        x, values, slopes = (jnp.asarray(part, dtype) for part in drawn)
        xt, _, slopes_t = (torch.from_numpy(part.astype(dtype)) for part in drawn)
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

        args = params, x, slopes
        both = [
            Contender("jaxgrad", "jax", lambda: step(*args), Program(step, args)),
            Contender("vmap(jacrev)", "torch", theirs, read=mapping.gradients_to_jax),
        ]
        by_value = params, x, values
        return both, Contender("gradient by value", "jax", lambda: unit(*by_value), Program(unit, by_value))

    both, unit = contenders(np.float32)
    # a ReLU's kink, or the edge of a cell, may lie on either side of a point in float32
    return Problem(both, gradient=unit, in_float64=lambda: contenders(np.float64)[0])


def many_problem(quick: bool) -> Problem:
    """Eight fields with eight targets in one step; the unit is the step of one."""
    fields, count = (2, 64) if quick else (8, 1024)
    sizes = (2, 16, 16, 1) if quick else (2, 64, 64, 64, 1)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    targets = rng.uniform(size=(fields, count, 1)).astype(np.float32)
    ours = linen.Siren(sizes)
    stacked = jax.vmap(ours.init, (0, None))(jax.random.split(jax.random.key(0), fields), x)["params"]
    apply_fn, one = models.from_linen(ours, jnp.asarray(x), key=jax.random.key(0))
    twin = torch_ref.models.Siren(sizes)
    mapping = models.mapping_for(twin, one)
    each = [mapping.to_torch(jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(fields)]
    stacked_t = {key: torch.from_numpy(np.stack([own[key] for own in each])) for key in each[0]}
    xt, targets_t = torch.from_numpy(x), torch.from_numpy(targets)

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
        agreement=1e-3,
    )


ROWS = [
    *(
        Row(
            f"gradient_loss of {name}",
            f"{'-'.join(map(str, sizes_of(name, False)))}, 4096 points, gradient by weights",
            functools.partial(step_problem, name),
        )
        for name in NETWORKS
    ),
    Row("value_loss of 8 fields", "SIREN 2-64x3-1, 1024 points, gradient by weights", many_problem),
]
