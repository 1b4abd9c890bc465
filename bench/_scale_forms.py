"""What is computed on many devices, and on one to compare with: five functions on examples that no count divides.

A batch is filled up to a multiple of the devices with rows that count for nothing, each function by what it offers:
`per_example.clipped_sum` by ``is_padding=``, `curvature.over_dataset` by weights, `meta.maml_gradient` by a weight that
the loss of the query multiplies with, a loss of `inr` by points where the field is zero, and so is its target.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from jaxgrad import curvature, inr, meta, per_example, shift
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params

__all__ = ["AXIS", "FORMS", "PLACEMENTS", "Form", "counts", "filled", "gradient_bytes", "partition", "placements_of"]

AXIS = "data"
"""The one axis of the mesh: examples, tasks, points and, for FSDP, parameters lie along it."""

PLACEMENTS = ("shard_map", "jit, Auto axes", "jit, Explicit axes")
"""The ways to lay out a computation."""


@dataclass(frozen=True)
class Form:
    """One function, on one device and on many."""

    name: str
    what: str
    """The problem in a few words."""
    inputs: Callable[[int], tuple[Any, ...]]
    """The arguments for a number of examples, parameters first; NumPy's, in float64."""
    alone: Callable[..., Any]
    """What one device computes on them."""
    padded: Callable[[tuple[Any, ...], int], tuple[Any, ...]]
    """Those arguments, filled up for a number of devices, with what says which rows count."""
    call: Callable[..., Any]
    """``call(*padded, axis_name=)``: the same on many devices."""
    specs: tuple[Any, ...]
    """Where the padded arguments lie."""
    out_specs: Any
    """Where the result lies."""
    read: Callable[[Any, int], Any] = field(default=lambda result, _: result)
    """The result without the rows that fill up."""
    count: int = 61
    """Examples: a prime."""
    placements: tuple[str, ...] = PLACEMENTS


def placements_of(form: Form, wanted: Sequence[str]) -> list[str]:
    """Return the ways to lay out a form that are wanted; one that has none of these is laid out its own way."""
    return [one for one in form.placements if one in wanted] or list(form.placements)


def partition(params: Any, devices: int) -> Any:
    """Return where the leaves of FSDP's parameters lie: in parts along the first axis that can be divided, if any."""

    def spec(leaf: Any) -> P:
        fits = [i for i, size in enumerate(leaf.shape) if size % devices == 0]
        return P(*[None] * fits[0], AXIS) if fits else P()

    return jax.tree.map(spec, params)


def filled(rows: Any, devices: int) -> Any:
    """Fill up rows to a multiple of the devices, with copies: nothing that is not finite comes in by them."""
    more = -len(rows) % devices
    return np.concatenate([rows, rows[:1].repeat(more, axis=0)]) if more else rows


def counts(rows: int, devices: int) -> Any:
    """Say of every row of the filled-up batch whether it counts."""
    return np.arange(rows + -rows % devices) < rows


def square_of_one(params: Any, x: Any, y: Any) -> Any:
    """Squared error of one example."""
    return jnp.sum((mlp_jax(params, x) - y) ** 2)


def regression(sizes: tuple[int, ...], count: int) -> tuple[Any, Any, Any]:
    """Return the parameters of a network, and examples."""
    rng = np.random.default_rng(1)
    return mlp_params(sizes, 0), rng.normal(size=(count, sizes[0])), rng.normal(size=(count, sizes[-1]))


def clipped(params: Any, x: Any, y: Any, is_padding: Any = None, *, axis_name: Any = None) -> Any:
    """Return the clipped sum, and what was measured on the way."""
    options: Any = {"clip_norm": 2.0, "is_padding": is_padding, "axis_name": axis_name}
    total, info = per_example.clipped_sum(square_of_one, params, x, y, **options)
    return {"sum": total, "norms": info.norms, "clipped": info.fraction_clipped}


PRODUCT = functools.partial(curvature.hvp, curvature.weighted_loss(square_of_one))
BATCH = 16
"""Examples of a minibatch of the data set, over all devices."""


