"""The Cost line of a docstring says how the work grows; XLA's count of operations is held against it.

The body of a loop counts once, so claims about loops are not here: see `test_cost_lines_of_loops`.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import curvature, gradient, inr, multi_loss, nth, per_example, shift
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import Claim, at_points, check, dimension, in_its_own_direction, loss, several


def entrywise(order, params, x):
    return nth.derivatives(lambda z: mlp_jax(params, z[:, None])[:, 0], x[:, 0], order)


part = functools.partial


CLAIMS = [
    Claim(
        "gradient.parameter_gradient",
        "One gradient.",
        "gradient",
        lambda _: 1,
        lambda _: part(gradient.parameter_gradient, loss),
    ),
    Claim(
        "gradient.descent_step",
        "One gradient and one pass",
        "gradient",
        lambda _: 1,
        lambda _: part(gradient.descent_step, loss, learning_rate=0.1),
    ),
    Claim(
        "gradient.squared_norm_gradient",
        "About 2.5 gradients in time",
        "gradient",
        lambda _: 2.5,
        lambda _: part(gradient.squared_norm_gradient, loss),
        within=(0.9, 1.2),  # time is said there; of five layers the first one's share of a gradient is smaller
    ),
    Claim(
        "gradient.mixed_product",
        "About 2 gradients",
        "gradient",
        lambda _: 2,
        lambda _: in_its_own_direction(part(gradient.mixed_product, loss)),
    ),
    Claim(
        "shift.gradient",
        "One gradient",
        "gradient",
        lambda _: 1,
        lambda _: in_its_own_direction(part(shift.gradient, loss)),
    ),
    Claim(
        "shift.sam_gradient",
        "``num_steps + 1`` gradients",
        "gradient",
        lambda n: n + 1,
        lambda n: part(shift.sam_gradient, loss, radius=0.1, num_steps=n),
        (1, 2),
    ),
    Claim(
        "shift.extragradient",
        "Two gradients",
        "gradient",
        lambda _: 2,
        lambda _: part(shift.extragradient, loss, learning_rate=0.1),
    ),
    Claim(
        "curvature.hvp",
        "About 2.6 gradients",
        "gradient",
        lambda _: 2.6,
        lambda _: in_its_own_direction(part(curvature.hvp, loss)),
    ),
    Claim(
        "nth.derivatives",
        "``order + 1`` evaluations in the linear layers",
        "evaluation",
        lambda n: n + 1,
        lambda n: part(entrywise, n),
        (2, 4, 8),
        lambda _: 1,
        1,
        (0.95, 1.2),  # and the elementwise work, which grows with the square
    ),
    Claim(
        "nth.laplacian",
        "``d + 2`` evaluations",
        "evaluation",
        lambda d: d + 2,
        lambda _: at_points(nth.laplacian),
        (4, 16),
        dimension,
        1,
    ),
    Claim(
        "nth.biharmonic",
        "``(d + 2) ** 2`` evaluations",
        "evaluation",
        lambda d: (d + 2) ** 2,
        lambda _: at_points(nth.biharmonic),
        (2, 4),
        dimension,
        1,
    ),
    Claim(
        "nth.weighted_laplacian",
        "``2 d + 2`` for a matrix",
        "evaluation",
        lambda d: 2 * d + 2,
        lambda _: at_points(nth.weighted_laplacian, lambda z: jnp.outer(z, z)),
        (4, 8),
        dimension,
        1,
    ),
    Claim(
        "nth.directional",
        "About ``order + 1`` evaluations",
        "evaluation",
        lambda n: n + 1,
        lambda n: at_points(lambda fun, z: nth.directional(fun, z, jnp.ones_like(z), n)),
        (2, 4),
        last=1,
        within=(0.8, 1.1),  # the first layer is linear along a line: its higher coefficients vanish
    ),
    *(
        Claim(
            "inr.coordinate_derivatives",
            words,
            "evaluation",
            claimed,
            part(lambda second, _: part(inr.coordinate_derivatives, mlp_jax, second=second), second),
            (2, 3),
            dimension,
        )
        for second, words, claimed in (
            (None, "``1 + d`` evaluations of the field", lambda d: 1 + d),
            ("laplacian", "``2 + d`` with the Laplacian", lambda d: 2 + d),
            ("hessian", "``1 + d + d (d + 1) / 2`` with the Hessian", lambda d: 1 + d + d * (d + 1) / 2),
        )
    ),
    Claim(
        "per_example.values",
        "One forward over the batch",
        "evaluation",
        lambda _: 1,
        lambda _: part(per_example.values, loss),
    ),
    Claim(
        "per_example.gradients",
        "The FLOPs of one gradient of the batch",
        "gradient",
        lambda _: 1,
        lambda _: part(per_example.gradients, loss),
    ),
    Claim(
        "per_example.clipped_sum",
        "About one gradient of the batch in time",
        "gradient",
        lambda _: 1,
        lambda _: part(per_example.clipped_sum, loss, clip_norm=1.0),
    ),
    Claim(
        "multi_loss.gradients",
        "about ``(1 + 2 K) / 3`` gradients",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        lambda k: part(multi_loss.gradients, several(k), chunk=k),
        (2, 8),
    ),
    Claim(
        "multi_loss.weighted_gradient",
        "One gradient: the forward, and one backward, whatever the number of losses",
        "gradient",
        lambda _: 1,
        lambda k: part(multi_loss.weighted_gradient, several(k), weights=np.ones(k, np.float32)),
        (2, 8),
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)
