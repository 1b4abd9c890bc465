"""What is kept of the inner steps: every mode gives the same number, mixed mode is refused where it would not."""

import functools

import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgrad import _tree
from jaxgrad.meta import adapt, maml_gradient
from jaxgrad.meta._engine import _descent, _inner
from tests.bridge import assert_parity, to_jax
from tests.meta.tasks import OPTIMIZERS, PARAMS, QUERY, SUPPORT
from tests.problems import mean_square, mlp_jax
from tests.turns import one_in

TASK = _tree.take(SUPPORT, 0)
MODES = ("unrolled", "checkpoint", "nested", "mixed-mode")
LABELS, KEY = jnp.array([0, 1, 1, 0]), jax.random.key(3)
RULE = optax.inject_hyperparams(optax.adamw)(learning_rate=optax.linear_schedule(0.1, 0.05, 4), weight_decay=0.1)


def everything(memory):
    """Return the gradient of what follows four steps, by all that it depends on.

    The loss takes labels, a key (dropout) and a leaf without entries, closes over the weights of the examples, and
    returns leaves of every kind; the optimizer's state holds a hyper-parameter beside a schedule.
    """
    params = {**PARAMS, "none": jnp.zeros((0, 2))}

    def outcome(params, x, weights, decay):
        def loss(params, x, labels, key):
            hidden = mlp_jax({name: params[name] for name in ("layer0", "layer1")}, x)
            kept = jax.random.bernoulli(key, 0.7, (4, 2))
            logits = jnp.where(kept, jnp.concatenate([hidden, -hidden * hidden], 1), 0.0)
            rows = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            aux = {
                "smooth": jnp.sum(hidden**2),
                "count": jnp.int8(3),
                "flag": hidden > 0,
                "narrow": x.astype("bfloat16"),
            }
            return jnp.vdot(weights, rows) + 0.0 * jnp.sum(params["none"]), aux

        state = RULE.init(params)
        state = state._replace(hyperparams={**state.hyperparams, "weight_decay": decay})
        options = {"optimizer": RULE, "num_steps": 4, "opt_state": state, "has_aux": True, "full_output": True}
        after = adapt(loss, params, (x, LABELS, KEY), memory=memory, **options)
        judged = mean_square({name: after.params[name] for name in ("layer0", "layer1")}, *_tree.take(QUERY, 0))
        return judged + jnp.vdot(after.aux["smooth"], jnp.arange(4.0)) + after.losses[2]

    given = params, TASK[0], jnp.array([0.1, 0.4, 0.2, 0.3]), jnp.array(0.1)
    return jax.jit(jax.value_and_grad(outcome, argnums=(0, 1, 2, 3)))(*given)


@pytest.fixture(scope="module")
def unrolled():
    return everything("unrolled")


@pytest.mark.parametrize("memory", one_in(3, MODES[1:], start=2))
def test_modes_agree_on_a_loss_of_everything(memory, unrolled):
    assert_parity(everything(memory), unrolled)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(unrolled) if leaf.size)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3, 6, 11])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_modes_agree(name, steps):
    got = [
        maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, optimizer=OPTIMIZERS[name][0], num_steps=steps, memory=m)
        for m in MODES
    ]
    for other in got[1:]:
        assert_parity(other, got[0])


@pytest.mark.slow
def test_modes_agree_in_low_precision():
    args = to_jax((PARAMS, SUPPORT, QUERY), jnp.bfloat16)
    options = {"optimizer": OPTIMIZERS["momentum"][0], "num_steps": 3}
    exact = maml_gradient(mean_square, PARAMS, SUPPORT, QUERY, **options)
    size = _tree.norm(exact)
    for memory in MODES:
        got = maml_gradient(mean_square, *args, memory=memory, **options)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}
        off = jax.tree.map(lambda a, b: a.astype(b.dtype) - b, got, exact)
        assert _tree.norm(off) < 0.05 * size  # a dozen roundings of 2^-8


