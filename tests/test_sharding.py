"""Inside of `jax.shard_map`: what the table of public functions does not try, on four devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgrad import curvature, gradient, inr, meta, multi_loss, nth, per_example, shift
from tests.bridge import assert_parity, random_like
from tests.problems import mean_square, regression
from tests.turns import one_in

pytestmark = [
    pytest.mark.usefixtures("compiled_quickly"),
    # each device's loss is a closure of its own here
    pytest.mark.filterwarnings("ignore:.*different functions that are all defined:UserWarning"),
]

PARAMS, (X, Y) = regression((3, 4, 2), batch=8)[:2]
VECTOR = random_like(PARAMS, 1)
MOMENTUM = optax.sgd(0.1, momentum=0.9)


def two_losses(loss):
    """Return one loss, and one of other labels."""
    return lambda params, x, y: {"a": loss(params, x, y), "b": loss(params, x, 2 * y)}


def one_array(loss):
    """Return both losses as an array that is computed as a whole."""
    return lambda params, x, y: jnp.array([2.0, 3.0]) * loss(params, x, y)


def updates(function, loss, params, x, y, losses=two_losses, **options):
    states = multi_loss.init_states(MOMENTUM, params)
    return function(losses(loss), params, states, x, y, optimizer=MOMENTUM, **options)


FUNCTIONS = {
    "gradient": gradient.parameter_gradient,
    "forward Jacobian": lambda loss, *given, **options: gradient.jacobian(loss, *given, mode="forward", **options),
    "norm": lambda loss, *given, **options: gradient.gradient_norm(loss, *given, wrt="layer1", **options),
    "sam": lambda loss, *given, **options: shift.sam_gradient(loss, *given, radius=0.1, **options),
    "hvp": lambda loss, params, *data, **options: curvature.hvp(loss, params, VECTOR, *data, **options),
    "reverse hvp": lambda loss, params, *data, **options: curvature.hvp(
        loss, params, VECTOR, *data, mode="reverse-over-reverse", **options
    ),
    "hessian": lambda loss, *given, **options: curvature.dense_hessian(loss, *given, chunk=3, wrt="layer1", **options),
    "adapt": lambda loss, params, *data, **options: meta.adapt(
        loss, params, data, optimizer=optax.adam(0.1), num_steps=2, wrt="layer0", **options
    ),
    "gradients": lambda loss, *given, **options: multi_loss.gradients(two_losses(loss), *given, **options),
    "an array's updates": lambda loss, *given, **options: updates(
        multi_loss.simultaneous_updates, loss, *given, losses=one_array, wrt="layer1", **options
    ),
    "updates": lambda loss, *given, **options: updates(multi_loss.sequential_updates, loss, *given, **options),
}


def over(mesh, fun, in_specs, out_specs, *inputs, **options):
    return jax.jit(jax.shard_map(fun, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **options))(*inputs)


def line():
    return jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))


def square():
    return jax.make_mesh((2, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)


BATCH = P(), P("d"), P("d")


def stack(fun):
    """Return the results of a function of a device's part of the batch, device by device."""
    parts = zip(jnp.split(X, 4), jnp.split(Y, 4), range(4), strict=True)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fun(x, y, k) for x, y, k in parts))


def up(tree):
    return jax.tree.map(lambda leaf: leaf[None], tree)


@pytest.mark.parametrize("name", one_in(2, FUNCTIONS, 1))
def test_a_loss_that_takes_the_mean_itself_is_that_of_all_devices(name):
    def whole(params, x, y):
        return lax.pmean(mean_square(params, x, y), "d")

    fun = FUNCTIONS[name]
    want = fun(mean_square, PARAMS, X, Y)
    assert_parity(over(line(), lambda *given: fun(whole, *given), BATCH, P(), PARAMS, X, Y), want)


@pytest.mark.parametrize("name", one_in(2, FUNCTIONS))
def test_the_batch_over_two_axes(name):
    fun, batch = FUNCTIONS[name], P(("d", "m"))
    got = over(
        square(),
        lambda *given: fun(mean_square, *given, axis_name=("d", "m")),
        (P(), batch, batch),
        P(),
        PARAMS,
        X,
        Y,
    )
    assert_parity(got, fun(mean_square, PARAMS, X, Y))


