"""Lines of `jaxgrad.curvature` as people write them: both checkers must take every one, and infer what it says."""

from functools import partial
from typing import NamedTuple, assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import curvature

Dict = dict[str, jax.Array]

x, y = jnp.ones((4, 3)), jnp.ones((4,))
params = {"w": jnp.ones((3,))}
key = jax.random.key(0)


class Report(NamedTuple):
    logits: jax.Array
    correct: jax.Array


def model(params: Dict, x: jax.Array) -> jax.Array:
    return (x @ params["w"])[:, None]


def reporting_model(params: Dict, x: jax.Array) -> tuple[jax.Array, Report]:
    logits = model(params, x)
    return logits, Report(logits, logits > 0)


def loss(params: Dict, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x @ params["w"] - y) ** 2)


def reporting(params: Dict, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Report]:
    logits = x @ params["w"]
    return jnp.mean((logits - y) ** 2), Report(logits, logits > y)


def residuals(params: Dict, x: jax.Array, y: jax.Array) -> jax.Array:
    return x @ params["w"] - y


# products

hessian = partial(curvature.hvp, loss)
fisher = partial(curvature.fisher_product, model, output_loss="bernoulli", kind="exact")
assert_type(curvature.hvp(loss, params, params, x, y, full_output=True), curvature.Product[Dict])
assert_type(curvature.ggn_product(model, params, params, x, y, output_loss="bernoulli"), Dict)
assert_type(
    curvature.ggn_product(model, params, params, x, y, output_loss="squared_error", full_output=True),
    curvature.Product[Dict],
)
assert_type(
    curvature.ggn_product(reporting_model, params, params, x, y, output_loss="squared_error", has_aux=True),
    tuple[Dict, Report],
)
assert_type(curvature.ggn_product(model, params, params, x, y, output_loss=lambda out, y: jnp.sum(out)), Dict)
assert_type(curvature.fisher_product(model, params, params, x, y, output_loss="squared_error", wrt="w"), Dict)
assert_type(
    curvature.fisher_product(model, params, params, x, y, output_loss="bernoulli", kind="mc", key=key, num_samples=2),
    Dict,
)
curvature.jacobian_product(model, params, params, x)
curvature.jacobian_product(model, params, jnp.ones((4, 1)), x, transpose=True)
multiply = curvature.linearize(hessian, params, x, y)
assert_type(multiply, curvature.Linearized[Dict])
assert_type(curvature.operator(hessian, params, x, y).shape, tuple[int, int])

# a data set

batches, counted = curvature.stack_batches((x, y), 2)
summed = partial(curvature.hvp, curvature.weighted_loss(loss))
assert_type(curvature.over_dataset(summed, params, params, batches, counted), Dict)
assert_type(curvature.over_dataset(summed, params, params, batches, np.ones((2, 2)), axis_name="data"), Dict)
assert_type(curvature.over_batches(summed, params, params, [(x, y)]), Dict)

# estimates

assert_type(curvature.trace(hessian, params, x, y, key=key), curvature.Trace[Dict])
assert_type(curvature.trace(fisher, params, x, y, key=key, method="hutch++").per_leaf, Dict | None)
assert_type(curvature.diagonal(hessian, params, x, y, key=key, method="xdiag").standard_error, Dict)
pairs = curvature.eigenpairs(hessian, params, x, y, k=2, which="magnitude", key=key)
assert_type(pairs, curvature.Eigenpairs[Dict])
assert_type(pairs.vectors, Dict)
assert_type(curvature.spectral_density(hessian, params, x, y, key=key, grid=np.zeros(2)).density, jax.Array)
determinant = curvature.log_determinant(hessian, params, x, y, damping=0.1, key=key)
assert_type(determinant.estimate, jax.Array)
assert_type(determinant.indefinite, jax.Array)
low = curvature.nystrom(hessian, params, x, y, rank=2, key=key)
assert_type(low.inverse_product(params, 0.1), Dict)
assert_type(low.indefinite, jax.Array)

# solves, and what they are for

assert_type(curvature.solve(hessian, params, params, x, y, damping=0.1, preconditioner=low), curvature.Solution[Dict])
assert_type(curvature.solve(fisher, params, params, x, y, damping=jnp.array(0.1), method="neumann").solution, Dict)
assert_type(
    curvature.row_space_solve(loss, params, params, x, y, damping=0.1, wrt="w", axis_name="data"),
    curvature.RowSpaceSolution[Dict],
)
assert_type(
    curvature.row_space_solve(reporting, params, params, x, y, damping=0.1, has_aux=True),
    tuple[curvature.RowSpaceSolution[Dict], Report],
)
factors = curvature.kfac(loss, params, x, y)
assert_type(curvature.influence(loss, params, (x, y), (x, y), inverse=factors, axis_name="data"), jax.Array)
assert_type(curvature.influence(reporting, params, (x, y), (x, y), has_aux=True), tuple[jax.Array, Report])
assert_type(curvature.log_evidence(factors, params, 0.1, prior_precision=1.0, num_examples=4), jax.Array)
assert_type(curvature.predictive_covariance(model, params, factors, x, prior_precision=1.0, num_examples=4), jax.Array)
steps = curvature.gauss_newton(residuals, damping=0.1, solver="cg", per_example=True, axis_name=("data",))
assert_type(steps, optax.GradientTransformationExtraArgs)
