"""The rules of ``multi_loss`` that weigh gradients, in the table of transforms."""

import dataclasses

import jax
import numpy as np

from jaxgrad import multi_loss
from tests.contract._example import Example

KEY = jax.random.key(0)
COUNTS = np.array([0.5, 1.0, 2.0])


def gram():
    """Return the products of three gradients, of which two conflict with the third."""
    rows = np.array([[2.0, 1.0, 0.5, 0.1], [-1.5, 1.0, 0.3, 0.0], [0.2, -0.8, 1.0, 1.1]])
    return (rows @ rows.T,)


def rows():
    rng = np.random.default_rng(0)
    return ({"a": rng.normal(size=(3, 4)), "b": rng.normal(size=(3, 2, 2))},)


CALLS = {
    "mean_weights": lambda gram: multi_loss.mean_weights(gram) * gram[0],
    "sum_weights": lambda gram: multi_loss.sum_weights(gram) * gram[0],
    "constant_weights": lambda gram: multi_loss.constant_weights(gram, preferences=COUNTS.astype(gram.dtype)) * gram[0],
    "random_weights": lambda gram: multi_loss.random_weights(gram, key=KEY) * gram[0],
    "mgda": multi_loss.mgda,
    "upgrad": multi_loss.upgrad,
    "dual_projection": multi_loss.dual_projection,
    "pcgrad": lambda gram: multi_loss.pcgrad(gram, key=KEY),
    "cagrad": multi_loss.cagrad,
    "imtl_g": multi_loss.imtl_g,
    "nash_mtl": multi_loss.nash_mtl,
    "aligned_mtl": multi_loss.aligned_mtl,
    "fairgrad": multi_loss.fairgrad,
    "config": multi_loss.config,
    "krum": lambda gram: multi_loss.krum(gram, num_byzantine=0) * gram[0],
}
"""Where the weights do not move with the matrix, its first row gives them a derivative."""

OF_ROWS = {
    "aggregate": lambda rows: multi_loss.aggregate(rows, weighting=multi_loss.upgrad),
    "graddrop": lambda rows: multi_loss.graddrop(rows, key=KEY),
    "trimmed_mean": lambda rows: multi_loss.trimmed_mean(rows, trim=1),
}


def row(call, inputs, **more):
    """Return a row of the table: there is no function among the arguments, and no batch."""

    def fresh(array):
        return lambda given: call(jax.tree.map(lambda leaf: leaf + 0 * array.sum().astype(leaf.dtype), given))

    reason = "there is no batch to take a mean over"
    return Example(call, inputs, fresh, refuses=("axis_name",), reason=reason, **more)


ROWS = {
    **{f"multi_loss.{name}": row(call, gram) for name, call in CALLS.items()},
    **{f"multi_loss.{name}": row(call, rows) for name, call in OF_ROWS.items()},
}
ROWS["multi_loss.random_weights"] = dataclasses.replace(
    ROWS["multi_loss.random_weights"],
    refuses=("axis_name", "float32", "bfloat16"),
    reason="there is no batch to take a mean over; a key draws other numbers in another precision",
)