@pytest.mark.parametrize("name", one_in(2, ["gradient", "hvp", "adapt", "updates"], 1))
def test_other_axes_of_the_mesh_are_left_to_jax(name):
    fun = FUNCTIONS[name]
    got = over(
        square(), lambda *given: fun(mean_square, *given, axis_name="d"), BATCH, P(), PARAMS, X, Y, axis_names={"d"}
    )
    assert_parity(got, fun(mean_square, PARAMS, X, Y))


@pytest.mark.parametrize("name", one_in(2, ["gradient", "hvp", "adapt", "gradients"]))
def test_what_a_loss_closes_over_and_checks_that_are_off(name):
    fun = FUNCTIONS[name]

    def rescaled(x, y):
        return lambda params, *data: mean_square(params, data[0] * x, y)

    def closed(params, x, y):
        return up(fun(rescaled(x, y), params, 1.0, 1.0))

    want = stack(lambda x, y, _: fun(rescaled(x, y), PARAMS, 1.0, 1.0))
    assert_parity(over(line(), closed, BATCH, P("d"), PARAMS, X, Y), want)
    unchecked = over(line(), lambda *given: up(fun(mean_square, *given)), BATCH, P("d"), PARAMS, X, Y, check_vma=False)
    assert_parity(unchecked, stack(lambda x, y, _: fun(mean_square, PARAMS, x, y)))


@pytest.mark.slow  # outside of jit every operation on four devices is a program of its own
def test_outside_of_jit_under_vmap_and_differentiated():
    def norm(params, x, y, **options):
        return gradient.gradient_norm(mean_square, params, x, y, **options)

    def inside(params, x, y):
        scales = jnp.array([1.0, 2.0])
        mapped = jax.vmap(lambda s: norm(params, s * x, y, axis_name="d"))(scales)
        return mapped, jax.grad(lambda params: norm(params, x, y, axis_name="d"))(params)

    got = jax.shard_map(inside, mesh=line(), in_specs=BATCH, out_specs=P())(PARAMS, X, Y)
    want = jnp.stack([norm(PARAMS, X, Y), norm(PARAMS, 2 * X, Y)]), jax.grad(norm)(PARAMS, X, Y)
    assert_parity(got, want)


def test_parameters_in_parts_along_a_second_axis():
    """Each device has half of the hidden units, and the loss adds up what they give."""
    wide = {"w": jnp.asarray(np.linspace(-1, 1, 12).reshape(3, 4)), "v": jnp.linspace(-1, 2, 4)}
    vector, labels = random_like(wide, 2), Y[:, 0]
    place = {"w": P(None, "m"), "v": P("m")}

    def net(params, x):
        return jnp.tanh(x @ params["w"]) @ params["v"]

    def whole(params, x, y):
        return jnp.mean((net(params, x) - y) ** 2)

    def parts(params, x, y):
        return jnp.mean((lax.psum(net(params, x), "m") - y) ** 2)

    def calls(loss, params, vector, x, y, **options):
        inner = {"optimizer": MOMENTUM, "num_steps": 2}
        return [
            gradient.parameter_gradient(loss, params, x, y, **options),
            curvature.hvp(loss, params, vector, x, y, **options),
            curvature.hvp(loss, params, vector, x, y, mode="reverse-over-reverse", **options),
            meta.adapt(loss, params, (x, y), **inner, **options),
            gradient.jacobian(loss, params, x, y, mode="forward", **options),
        ]

    got = over(
        square(),
        lambda *given: calls(parts, *given, axis_name="d"),
        (place, place, P("d"), P("d")),
        [place] * 5,
        wide,
        vector,
        X,
        labels,
    )
    assert_parity(got, calls(whole, wide, vector, X, labels))
    for function in (curvature.dense_hessian, gradient.hessian):
        with pytest.raises(ValueError, match=r"params differ from device to device along 'm'.*use curvature\.hvp"):
            over(square(), lambda *g, f=function: f(parts, *g), (place, P("d"), P("d")), P(), wide, X, labels)


