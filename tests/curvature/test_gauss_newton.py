"""`curvature.gauss_newton`: dense steps by NumPy, closed forms, what a rejected step leaves, and scans."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.sharding import PartitionSpec as P

import torch_ref.curvature
from jaxgrad.curvature import gauss_newton
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from tests.bridge import assert_parity, to_jax
from tests.turns import covering, one_in

RNG = np.random.default_rng(0)
X, Y = to_jax((RNG.normal(size=(7, 3)), RNG.normal(size=7)))


def rosenbrock(w):
    """The residuals of Rosenbrock's function; it is zero at (1, 1)."""
    return {"valley": 10 * (w["b"] - w["a"] ** 2), "slope": 1 - w["a"]}


def line(w, x, y):
    return x @ w - y


def fit(w, x, y):
    return mlp_jax(w, x)[:, 0] - y


def run(optimizer, params, steps, batch=()):
    """Take steps in one compiled scan, and return the parameters and the states."""

    def step(carry, _):
        params, state = carry
        update, state = optimizer.update(None, state, params, batch=batch)
        return (optax.apply_updates(params, update), state), state

    @jax.jit
    def scanned(params):
        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)

    (params, _), states = scanned(params)
    return params, states


def test_matches_torch_where_steps_are_accepted_and_rejected(compiled_quickly):
    params, states = run(gauss_newton(rosenbrock, damping=1.0), {"a": jnp.array(-1.2), "b": jnp.array(1.0)}, 20)
    loop = torch_ref.curvature.gauss_newton(rosenbrock, damping=1.0)
    start = {"a": torch.tensor(-1.2, dtype=torch.float64), "b": torch.tensor(1.0, dtype=torch.float64)}
    want, wanted = loop(start, 20)
    assert states.accepted.tolist() == [state["accepted"] for state in wanted]
    assert not states.accepted.all()
    assert_parity(params, want)
    for name in ("loss", "damping", "growth"):
        found = torch.tensor([float(state[name]) for state in wanted], dtype=torch.float64)
        assert_parity(getattr(states, name), found, tolerance=1e-9)


@pytest.mark.parametrize(("dtype", "solver"), covering([jnp.float64, jnp.float32], ["dense", "cg"]))
def test_rosenbrock_converges_and_no_step_raises_the_loss(solver, dtype, compiled_quickly):
    start = {"a": jnp.asarray(-1.2, dtype), "b": jnp.asarray(1.0, dtype)}
    optimizer = gauss_newton(rosenbrock, damping=1.0, solver=solver, tolerance=1e-6)
    params, states = run(optimizer, start, 50)
    assert params["a"].dtype == dtype
    assert abs(params["a"] - 1) < 1e-5
    assert abs(params["b"] - 1) < 1e-5
    assert np.all(np.diff(np.asarray(states.loss)) <= 0)
    # the way bends: some steps go too far
    assert not np.all(states.accepted)


@pytest.mark.parametrize(("solver", "rows"), covering(["dense", "cg"], [7, 2]))
def test_a_linear_problem_takes_one_step_without_damping(solver, rows, compiled_quickly):
    """More rows than parameters, and fewer: of all solutions then the one next to the start."""
    x, y, start = X[:rows], Y[:rows], jnp.array([1.0, -1.0, 2.0])
    optimizer = gauss_newton(line, damping=0.0, solver=solver, tolerance=1e-13)
    update, state = jax.jit(optimizer.update)(None, optimizer.init(start), start, batch=(x, y))
    want = np.linalg.lstsq(np.asarray(x), np.asarray(y - x @ start), rcond=None)[0]
    assert_parity(update, want)
    assert state.accepted
    assert abs(state.gain_ratio - 1) < 1e-10
    assert state.damping == 0
    assert state.solve_residual < 1e-12


