"""`from_nnx` and `from_nnx_with_state`: pure functions, explicit state, shared layers, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxgrad import _tree, curvature, models, shift
from tests.bridge import assert_parity
from tests.turns import one_in

X = jnp.asarray(np.arange(12.0).reshape(4, 3) / 10)


class Noisy(nnx.Module):
    """A layer used twice, batch normalisation and dropout."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 3, param_dtype=float, rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.5, param_dtype=float, rngs=rngs)
        # NNX makes the statistics in float32 whatever param_dtype says
        self.norm.mean, self.norm.var = nnx.BatchStat(jnp.full(3, 0.25)), nnx.BatchStat(jnp.full(3, 2.0))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = self.first

    def __call__(self, x):
        return self.last(self.dropout(self.norm(self.first(x))))

    def double(self, x):
        return 2 * self(x)


@pytest.fixture(scope="module")
def module():
    made = Noisy(nnx.Rngs(0))
    made.eval()
    return made


def by_hand(params, x):
    kernel, bias = params["first"]["kernel"], params["first"]["bias"]
    x = (x @ kernel + bias[None] - 0.25) / jnp.sqrt(2 + 1e-5)
    return (x * params["norm"]["scale"][None] + params["norm"]["bias"][None]) @ kernel + bias[None]


def test_is_the_module_itself(module):
    apply_fn, params = models.from_nnx(module, X)
    assert_parity(apply_fn(params, X), by_hand(params, X))
    assert apply_fn.__name__ == "apply_Noisy"


def test_params_are_plain_dictionaries_and_shared_layers_count_once(module):
    _, params = models.from_nnx(module)
    assert all(type(node) is dict for node in (params, *params.values()))
    assert set(params) == {"first", "norm"}


def test_the_gradient_of_a_shared_layer_is_the_sum_of_its_uses(module):
    apply_fn, params = models.from_nnx(module)
    got = jax.jit(jax.grad(lambda p: (apply_fn(p, X) ** 2).sum()))(params)
    assert_parity(got, jax.jit(jax.grad(lambda p: (by_hand(p, X) ** 2).sum()))(params))


def test_applies_another_method(module):
    by_name, params = models.from_nnx(module, method="double")
    by_function, _ = models.from_nnx(module, method=Noisy.double)
    assert_parity(by_name(params, X), 2 * by_hand(params, X))
    assert_parity(by_function(params, X), by_name(params, X), tolerance=0)


def test_the_module_is_neither_kept_nor_changed():
    module = Noisy(nnx.Rngs(0))
    module.eval()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState))))
    apply_fn, params = models.from_nnx(module, X)
    want = apply_fn(params, X)
    assert_parity(nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState))), before, tolerance=0)
    module.train()
    module.norm.mean[...] = module.norm.mean[...] + 1
    module.first.kernel[...] = module.first.kernel[...] + 1
    assert_parity(apply_fn(params, X), want, tolerance=0)


def test_the_weights_are_arguments_not_constants(module):
    apply_fn, params = models.from_nnx(module)
    kept = {constant.shape for constant in jax.make_jaxpr(apply_fn)(params, X).consts}
    assert (3, 3) not in kept


def test_composes_and_traces_once(module):
    apply_fn, params = models.from_nnx(module)
    traces = []

    def loss(params, x):
        traces.append(1)
        return (apply_fn(params, x) ** 2).mean()

    curvature.hvp(loss, params, params, X)
    seen = len(traces)
    curvature.hvp(loss, params, jax.tree.map(jnp.ones_like, params), X + 1)
    assert len(traces) == seen
    rows = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, X[:, None])
    assert rows["first"]["kernel"].shape == (4, 3, 3)
    moved, _ = jax.lax.scan(lambda p, x: (jax.tree.map(jnp.subtract, p, jax.grad(loss)(p, x)), 0.0), params, X[:, None])
    assert jax.tree.structure(moved) == jax.tree.structure(params)


def test_state_goes_in_and_comes_out():
    apply_fn, params, state = models.from_nnx_with_state(Noisy(nnx.Rngs(0)), X)

    @jax.jit
    def step(state, x):
        return apply_fn(params, state, x)

    output, after = step(state, X)
    hidden = X @ params["first"]["kernel"] + params["first"]["bias"][None]
    assert_parity(after["norm"]["mean"], 0.125 + hidden.mean(0) / 2)
    assert int(after["dropout"]["rngs"]["count"]) == int(state["dropout"]["rngs"]["count"]) + 1
    again, _ = step(after, X)
    same, _ = step(state, X)
    assert_parity(same, output, tolerance=0)
    assert not np.allclose(output, again)