def test_a_vector_of_each_device():
    def inside(params, x, y, loss=mean_square):
        vector = jax.tree.map(lambda leaf: leaf * (1.0 + lax.axis_index("d").astype(leaf.dtype)), VECTOR)
        return up(curvature.hvp(loss, params, vector, x, y))

    def scaled(k):
        return jax.tree.map(lambda leaf: leaf * (1.0 + k), VECTOR)

    want = stack(lambda x, y, k: curvature.hvp(mean_square, PARAMS, scaled(k), x, y))
    assert_parity(over(line(), inside, BATCH, P("d"), PARAMS, X, Y), want)
    want = stack(lambda x, y, k: curvature.hvp(mean_square, PARAMS, scaled(k), X, Y))
    assert_parity(over(line(), inside, (P(), P(), P()), P("d"), PARAMS, X, Y), want)
    with pytest.raises(ValueError, match="vector differs from device to device along 'd'"):
        over(line(), lambda *g: inside(*g, lambda *a: lax.pmean(mean_square(*a), "d")), BATCH, P("d"), PARAMS, X, Y)


def test_losses_of_the_device_beside_losses_of_all():
    def losses(params, x, y):
        return mean_square(params, x, y), lax.pmean(mean_square(params, x, 2 * y), "d")

    got = over(line(), lambda *given: up(multi_loss.gradients(losses, *given)), BATCH, P("d"), PARAMS, X, Y)
    own = stack(lambda x, y, _: gradient.parameter_gradient(mean_square, PARAMS, x, y))
    shared = gradient.parameter_gradient(mean_square, PARAMS, X, 2 * Y)
    assert_parity(got, jax.tree.map(lambda a, b: jnp.stack([a, jnp.broadcast_to(b, a.shape)], axis=1), own, shared))


@pytest.mark.parametrize("mode", ["forward", "reverse", pytest.param(None, marks=pytest.mark.slow)])
def test_mixed_jacobians_of_one_input_for_all_devices(mode):
    def call(y, params, x, loss=mean_square, **options):
        return gradient.mixed_jacobian(loss, params, x, y, mode=mode, **options)

    spec, same = (P("d"), P(), P()), X[:2]
    want = stack(lambda _, y, k: call(y, PARAMS, same))
    assert_parity(over(line(), lambda *given: up(call(*given)), spec, P("d"), Y, PARAMS, same), want)
    got = over(line(), lambda *given: call(*given, axis_name="d"), spec, P(), Y, PARAMS, same)
    assert_parity(got, jax.tree.map(lambda leaf: leaf.mean(0), want))


def test_fields_fitted_by_other_families():
    def field(params, points):
        return jnp.tanh(points @ params["w"])

    params = {"w": jnp.asarray(np.linspace(-1, 1, 6).reshape(3, 2))}
    vector, slopes = random_like(params, 3), random_like(jnp.zeros((8, 2, 3)), 4)

    def calls(params, x, y, slopes, **options):
        def loss(params, x, y):
            return inr.value_loss(field, params, x, y, **options)

        fit = jax.grad(lambda params: inr.gradient_loss(field, params, x, slopes, **options))
        return curvature.hvp(loss, params, vector, x, y), fit(params)

    got = over(line(), lambda *given: calls(*given, axis_name="d"), (*BATCH, P("d")), P(), params, X, Y, slopes)
    assert_parity(got, calls(params, X, Y, slopes))


def test_explicit_axes_inside_of_a_users_jit():
    """The mesh is not set; a vector need not lie as the parameters do."""
    mesh = jax.make_mesh((2, 2), ("d", "m"))
    params = {**PARAMS, "layer1": jax.device_put(PARAMS["layer1"], NamedSharding(mesh, P("m")))}
    params["layer0"] = jax.device_put(PARAMS["layer0"], NamedSharding(mesh, P()))
    x, y = jax.device_put((X, Y), NamedSharding(mesh, P("d")))
    for fun in (FUNCTIONS["hvp"], FUNCTIONS["adapt"], FUNCTIONS["updates"], FUNCTIONS["hessian"]):
        got = jax.jit(lambda *given, fun=fun: fun(mean_square, *given))(params, x, y)
        assert_parity(got, fun(mean_square, PARAMS, X, Y))


def test_an_axis_that_is_named_twice():
    def twice(*given):
        return gradient.parameter_gradient(mean_square, *given, axis_name=("d", "d"))

    with pytest.raises(ValueError, match="names an axis twice; name each axis once"):
        over(line(), twice, BATCH, P(), PARAMS, X, Y)