@pytest.mark.parametrize(("solver", "rows"), covering(["dense", "cg"], [7, 40]))
def test_a_step_is_the_dense_damped_one(solver, rows, compiled_quickly):
    """A network of 25 parameters, with fewer residuals and with more."""
    rng = np.random.default_rng(1)
    params, x, y = to_jax((mlp_params((3, 5, 1), 0), rng.normal(size=(rows, 3)), rng.normal(size=rows)))
    optimizer = gauss_newton(fit, damping=5.0, solver=solver, tolerance=1e-13)
    update, state = jax.jit(optimizer.update)(None, optimizer.init(params), params, batch=(x, y))
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    here = np.asarray(fit(params, x, y))
    rows_of = np.asarray(jax.jit(jax.jacobian(lambda w: fit(unravel(w), x, y)))(flat))
    step = -np.linalg.solve(rows_of.T @ rows_of + 5.0 * np.eye(flat.size), rows_of.T @ here)
    assert_parity(update, unravel(jnp.asarray(step)))
    there = np.asarray(fit(unravel(flat + step), x, y))
    gained = (here @ here - there @ there) / (here @ here - np.sum((here + rows_of @ step) ** 2))
    assert_parity(state.gain_ratio, gained, tolerance=1e-9)
    assert_parity(state.loss, there @ there / 2)
    assert_parity(state.damping, 5.0 * max(1 / 3, 1 - (2 * gained - 1) ** 3), tolerance=1e-9)


def of_one(w, x, y):
    """Two residuals of one example, and one more."""
    out = mlp_jax(w, x)
    return {"pair": out - y, "size": 0.1 * jnp.sum(out**2)}


@pytest.mark.parametrize("rows", one_in(2, [4, 12]))
def test_residuals_of_single_examples_make_the_same_step(rows, compiled_quickly):
    """A network of 23 parameters: 12 residuals, and 36."""
    rng = np.random.default_rng(2)
    params, x, y = to_jax((mlp_params((3, 3, 2), 0), rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))))

    def every(w, x, y):
        return jax.vmap(of_one, (None, 0, 0))(w, x, y)

    steps = []
    for optimizer in (gauss_newton(of_one, damping=5.0, per_example=True), gauss_newton(every, damping=5.0)):
        update, state = jax.jit(optimizer.update)(None, optimizer.init(params), params, batch=(x, y))
        steps.append((update, state._asdict()))
        assert state.accepted
    steps[0][1].pop("solve_residual"), steps[1][1].pop("solve_residual")
    assert_parity(*steps)


def narrow(w):
    """A bent valley whose sum of squares has no rounding in float64, where the parameters have 16 bits."""
    a, b = (w[name].astype(jnp.float64) for name in "ab")
    return {"valley": b - a**2, "slope": 1 - a}, {"a": w["a"], "b": w["b"]}


@pytest.mark.parametrize("dtype", one_in(2, [jnp.bfloat16, jnp.float16, jnp.float32]))
def test_a_step_is_judged_where_its_update_leads(dtype, compiled_quickly):
    """The loss of the state is that at the rounded parameters, bit for bit, and never rises."""
    optimizer = gauss_newton(narrow, damping=1e-3, has_aux=True, wrt=["a", "b"])
    start = {"a": jnp.asarray(-1.2, dtype), "b": jnp.asarray(1.0, dtype), "count": jnp.arange(3), "wide": jnp.ones(1)}

    def step(carry, _):
        params, state = carry
        update, state = optimizer.update(None, state, params)
        params = optax.apply_updates(params, update)
        return (params, state._replace(aux=None)), (params, state)

    _, (params, states) = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=25))(
        (start, optimizer.init(start))
    )
    a, b = (np.asarray(params[name], np.float64) for name in "ab")
    for name in "ab":
        assert params[name].dtype == dtype
        assert np.array_equal(states.aux[name], params[name])
    loss = ((b - a**2) ** 2 + (1 - a) ** 2) / 2
    np.testing.assert_allclose(states.loss, loss, rtol=1e-14 if dtype == jnp.float32 else 0)
    assert np.all(np.diff(loss) <= 0)
    assert np.sum(states.accepted) > 3
    assert loss[-1] < 0.01 * loss[0]


def with_aux(w, x, y):
    error = x @ w - y
    return error, {"error": error, "label": jnp.round(y).astype(int)}