def product_alone(params: Any, x: Any, y: Any) -> Any:
    """Return the Hessian of the mean loss of all examples in one batch, times the parameters."""

    def mean(params: Any, x: Any, y: Any) -> Any:
        return jnp.mean(jax.vmap(square_of_one, (None, 0, 0))(params, x, y))

    return curvature.hvp(mean, params, params, x, y)


def stacked(given: tuple[Any, ...], devices: int) -> tuple[Any, ...]:
    """Return the data set in minibatches whose size the devices divide, and weights."""
    params, *rows = given
    return params, *curvature.stack_batches(tuple(rows), BATCH + -BATCH % devices)


def product(params: Any, batches: Any, weights: Any, *, axis_name: Any = None) -> Any:
    """Return that product, one minibatch after the other."""
    return curvature.over_dataset(PRODUCT, params, params, batches, weights, axis_name=axis_name)


SHOTS = 5
INNER = optax.sgd(0.05)


def sine_tasks(count: int) -> tuple[Any, ...]:
    """Return the first parameters, and tasks: curves to fit from few points, and further points of each."""
    rng = np.random.default_rng(2)
    height, phase = rng.uniform(0.5, 2, (count, 1, 1)), rng.uniform(0, np.pi, (count, 1, 1))
    x = rng.uniform(-3, 3, (2, count, SHOTS, 1))
    return mlp_params((1, 24, 1), 0), x[0], height * np.sin(x[0] + phase), x[1], height * np.sin(x[1] + phase)


def weighted_square(params: Any, x: Any, y: Any, weight: Any = 1.0) -> Any:
    """Mean squared error of a task, times its weight."""
    return weight * jnp.mean((mlp_jax(params, x) - y) ** 2)


def meta_alone(params: Any, x: Any, y: Any, x_query: Any, y_query: Any) -> Any:
    """Return the gradient of the mean loss after adaptation, over the tasks."""
    return meta.maml_gradient(weighted_square, params, (x, y), (x_query, y_query), optimizer=INNER, num_steps=2)


def tasks_padded(given: tuple[Any, ...], devices: int) -> tuple[Any, ...]:
    """Return the tasks filled up, and weights: the mean over all rows is the mean over the real ones.

    Those of adaptation are 1 throughout, and an input: made by `jax.numpy.ones_like`, they lie whole on every device of
    an Explicit mesh that is not set from JAX 0.12 on, and `jax.vmap` refuses tasks that are laid out in two ways.
    """
    params, *rows = given
    real = counts(len(rows[0]), devices)
    weights = np.ones(len(real)), real * (len(real) / real.sum())
    return params, *(filled(leaf, devices) for leaf in rows), *weights


def over_tasks(
    params: Any, x: Any, y: Any, x_query: Any, y_query: Any, ones: Any, weights: Any, *, axis_name: Any = None
) -> Any:
    """Return that gradient: adaptation has the weight 1 throughout, a query that of its task."""
    support, query = (x, y, ones), (x_query, y_query, weights)
    options: Any = {"optimizer": INNER, "num_steps": 2, "axis_name": axis_name}
    return meta.maml_gradient(weighted_square, params, support, query, **options)


OUTSIDE = 9.0
"""The coordinate of points that count for nothing; the picture lies between -1 and 1."""


def field_of(params: Any, points: Any) -> Any:
    """A network of the plane."""
    return mlp_jax(params, points, jnp.sin)


def inside(params: Any, points: Any) -> Any:
    """The same in the picture, and zero outside, with its derivatives."""
    return jnp.where(jnp.all(jnp.abs(points) <= 1, axis=-1, keepdims=True), field_of(params, points), 0.0)


def wave(count: int) -> tuple[Any, ...]:
    """Return the parameters of a field, and points with the derivatives that are wanted there."""
    points = np.random.default_rng(3).uniform(-1, 1, (count, 2))
    slopes = np.stack([3 * np.cos(3 * points[:, 0]), -2 * np.sin(2 * points[:, 1])], -1)[:, None]
    return mlp_params((2, 48, 48, 1), 0), points, slopes