def test_mapped_and_pushed_forward_without_jit_on_explicit_axes_that_are_not_set():
    mesh = jax.make_mesh((4,), ("d",))
    # every operation on every leaf is a program of its own: one layer has half of them
    plain = regression((3, 2)).params
    params, (x, y) = (jax.device_put(t, NamedSharding(mesh, s)) for t, s in ((plain, P()), ((X, Y), P("d"))))

    def mapped(params, x, y):
        return jax.vmap(lambda s: gradient.gradient_norm(mean_square, params, s * x, y))(jnp.array([1.0, 2.0]))

    def pushed(params, x, y):
        return jax.jvp(lambda p: gradient.gradient_norm(mean_square, p, x, y), (params,), (params,))

    for fun in (mapped, pushed):
        assert_parity(fun(params, x, y), fun(plain, X, Y))


def scaled(tree, factor):
    return jax.tree.map(lambda leaf: leaf * factor, tree)


REVERSE = {"mode": "reverse-over-reverse"}
OPERANDS = {
    "vector": lambda e, p, x, y: curvature.hvp(mean_square, p, scaled(VECTOR, e), x, y),
    "vector, reverse": lambda e, p, x, y: curvature.hvp(mean_square, p, scaled(VECTOR, e), x, y, **REVERSE),
    "mixed vector": lambda e, p, x, y: gradient.mixed_product(mean_square, p, scaled(VECTOR, e), x, y),
    "mixed vector, reverse": lambda e, p, x, y: gradient.mixed_product(
        mean_square, p, scaled(VECTOR, e), x, y, **REVERSE
    ),
    "shift": lambda e, p, x, y: shift.gradient(mean_square, p, scaled(VECTOR, e), x, y),
    "radius": lambda e, p, x, y: shift.sam_gradient(mean_square, p, x, y, radius=0.1 * e),
    "learning rate": lambda e, p, x, y: shift.extragradient(mean_square, p, x, y, learning_rate=0.1 * e),
    "shifts": lambda e, p, x, y: shift.expected_gradient(
        mean_square, p, jax.tree.map(lambda v: jnp.stack([v * e, -v]), VECTOR), x, y
    ),
    "input": lambda e, p, x, y: gradient.input_gradient(mean_square, p, x * e, y),
    "support": lambda e, p, x, y: meta.maml_gradient(
        mean_square, p, (x[None] * e, y[None]), (x[None], y[None]), optimizer=optax.sgd(0.1), num_steps=2
    ),
    "labels": lambda e, p, x, y: multi_loss.gradients(two_losses(mean_square), p, x, y * e),
    "directions": lambda e, p, x, y: nth.directional(lambda q: mean_square(q, x, y), p, scaled(VECTOR, e), 3),
    "clip norm": lambda e, p, x, y: per_example.clipped_sum(mean_square, p, x, y, clip_norm=0.1 * e),
    "Fisher vector": lambda e, p, x, y: per_example.empirical_fisher_product(mean_square, p, scaled(VECTOR, e), x, y),
}


@pytest.mark.parametrize("call", one_in(3, OPERANDS.values()), ids=OPERANDS)
def test_an_operand_that_alone_varies_over_another_axis(call):
    """Each row of a 2x2 mesh has examples of its own, each column a factor on one operand: nothing is added up."""
    mesh = jax.make_mesh((2, 2), ("d", "m"), axis_types=(AxisType.Auto,) * 2)

    def device(e, p, x, y):
        return jax.tree.map(lambda leaf: leaf[None, None], call(e[0], p, x, y))

    specs = (P("m"), P(), P("d"), P("d"))
    factors = jnp.array([1.0, 2.0])
    got = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=P("d", "m")))(factors, PARAMS, X, Y)
    alone = jax.jit(call)
    for i in range(2):
        for j in range(2):
            want = alone(factors[j], PARAMS, X[4 * i : 4 * i + 4], Y[4 * i : 4 * i + 4])
            assert_parity(jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], got), want)


def test_every_example_of_all_devices_draws_a_shift_of_its_own():
    """The numbers of one device; and of low rank, though a weight is cast before its use."""

    def of_one(w, x):
        return jnp.sum(jnp.tanh(x @ w))

    w, options = PARAMS["layer0"]["weight"], {"key": jax.random.key(0), "per_example": True, "scale": 0.3, "rank": 1}

    def device(w, x):
        return shift.expected_gradient(of_one, w, None, x, axis_name="d", **options)

    want = shift.expected_gradient(of_one, w, None, X @ jnp.ones((3, 4)), **options)
    assert_parity(over(line(), device, BATCH[:2], P(), w, X @ jnp.ones((3, 4))), want)