@pytest.mark.parametrize("per_example", [False, True])
def test_an_aux_is_that_where_the_update_leads(per_example, compiled_quickly):
    start = jnp.array([1.0, -1.0, 2.0])
    plain, ours = (
        gauss_newton(fun, damping=0.5, per_example=per_example, has_aux=fun is with_aux) for fun in (line, with_aux)
    )
    want, _ = jax.jit(plain.update)(None, plain.init(start), start, batch=(X, Y))
    update = jax.jit(functools.partial(ours.update, None))
    got, state = update(ours.init(start), start, batch=(X, Y))
    assert ours.init(start).aux is None
    assert_parity(got, want)
    assert_parity(state.aux, with_aux(start + want, X, Y)[1])
    # of a step that is rejected it is that of where the parameters are
    best = jnp.linalg.lstsq(X, Y)[0]
    _, state = update(ours.init(start), best, batch=(X, jnp.full_like(Y, jnp.nan).at[0].set(0)))
    assert not state.accepted
    assert_parity(state.aux["error"][0], X[0] @ best)


def far(w):
    """A step without damping from 3 goes to -8.5, and from there further away."""
    return jnp.arctan(w)


def test_a_rejected_step_is_zero_and_raises_the_damping():
    optimizer = gauss_newton(far, damping=1e-6)
    state = optimizer.init(jnp.array(3.0))
    for damping, growth in ((2e-6, 4.0), (8e-6, 8.0)):
        update, state = optimizer.update(None, state, jnp.array(3.0))
        assert update == 0
        assert not state.accepted
        assert state.gain_ratio < 0
        assert_parity((state.damping, state.growth), (damping, growth))
    params, states = run(gauss_newton(far, damping=0.0), jnp.array(3.0), 30)
    assert abs(params) < 1e-12
    assert states.damping[0] > 0


def not_finite(w):
    return jnp.where(w > 1, jnp.nan, w - 2)


def test_a_step_to_where_the_loss_is_not_finite_is_rejected():
    params, states = run(gauss_newton(not_finite, damping=0.0), jnp.array(0.0), 12)
    assert jnp.isfinite(params)
    assert 0 < params <= 1
    assert not states.accepted[0]


def test_at_a_minimum_nothing_moves_and_the_damping_stays():
    w = jnp.linalg.lstsq(X, Y)[0]
    _, states = run(gauss_newton(line, damping=0.1), w, 5, (X, Y))
    assert_parity(states.damping, jnp.full(5, states.damping[0]))
    assert jnp.all(jnp.isfinite(states.growth))


def test_leaves_that_do_not_move_and_a_chain():
    start = {"a": jnp.array(-1.2), "b": jnp.array(1.0)}
    optimizer = optax.chain(gauss_newton(rosenbrock, damping=0.0, wrt="b"), optax.scale(0.5))
    update, _ = optimizer.update(None, optimizer.init(start), start)
    assert_parity(update, {"a": jnp.array(0.0), "b": jnp.array(0.22)})


def test_compiled_as_documented_and_in_the_wrappers_of_optax(compiled_quickly):
    """A compiled update makes two tracers of the same parameters."""
    optimizer = optax.chain(gauss_newton(line, damping=0.0), optax.scale(1.0))
    got, _ = jax.jit(optimizer.update)(Y[:3], optimizer.init(Y[:3]), Y[:3], batch=(X, Y))
    assert_parity(Y[:3] + got, jnp.linalg.lstsq(X, Y)[0])


def of_gradients(w):
    return OURS.update(jax.grad(lambda w: jnp.sum(line(w, X, Y) ** 2))(w), OURS.init(w), w, batch=(X, Y))


def wrapped(optimizer, w):
    def call():
        # the running mean of MultiSteps mixes dtypes
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(w, optimizer.init(w), w, batch=(X, Y))

    return call


def shifted(optimizer, **given):
    w = jnp.ones(3)
    return lambda: optimizer.update(
        given.get("updates"), optimizer.init(w), given.get("params", w), batch=given.get("batch", (X, Y))
    )


