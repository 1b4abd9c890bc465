"""The functions of ``inr`` in the table of transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import inr
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.contract._example import Example


def inputs():
    rng = np.random.default_rng(0)
    return (
        mlp_params((2, 4, 2), 0),
        rng.uniform(-1, 1, (4, 2)),
        rng.normal(size=(4, 2)),
        rng.normal(size=(4, 2, 2)),
    )


def coordinate_derivatives(params, points, values, gradients):
    values, jacobian, _, hessian = inr.coordinate_derivatives(mlp_jax, params, points, second="hessian")
    return values, jacobian, hessian


def value_loss(params, points, values, gradients, **options):
    return inr.value_loss(mlp_jax, params, points, values, **options)


def gradient_loss(params, points, values, gradients, **options):
    return inr.gradient_loss(mlp_jax, params, points, gradients, **options)


def laplacian_loss(params, points, values, gradients, **options):
    return inr.laplacian_loss(mlp_jax, params, points, values, **options)


def eikonal_loss(params, points, values, gradients, **options):
    return inr.eikonal_loss(mlp_jax, params, points, **options)


def combined_loss(params, points, values, gradients, **options):
    wanted = {"values": values, "gradients": gradients}
    return inr.combined_loss(mlp_jax, params, points, **wanted, gradient_weight=0.5, **options)


def fresh_field(array):
    """Return a field that is a new closure over an array."""
    return lambda params, p: mlp_jax(params, p) + jnp.sum(array).astype(p.dtype) * 0


def fresh_coordinate_derivatives(array):
    def call(params, points, values, gradients):
        found = inr.coordinate_derivatives(fresh_field(array), params, points, second="hessian")
        return found.values, found.jacobian, found.hessian

    return call


def fresh_value_loss(array):
    return lambda params, points, values, gradients: inr.value_loss(fresh_field(array), params, points, values)


def fresh_gradient_loss(array):
    return lambda params, points, values, gradients: inr.gradient_loss(fresh_field(array), params, points, gradients)


def fresh_laplacian_loss(array):
    return lambda params, points, values, gradients: inr.laplacian_loss(fresh_field(array), params, points, values)


def fresh_eikonal_loss(array):
    return lambda params, points, values, gradients: inr.eikonal_loss(fresh_field(array), params, points)


def fresh_combined_loss(array):
    return lambda params, points, values, gradients: inr.combined_loss(
        fresh_field(array), params, points, values=values, gradients=gradients, gradient_weight=0.5
    )


def waves():
    return (np.random.default_rng(0).normal(size=(4, 3)),)


def sine(x):
    return inr.sine(x)


def sine_cosine(x):
    # one is doubled: the squares of the two add up to 1, whose slope is 0
    sine, cosine = inr.sine_cosine(x)
    return sine, 2 * cosine


def pictures():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(8, 3, 2)), rng.uniform(size=(8, 3, 2))


def image_targets(image, reference):
    return inr.image_targets(image, method="sobel")._asdict()


def picture_and_points():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(4, 3, 2)), rng.uniform(-1.2, 1.2, (8, 2))


def targets_at(image, points):
    return inr.targets_at(image, points)._asdict()


def refined_targets(image, reference):
    return inr.refined_targets(image, factor=2)._asdict()


def given_targets():
    """Targets on a grid of 4 x 3 that no picture has, so that their ceiling is low, and its slope not 0."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 4))
    points = np.stack([x, y], -1).reshape(-1, 2)
    return (inr.ImageTargets(points, rng.normal(size=(12, 2)), rng.normal(size=(12, 2, 2)), rng.normal(size=(12, 2))),)


def ceiling(targets):
    return inr.ceiling(inr.ImageTargets(*targets), shape=(4, 3))


def sample_points(x):
    """The draw takes no array; it must compose with whatever is around it."""
    drawn = inr.sample_points(jax.random.key(0), 4, method="jittered", shape=(2, 3))
    return x[:, :2] * drawn.astype(x.dtype)


def sample_by_error(image, reference):
    indices, weights = inr.sample_by_error(jax.random.key(0), jnp.square(image).reshape(-1), 8, uniform=0.5)
    return {"indices": indices, "weights": weights}


def psnr(image, reference, **options):
    return inr.psnr(image, reference, align="affine", **options)


OF_POINTS = {"refuses": ("axis_name",), "reason": "a result belongs to one point or one picture"}

OF_A_GRID = {"refuses": ("axis_name", "shard_map"), "reason": "the ceiling of a whole grid, whose shape is static"}

OF_NO_ARRAY = {
    "refuses": ("axis_name", "jit, Explicit", "jit, Explicit, sharded parameters", "shard_map"),
    "reason": "takes no array that could be laid over devices: every device draws all points",
}
OF_CONSTANTS = {
    "refuses": ("axis_name", "grad", "jvp", "float32", "bfloat16"),
    "reason": "the errors are constants of the draw, and each dtype has random numbers of its own",
}

ROWS = {
    "inr.coordinate_derivatives": Example(
        coordinate_derivatives, inputs, fresh_coordinate_derivatives, sharded=(1,), tolerance_bf16=0.3, **OF_POINTS
    ),
    "inr.value_loss": Example(value_loss, inputs, fresh_value_loss, sharded=(1, 2)),
    "inr.gradient_loss": Example(gradient_loss, inputs, fresh_gradient_loss, sharded=(1, 3), tolerance_bf16=0.3),
    "inr.laplacian_loss": Example(laplacian_loss, inputs, fresh_laplacian_loss, sharded=(1, 2), tolerance_bf16=0.3),
    "inr.eikonal_loss": Example(eikonal_loss, inputs, fresh_eikonal_loss, sharded=(1,), tolerance_bf16=0.3),
    "inr.combined_loss": Example(combined_loss, inputs, fresh_combined_loss, sharded=(1, 2, 3), tolerance_bf16=0.3),
    "inr.image_targets": Example(image_targets, pictures, lambda array: image_targets, sharded=(0,), **OF_POINTS),
    "inr.ceiling": Example(ceiling, given_targets, lambda array: ceiling, sharded=(0,), **OF_A_GRID),
    "inr.refined_targets": Example(
        refined_targets, pictures, lambda array: refined_targets, sharded=(0,), tolerance_bf16=0.2, **OF_POINTS
    ),
    "inr.targets_at": Example(
        targets_at, picture_and_points, lambda array: targets_at, sharded=(1,), differentiated=1, **OF_POINTS
    ),
    "inr.sample_points": Example(sample_points, waves, lambda array: sample_points, sharded=(0,), **OF_NO_ARRAY),
    "inr.sample_by_error": Example(
        sample_by_error, pictures, lambda array: sample_by_error, sharded=(0,), **OF_CONSTANTS
    ),
    "inr.psnr": Example(psnr, pictures, lambda array: psnr, sharded=(0, 1)),
    "inr.sine": Example(sine, waves, lambda array: sine, sharded=(0,), **OF_POINTS),
    "inr.sine_cosine": Example(sine_cosine, waves, lambda array: sine_cosine, sharded=(0,), **OF_POINTS),
}