@pytest.mark.slow
@pytest.mark.parametrize("memory", MODES[1:])
def test_derivatives_of_a_meta_gradient_agree(memory):
    """Forward over it, in reverse over it, and mapped."""

    def derivatives(memory):
        options = {"optimizer": OPTIMIZERS["momentum"][0], "num_steps": 4, "memory": memory}
        slope = functools.partial(maml_gradient, mean_square, support=SUPPORT, query=QUERY, **options)
        along = jax.tree.map(jnp.cos, PARAMS)
        many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), PARAMS)
        pushed = jax.jit(lambda p: jax.jvp(slope, (p,), (along,))[1])(PARAMS)
        pulled = jax.jit(lambda p: jax.vjp(slope, p)[1](along)[0])(PARAMS)
        assert_parity(pushed, pulled)  # the Hessian of the meta-loss is symmetric
        return pushed, jax.jit(jax.vmap(slope))(many)

    assert_parity(derivatives(memory), derivatives("unrolled"))


def halves(rule):
    """Return a loss of two halves of the parameters, with a function between that may have a rule of its own."""

    def loss(params):
        inner = rule(params["a"])
        return jnp.sum(jnp.sin(inner * params["b"]) * jnp.roll(params["b"], 1) + inner**3)

    return loss


@jax.custom_vjp
def reversed_gradient(x):
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@jax.custom_jvp
def straight_through(x):
    return jnp.round(3 * x)


straight_through.defjvp(lambda primals, tangents: (jnp.round(3 * primals[0]), tangents[0]))
of_jax = jax.custom_vjp(jnp.sin)
of_jax.defvjp(lambda x: (jnp.sin(x), None), lambda _, g: (g,))
by_gradient = jax.custom_gradient(lambda x: (jnp.round(3 * x), lambda g: g))


def jacobian_free(x):
    """A layer that is the solution of an equation, with a linear system that its author leaves out."""

    def equation(z):
        return z - 0.5 * jnp.sin(z[::-1] + x)

    def solve(fun, z):
        return lax.fori_loop(0, 40, lambda _, z: z - fun(z), z)

    return lax.custom_root(equation, x, solve, lambda _, y: y)


WRONG = {
    "the root of an equation": jacobian_free,
    "reversed": reversed_gradient,
    "straight through": straight_through,
    "a rule given to a function of JAX": of_jax,
    "custom_gradient": by_gradient,
    "in a checkpoint, mapped": jax.checkpoint(jax.vmap(reversed_gradient)),
}
HALVES = {"a": jnp.array([0.5, -1.0]), "b": jnp.array([1.5, 0.7])}


@pytest.mark.parametrize("name", one_in(2, WRONG))
def test_mixed_mode_is_refused_where_it_would_be_wrong(name, monkeypatch):
    loss, options = halves(WRONG[name]), {"optimizer": optax.sgd(0.3), "num_steps": 2}

    def after(params, memory):
        return jnp.sum(jnp.cos(adapt(loss, params, (), memory=memory, **options)["b"]))

    slope = jax.grad(after)
    with pytest.raises(ValueError, match=r"mixed-mode.*a rule of derivatives of its own:.*write memory='checkpoint'"):
        slope(HALVES, "mixed-mode")
    want = slope(HALVES, "unrolled")
    assert_parity(slope(HALVES, None), want)
    monkeypatch.setattr(_descent, "line_of_doubt", lambda *_: None)
    wrong = jax.grad(lambda params: after(params, "mixed-mode") + 0.0)(HALVES)  # a new program
    assert _tree.norm(_tree.add(wrong, _tree.scale(want, -1.0))) > 1e-2 * _tree.norm(want)


def test_a_rule_that_cannot_be_pushed_forward_is_left_to_reverse_mode():
    """The rule of optax calls itself, and has no forward mode; nor is it a derivative."""
    loss, options = halves(lambda x: optax.scale_gradient(x, 0.3)), {"optimizer": optax.sgd(0.3), "num_steps": 2}

    def after(params, memory):
        return jnp.sum(jnp.cos(adapt(loss, params, (), memory=memory, **options)["b"]))

    assert_parity(*(jax.grad(after)(HALVES, memory) for memory in (None, "unrolled")))


