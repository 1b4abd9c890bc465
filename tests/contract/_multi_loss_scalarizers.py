"""The stateless scalarizers of ``multi_loss`` in the table of transforms."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxgrad import multi_loss
from tests.contract._example import Example

WEIGHTS = {"a": 0.2, "b": 0.5, "c": 0.3}

OPTIONS = {
    "stch": {"mu": 0.4, "weights": WEIGHTS},
    "cosmos": {"penalty": 2.0, "weights": WEIGHTS},
    "pbi": {"penalty": 5.0, "weights": WEIGHTS},
    "geometric_mean": {},
}


def losses():
    return (dict(zip("abc", np.array([0.7, 2.1, 1.3]), strict=True)),)


def call(name, losses):
    """A scalarizer of the losses, in the form in which a tree of scalars becomes arrays."""
    options = {key: value for key, value in OPTIONS[name].items() if key != "weights"}
    given = (
        {"weights": {k: jnp.asarray(w, losses[k].dtype) for k, w in WEIGHTS.items()}}
        if "weights" in OPTIONS[name]
        else {}
    )
    return getattr(multi_loss, name)(losses, **options, **given)


def row(name):
    scalarizer = functools.partial(call, name)
    return Example(
        scalarizer,
        losses,
        lambda array: scalarizer,
        refuses=("axis_name",),
        reason="there is no batch to take a mean over: losses that are means over it are given",
    )


ROWS = {f"multi_loss.{name}": row(name) for name in OPTIONS}
