"""One call of every family, by an installed package and nothing of the repository: no torch, no command line."""

import importlib.metadata
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxgrad

assert "site-packages" in Path(jaxgrad.__file__).parts, jaxgrad.__file__
assert importlib.metadata.version("jaxgrad") == jaxgrad.__version__
for package in ("jaxgrad", "torch_ref"):
    assert (Path(jaxgrad.__file__).parents[1] / package / "py.typed").exists(), package


def loss(params, x, y):
    """Return the mean square, of a batch or of one example."""
    return jnp.mean((jnp.tanh(x @ params["w"]) - y) ** 2)


def field(params, points):
    """Return one channel."""
    return jnp.sin(points @ params["w"])[..., None]


def losses(params, x, y):
    """Return two."""
    return loss(params, x, y), jnp.mean(params["w"] ** 2)


params, x, y = {"w": jnp.array([0.5, -1.0])}, jnp.ones((4, 2)), jnp.zeros(4)
tasks = x[None], y[None]
results = {
    "gradient": jaxgrad.gradient.parameter_gradient(loss, params, x, y),
    "shift": jaxgrad.shift.sam_gradient(loss, params, x, y, radius=0.05),
    "nth": jaxgrad.nth.derivatives(jnp.sin, 0.0, 4),
    "curvature": jaxgrad.curvature.hvp(loss, params, params, x, y),
    "meta": jaxgrad.meta.maml_gradient(loss, params, tasks, tasks, optimizer=optax.sgd(0.1), num_steps=2),
    "inr": jaxgrad.inr.coordinate_derivatives(field, params, x).jacobian,
    "per_example": jaxgrad.per_example.norms(loss, params, x, y),
    "multi_loss": jaxgrad.multi_loss.gradients(losses, params, x, y),
    "models": jaxgrad.models.from_linen(jaxgrad.models.linen.MLP((2, 3, 1)), x, key=jax.random.key(0)).params,
}
assert set(results) == set(jaxgrad.__all__)
assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(results))
assert results["nth"].tolist() == [0.0, 1.0, 0.0, -1.0, 0.0]
assert "torch" not in sys.modules
print(f"jaxgrad {jaxgrad.__version__}: every family answers")  # noqa: T201