OURS = gauss_newton(line)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gauss_newton(X), TypeError, "residual_fn must be a function"),
        (lambda: gauss_newton(line, damping=-1.0), ValueError, "damping must not be negative"),
        (lambda: gauss_newton(line, solver="lu"), ValueError, "solver must be one of 'auto', 'dense', 'cg'"),
        (lambda: gauss_newton(line, max_products=0), ValueError, "max_products must be at least 1"),
        (shifted(OURS, updates=np.zeros(3)), ValueError, "gradients given here would be lost"),
        (lambda: jax.jit(of_gradients)(jnp.ones(3)), ValueError, "gradients given here would be lost"),
        (lambda: jax.jit(OURS.update)(X, OURS.init(Y), Y, batch=()), ValueError, "gradients given here would be lost"),
        (
            wrapped(optax.MultiSteps(OURS, 2), np.ones(3)),
            ValueError,
            "cannot stand inside .* join them",
        ),
        (wrapped(optax.masked(OURS, [True, False]), [Y, Y]), ValueError, r"masked leaves.*gauss_newton\(..., wrt="),
        (shifted(OURS, batch=()), TypeError, r"follows params in residual_fn\(w, x, y\), as in .* got no arguments"),
        (shifted(OURS, batch=(X,)), TypeError, r"follows params in residual_fn\(w, x, y\), as in .* got 1 argument"),
        (
            lambda: OURS.update(None, OURS.init(Y), Y, data=(X, Y)),
            TypeError,
            "got no arguments; data is read by nobody here",
        ),
        (shifted(gauss_newton(line, has_aux=True)), TypeError, r"the pair \(residuals, aux\), since has_aux=True"),
        (shifted(gauss_newton(with_aux)), TypeError, r"without has_aux=True,\[1\]\['label'\]: got int"),
        (shifted(OURS, params=None), ValueError, "params must be given"),
        (shifted(OURS, batch=X), TypeError, r"batch must be a tuple .* got float64\[7,3\]"),
        (lambda: OURS.update(None, (), jnp.ones(3)), TypeError, "state must be the GaussNewtonState"),
        (lambda: OURS.init(jnp.arange(3)), TypeError, r"params.*got int"),
        (shifted(gauss_newton(lambda w, x, y: jnp.arange(3))), TypeError, "the result of residual_fn"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_compiled_program_is_traced_once():
    traces = []

    def counted(w, x, y):
        traces.append(None)
        return line(w, x, y)

    optimizer = gauss_newton(counted)
    update = jax.jit(functools.partial(optimizer.update, None))
    w = jnp.ones(3)
    state = optimizer.init(w)
    for _ in range(3):
        step, state = update(state, w, batch=(X, Y))
        w, before = optax.apply_updates(w, step), len(traces)
    assert len(traces) == before
    assert state.steps == 3


def two_steps(optimizer, params, *batch):
    """Return the parameters after two steps, and the state."""
    state = optimizer.init(params)
    for _ in range(2):
        update, state = optimizer.update(None, state, params, batch=batch)
        params = optax.apply_updates(params, update)
    return params, state._asdict()


SPREAD = ("dense", 120, False), ("dense", 40, True), ("cg", 40, True), ("dense", 8, False)


@pytest.mark.parametrize(
    ("solver", "rows", "per_example"),
    one_in(2, [pytest.param(*case) for case in SPREAD]),
)
def test_devices_take_the_step_of_all_their_examples(solver, rows, per_example, compiled_quickly):
    """Of 26 parameters: more residuals on each device, which sends a triangle, fewer there, and fewer in all."""
    rng = np.random.default_rng(3)
    given = to_jax((mlp_params((3, 5, 1), 0), rng.normal(size=(rows, 3)), rng.normal(size=rows)))
    options = {"damping": 5.0, "solver": solver, "tolerance": 1e-13, "per_example": per_example}
    fun = (lambda w, x, y: fit(w, x[None], y[None])) if per_example else fit
    spread = jax.shard_map(
        functools.partial(two_steps, gauss_newton(fun, axis_name="d", **options)),
        mesh=jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=(P(), P("d"), P("d")),
        out_specs=P(),
    )
    got, want = jax.jit(spread)(*given), jax.jit(functools.partial(two_steps, gauss_newton(fun, **options)))(*given)
    assert got[1]["accepted"]
    for _, state in (got, want):
        assert state.pop("solve_residual") < 1e-11
    assert_parity(got, want, tolerance=1e-9)


def test_an_axis_that_is_not_there():
    optimizer = gauss_newton(line, axis_name="d")
    with pytest.raises(ValueError, match=r"axis_name='d' is no axis of a jax.shard_map around this call"):
        optimizer.update(None, optimizer.init(jnp.ones(3)), jnp.ones(3), batch=(X, Y))