RIGHT = {
    "stopped": lambda x: jax.tree.map(lax.stop_gradient, x) * x,
    "straight through, by a stop": lambda x: x + lax.stop_gradient(jnp.round(3 * x) - x),
    "log_softmax": lambda x: jax.nn.log_softmax(x) + jax.nn.softplus(x) + jax.nn.gelu(x) + jax.nn.relu(x),
    "optax": lambda x: optax.losses.sigmoid_focal_loss(x, jnp.eye(2)[0]) + optax.losses.log_cosh(x),
    "norm": lambda x: x / jax.scipy.special.logsumexp(x) + optax.safe_norm(x, 1e-3),
    "solve": lambda x: jnp.linalg.solve(jnp.eye(2) + jnp.outer(x, x), x),
}


@pytest.mark.parametrize("name", one_in(2, RIGHT))
def test_mixed_mode_takes_what_leaves_the_hessian_symmetric(name):
    """A derivative that is stopped is a constant at every order."""
    loss = halves(RIGHT[name])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert _inner.line_without_symmetry(jax.make_jaxpr(loss)(HALVES).jaxpr) is None
        flat = jnp.concatenate([HALVES["a"], HALVES["b"]])
        twice = jax.jit(jax.jacrev(jax.grad(lambda v: loss({"a": v[:2], "b": v[2:]}))))(flat)
    assert_parity(twice, twice.T)


def test_mixed_mode_takes_a_layer_that_stops_the_gradient_of_its_singular_vectors():
    """Flax's nn.SpectralNorm, its statistics dropped as in the mode "transductive"."""
    module, x = nn.SpectralNorm(nn.Dense(2, param_dtype=jnp.float64)), jnp.array([[0.5, -1.0]])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        start = jax.jit(functools.partial(module.init, update_stats=True))(jax.random.key(0), x)
        flat, unravel = jax.flatten_util.ravel_pytree(start["params"])

        def loss(v):
            given = {"params": unravel(v), "batch_stats": start["batch_stats"]}
            return jnp.sum(jnp.sin(module.apply(given, x, update_stats=True, mutable=["batch_stats"])[0]) ** 2)

        assert _inner.line_without_symmetry(jax.make_jaxpr(loss)(flat).jaxpr) is None
        twice = jax.jit(jax.jacrev(jax.grad(loss)))(flat)
    assert_parity(twice, twice.T)


@pytest.mark.parametrize("memory", MODES)
def test_program_does_not_grow_with_the_steps(memory):
    def size(steps):
        options = {"optimizer": OPTIMIZERS["sgd"][0], "num_steps": steps, "memory": memory}
        return str(jax.make_jaxpr(lambda p: maml_gradient(mean_square, p, SUPPORT, QUERY, **options))(PARAMS)).count(
            "\n"
        )

    assert size(64) == size(36)  # both of segments of equal length


@pytest.mark.parametrize("memory", ["mixed-mode", *(pytest.param(m, marks=pytest.mark.slow) for m in ("nested", None))])
def test_a_loss_in_shard_map_that_closes_over_what_is_the_same_on_all_devices(memory):
    """The data differ from device to device; by the scale, which does not, the derivative is that of all of them."""
    tasks = tuple(jnp.concatenate([leaf, leaf[:1]]) for leaf in SUPPORT)

    def gradient(scale, params, tasks, **options):
        def loss(params, x, y):
            return mean_square(params, x @ jnp.diag(scale), y)

        return maml_gradient(loss, params, tasks, tasks, optimizer=OPTIMIZERS["sgd"][0], num_steps=2, **options)

    def over_devices(scale, params, tasks):
        spread = functools.partial(gradient, memory=memory, axis_name="d")
        mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
        return jax.shard_map(spread, mesh=mesh, in_specs=(P(), P(), P("d")), out_specs=P())(scale, params, tasks)

    args = jnp.array([0.7, 1.2]), PARAMS, tasks
    # the derivative by the scale is that of one number, the square of the gradient
    spread, alone = (
        jax.jit(jax.value_and_grad(lambda *given, fun=fun: optax.tree.norm(fun(*given), squared=True)))
        for fun in (over_devices, gradient)
    )
    assert_parity(spread(*args), alone(*args))