def fit_alone(params: Any, points: Any, slopes: Any) -> Any:
    """Return the loss of the derivatives, and its gradient."""
    return jax.value_and_grad(functools.partial(inr.gradient_loss, field_of))(params, points, slopes)


def points_padded(given: tuple[Any, ...], devices: int) -> tuple[Any, ...]:
    """Return the points filled up by some outside, and the factor of their mean."""
    params, points, slopes = given
    more = -len(points) % devices
    rows = np.concatenate([points, np.full((more, 2), OUTSIDE)]), np.concatenate([slopes, np.zeros((more, 1, 2))])
    return params, *rows, np.float64(len(rows[0]) / len(points))


def over_points(params: Any, points: Any, slopes: Any, factor: Any, *, axis_name: Any = None) -> Any:
    """Return that loss and its gradient; the loss is a mean over all rows, and the factor makes one over points."""

    def loss(params: Any) -> Any:
        return factor * inr.gradient_loss(inside, params, points, slopes, axis_name=axis_name)

    return jax.value_and_grad(loss)(params)


def weighted_mean(params: Any, x: Any, y: Any, weights: Any) -> Any:
    """The mean of the examples that count."""
    return weights @ jax.vmap(square_of_one, (None, 0, 0))(params, x, y) / jnp.sum(weights)


def sam_alone(params: Any, x: Any, y: Any) -> Any:
    """Return the gradient of sharpness-aware minimisation."""
    return shift.sam_gradient(weighted_mean, params, x, y, jnp.ones(len(x)), radius=0.05)


def sam(params: Any, x: Any, y: Any, weights: Any, *, axis_name: Any = None) -> Any:
    """Return the same; by `jax.jit`, which divides and gathers the parameters by itself, so no axis is named."""
    del axis_name
    return shift.sam_gradient(weighted_mean, params, x, y, weights, radius=0.05)


def rows_padded(given: tuple[Any, ...], devices: int, *, dtype: Any) -> tuple[Any, ...]:
    """Return examples filled up, and which of them count: as weights, or as booleans that mark the others."""
    params, *rows = given
    real = counts(len(rows[0]), devices)
    return params, *(filled(leaf, devices) for leaf in rows), ~real if dtype is bool else real.astype(dtype)


WIDE = (64, 128, 10)

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "clipped_sum",
            f"per_example.clipped_sum of an MLP {'-'.join(map(str, WIDE))}",
            functools.partial(regression, WIDE),
            clipped,
            functools.partial(rows_padded, dtype=bool),
            clipped,
            (P(), P(AXIS), P(AXIS), P(AXIS)),
            {"sum": P(), "norms": P(AXIS), "clipped": P()},
            lambda result, count: {**result, "norms": result["norms"][:count]},
        ),
        Form(
            "curvature",
            f"curvature.over_dataset, Hessian products of an MLP {'-'.join(map(str, WIDE))}, minibatches of {BATCH}",
            functools.partial(regression, WIDE),
            product_alone,
            stacked,
            product,
            (P(), P(None, AXIS), P(None, AXIS)),
            P(),
        ),
        Form(
            "maml",
            f"meta.maml_gradient of an MLP 1-24-1, {SHOTS} points a task, 2 inner steps",
            sine_tasks,
            meta_alone,
            tasks_padded,
            over_tasks,
            (P(), *[P(AXIS)] * 6),
            P(),
            count=13,
        ),
        Form(
            "inr",
            "the gradient of inr.gradient_loss of a sine MLP 2-48-48-1",
            wave,
            fit_alone,
            points_padded,
            over_points,
            (P(), P(AXIS), P(AXIS), P()),
            P(),
        ),
        Form(
            "fsdp",
            f"shift.sam_gradient of an MLP {'-'.join(map(str, WIDE))}, parameters and gradient in parts",
            functools.partial(regression, WIDE),
            sam_alone,
            functools.partial(rows_padded, dtype=np.float64),
            sam,
            (partition, P(AXIS), P(AXIS), P(AXIS)),
            partition,
            placements=("jit, Auto axes",),
        ),
    )
}


def gradient_bytes(params: Any) -> int:
    """Return the bytes of a gradient: what an all-reduce of it is counted by."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
