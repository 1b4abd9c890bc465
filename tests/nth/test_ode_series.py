"""`nth.ode_series` against the total derivative, closed forms, nested jvp, and what it refuses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_ref.nth
from jaxgrad.nth import derivatives, jet, ode_series
from tests.bridge import assert_parity, to_torch
from tests.nth.networks import draw, of_point, of_point_torch
from tests.nth.test_engine import equations_inside

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def prey(x, rates):
    """Lotka and Volterra's equations."""
    return {"hare": x["hare"] * (rates[0] - x["lynx"]), "lynx": x["lynx"] * (x["hare"] - rates[1])}


HABITAT = {"hare": jnp.array([1.5, 0.5]), "lynx": jnp.array([0.5, 2.0])}
RATES = jnp.array([1.1, 0.4])


def forced(t, x, params):
    return of_point(jnp.sin(t) * x, params)


def forced_torch(t, x, params):
    return of_point_torch(torch.sin(t) * x, params)


@pytest.mark.parametrize("scaled", [True, False])
def test_of_a_tree_matches_torch(scaled):
    got = ode_series(prey, HABITAT, 6, RATES, factorial_scaled=scaled)
    want = torch_ref.nth.ode_series(prey, to_torch(HABITAT), 6, to_torch(RATES), factorial_scaled=scaled)
    assert_parity(got, want)


def test_of_a_field_that_depends_on_time_matches_torch():
    params, x, params_torch, x_torch = draw((3, 4, 3), (3,))
    got = ode_series(forced, x, 4, params, t=jnp.array(0.6))
    want = torch_ref.nth.ode_series(forced_torch, x_torch, 4, params_torch, t=torch.tensor(0.6, dtype=torch.float64))
    assert_parity(got, want)


def test_of_lotka_and_volterra_matches_nested_jvp():
    def rows(x):
        chain = [lambda z: z]
        for _ in range(4):
            chain.append(lambda z, last=chain[-1]: jax.jvp(last, (z,), (prey(z, RATES),))[1])
        return [row(x) for row in chain]

    want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *jax.jit(rows)(HABITAT))
    assert_parity(ode_series(prey, HABITAT, 4, RATES), want)


def test_of_the_logistic_equation_is_the_logistic_function():
    t = jnp.array(0.3)
    got = ode_series(lambda x: x * (1 - x), jax.nn.sigmoid(t), 12)
    assert_parity(got, derivatives(jax.nn.sigmoid, t, 12))


def test_of_an_oscillator_is_the_sine():
    def field(x):
        return {"position": x["speed"], "speed": -x["position"]}

    got = ode_series(field, {"position": jnp.array(0.0), "speed": jnp.array(1.0)}, 20, factorial_scaled=False)
    assert_parity(got["position"], jnp.array([math.sin(k * math.pi / 2) / math.factorial(k) for k in range(21)]))


def test_of_a_complex_state_turns_the_phase():
    got = ode_series(lambda z: 2j * z, jnp.array(1.0 + 0j), 5)
    assert_parity(got, jnp.array([2j**k for k in range(6)]))


def test_of_what_depends_on_time_alone_is_its_own_series():
    got = ode_series(lambda t, x: jnp.cos(t) + 0 * x, jnp.array(0.0), 8, t=0.7)
    assert_parity(got[1:], derivatives(jnp.cos, jnp.array(0.7), 7))
    assert ode_series(lambda x: jnp.full_like(x, 3.0), jnp.ones(2), 3).tolist() == [
        [1.0] * 2,
        [3.0] * 2,
        [0.0] * 2,
        [0.0] * 2,
    ]
    assert ode_series(jnp.sin, jnp.array(0.5), 0).tolist() == [0.5]


def test_through_loops_and_transformations():
    def looped(x, w):
        return jax.lax.scan(lambda c, row: (jnp.tanh(row @ c), None), x, w)[0]

    def plain(x, w):
        for row in w:
            x = jnp.tanh(row @ x)
        return x

    x, w = jnp.array([0.3, -0.4]), jnp.arange(8.0).reshape(2, 2, 2) / 8

    def loss(field, w):
        return jnp.sum(jax.vmap(lambda z: ode_series(field, z, 3, w))(jnp.stack([x, 2 * x])) ** 2)

    assert_parity(
        jax.jit(jax.grad(loss, argnums=1), static_argnums=0)(looped, w),
        jax.jit(jax.grad(loss, argnums=1), static_argnums=0)(plain, w),
    )


def test_the_trace_grows_with_the_cube_of_the_order_and_the_program_is_one_series():
    params, x, _, _ = draw((8, 16, 16, 8), (8,))
    counts = {}
    for order in (3, 6, 12):
        run = jax.jit(lambda z, p, order=order: ode_series(of_point, z, order, p))
        counts[order] = len(list(equations_inside(run.trace(x, params).jaxpr.jaxpr)))
        if order == 12:  # the longest to compile by far, and no other program
            continue
        flops = run.lower(x, params).compile().cost_analysis()["flops"]
        pushed = jax.jit(lambda z, p, s: jet(lambda y: of_point(y, p), (z,), (s,)))
        one = pushed.lower(x, params, [x] * (order - 1)).compile().cost_analysis()["flops"]
        # beside the series itself, the division of every coefficient
        assert flops <= one + 2 * order * x.size, order
    assert counts[12] <= 8 * counts[6] <= 64 * counts[3], counts


@pytest.mark.parametrize(
    ("field", "options", "error", "message"),
    [
        (lambda x: x[:1], {}, ValueError, "field's value must have the structure, shapes and dtypes of x"),
        (lambda x: {"x": x}, {}, ValueError, "field's value must have the structure"),
        (lambda x: jnp.round(x).astype(int), {}, ValueError, r"got int64\[2\], expected float64\[2\]"),
        (lambda t, x: x, {"t": np.ones(2)}, ValueError, r"t must be one time, of shape \(\); got float64\[2\]"),
        (lambda t, x: x, {"t": 1}, TypeError, r"(?s)t moves, .*write 1.0 in place of 1.*got int64"),
    ],
)
def test_refuses(field, options, error, message):
    with pytest.raises(error, match=message):
        ode_series(field, jnp.ones(2), 2, **options)


def test_refuses_integers_and_orders_out_of_range():
    with pytest.raises(TypeError, match=r"(?s)x moves, .* x: got int64\[2\]"):
        ode_series(jnp.sin, jnp.ones(2, int), 2)
    with pytest.raises(ValueError, match="order must be from 0 to 32; got 33"):
        ode_series(jnp.sin, jnp.ones(2), 33)
