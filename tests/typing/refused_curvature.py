"""Lines of `jaxgrad.curvature` that are wrong: both checkers must refuse each marked one, and no other."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgrad import curvature


class Weights(NamedTuple):
    w: jax.Array


def model(weights: Weights, x: jax.Array) -> jax.Array:
    return (x @ weights.w)[:, None]


def loss(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x @ weights.w - y) ** 2)


def pair(weights: Weights, x: jax.Array, y: jax.Array) -> tuple[jax.Array, str]:
    return loss(weights, x, y), "seen"


weights = Weights(jnp.ones(3))
x, y, key = jnp.ones((4, 3)), jnp.ones((4,)), jax.random.key(0)
hessian = partial(curvature.hvp, loss)

# arguments in the wrong places, too few, and too many
curvature.ggn_product(weights, model, weights, x, y, output_loss="squared_error")  # refused
curvature.fisher_product(model, weights, x, weights, output_loss="squared_error")  # refused
curvature.row_space_solve(loss, weights, weights, x, damping=0.1)  # refused
curvature.row_space_solve(loss, weights, x, y, damping=0.1)  # refused
curvature.influence(loss, weights, (x, y), (x,))  # refused
curvature.influence(loss, weights, x, x)  # refused
curvature.ggn_product(model, weights, weights, x, y)  # refused
curvature.solve(hessian, weights, weights, x, y)  # refused
zero = curvature.solve(hessian, weights, x, y, damping=0.1).solution.w  # refused
curvature.eigenpairs(hessian, weights, x, y, key=key)  # refused
curvature.log_determinant(hessian, weights, x, y, key=key)  # refused
curvature.over_batches(hessian, weights, weights, [x, y])  # refused

# words that there are not
curvature.ggn_product(model, weights, weights, x, y, output_loss="mse")  # refused
curvature.fisher_product(model, weights, weights, x, output_loss="squared_error", kind="true")  # refused
curvature.eigenpairs(hessian, weights, x, y, k=2, which="LA", key=key)  # refused
curvature.solve(hessian, weights, weights, x, y, damping=0.1, method="gmres")  # refused
curvature.trace(hessian, weights, x, y, key=key, method="hutch")  # refused
curvature.kfac(loss, weights, x, y, kind="true")  # refused
curvature.gauss_newton(loss, solver="lu")  # refused

# an aux without has_aux, and has_aux without an aux
curvature.row_space_solve(pair, weights, weights, x, y, damping=0.1)  # refused
curvature.influence(loss, weights, (x, y), (x, y), has_aux=True)  # refused
curvature.ggn_product(model, weights, weights, x, y, output_loss="squared_error", has_aux=True)  # refused

# results taken for what they are not
one: Weights = curvature.eigenpairs(hessian, weights, x, y, k=2, key=key).values  # refused
two: jax.Array = curvature.solve(hessian, weights, weights, x, y, damping=0.1).solution  # refused
three: Weights = curvature.row_space_solve(loss, weights, weights, x, y, damping=0.1)  # refused
four = curvature.trace(hessian, weights, x, y, key=key).estimate.w  # refused