def test_state_is_carried_by_scan():
    apply_fn, params, state = models.from_nnx_with_state(Noisy(nnx.Rngs(0)))

    def step(state, x):
        output, state = apply_fn(params, state, x)
        return state, output.sum()

    after, _ = jax.lax.scan(step, state, jnp.stack([X, X]))
    assert int(after["dropout"]["rngs"]["count"]) == int(state["dropout"]["rngs"]["count"]) + 2


class Sower(nnx.Module):
    """A layer that keeps what it computes."""

    def __init__(self, rngs):
        self.layer = nnx.Linear(3, 2, param_dtype=float, rngs=rngs)
        self.seen = nnx.Intermediate(())

    def __call__(self, x):
        x = self.layer(x)
        self.seen = nnx.Intermediate((x,))
        return x


def test_what_is_sown_is_left_out():
    apply_fn, params, state = models.from_nnx_with_state(Sower(nnx.Rngs(0)), X)
    output, after = apply_fn(params, state, X)
    assert state == after == {}
    pure, _ = models.from_nnx(Sower(nnx.Rngs(0)), X)
    assert_parity(pure(params, X), output, tolerance=0)


@pytest.mark.parametrize("dtype", one_in(2, [jnp.float32, jnp.bfloat16], 1))
def test_keeps_the_dtype_of_the_parameters(dtype, module):
    apply_fn, params = models.from_nnx(module)
    params, x = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, X))
    gradient = jax.jit(jax.grad(lambda p: apply_fn(p, x).sum()))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(dtype)}


def test_rejects_training_mode():
    module = Noisy(nnx.Rngs(0))
    message = r"Noisy updates its state \(dropout/rngs/count, norm/mean, norm/var\).*module.eval\(\)"
    with pytest.raises(ValueError, match=message):
        models.from_nnx(module, X)
    apply_fn, params = models.from_nnx(module)
    with pytest.raises(ValueError, match=message):
        jax.jit(jax.grad(lambda p: apply_fn(p, X).sum()))(params)


def test_rejects_what_is_no_module_or_has_no_parameters():
    with pytest.raises(TypeError, match=r"takes an instance of an NNX module; got a Dense: from_linen"):
        models.from_nnx(linen.Dense(2))
    with pytest.raises(ValueError, match="Dropout has no parameters"):
        models.from_nnx(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))


def test_rejects_trees_that_lack_a_leaf(module):
    apply_fn, params, state = models.from_nnx_with_state(module)
    with pytest.raises(ValueError, match=r"(?s)params does not fit.*norm/scale is missing.*other is not a leaf"):
        apply_fn({"first": params["first"], "norm": {"bias": X[0]}, "other": X}, state, X)
    with pytest.raises(ValueError, match=r"(?s)state does not fit.*norm/mean is missing"):
        apply_fn(params, {"dropout": state["dropout"]}, X)


def test_state_comes_out_of_sam_as_it_is_at_the_weights_that_are_kept():
    """The statistics, and the counts of the random keys, which are whole numbers."""
    apply_fn, params, state = models.from_nnx_with_state(Noisy(nnx.Rngs(0)))

    def loss(params, state, x):
        output, state = apply_fn(params, state, x)
        return jnp.mean((output - 1) ** 2), state

    got, after = shift.sam_gradient(loss, params, state, X, has_aux=True, radius=2.0)
    want = loss(params, state, X)[1]
    counts = {path for path, leaf in nnx_leaves(after) if jnp.issubdtype(leaf.dtype, jnp.unsignedinteger)}
    assert counts
    assert nnx_numbers(after).keys() == nnx_numbers(want).keys()
    assert_parity(nnx_numbers(after), nnx_numbers(want), dtypes=True)
    assert not np.allclose(after["norm"]["mean"], state["norm"]["mean"])
    slope = jax.jit(jax.grad(lambda params: loss(params, state, X)[0]))
    plain = slope(params)
    move = _tree.scale(plain, 2.0 / _tree.norm(plain))
    assert_parity(got, slope(_tree.add(params, move)))


def nnx_leaves(tree):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def nnx_numbers(tree):
    """Return the leaves by path, random keys as their numbers."""
    keys = jax.dtypes.prng_key
    return {
        path: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, keys) else leaf for path, leaf in nnx_leaves(tree)
    }
