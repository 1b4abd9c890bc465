"""`curvature.kfac` against loops in torch, the blocks that it is exact for, its algebra, and what it refuses."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import torch_ref.curvature
from jaxgrad.curvature import KroneckerFactors, dense_hessian, kfac
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.networks import NETWORKS, cases, chain, draw
from tests.turns import one_in

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def samples_of(network):
    """Draw two targets for every example, of the kind of the network's."""
    targets = network.batch[1]
    drawn = np.random.default_rng(7).permuted(np.stack([targets, targets]), axis=1)
    return jnp.asarray(drawn, targets.dtype)


def options_of(network, kind, approximation):
    options = {"kind": kind, "approximation": approximation, "output_loss": network.output_loss}
    return options | ({"samples": samples_of(network)} if kind == "mc" else {})


def to_torch_options(options):
    return {k: to_torch(v) if k in {"samples", "weights"} else v for k, v in options.items()}


def held_by_path(factors):
    """Return what is held of every leaf as the twin has it: no groups, diagonals as matrices."""

    def whole(side):
        assert len(side) == 1
        return jnp.diag(side[0]) if side.ndim == 2 else side[0]

    return {
        form.path: tuple(map(whole, factors.pair(form.path))) if form.form == "kronecker" else factors.block(form.path)
        for form in factors.about.leaves
    }


@pytest.mark.parametrize(("name", "kind", "approximation"), one_in(3, [pytest.param(*case) for case in cases()]))
def test_matches_torch(name, kind, approximation):
    network = NETWORKS[name]
    options = options_of(network, kind, approximation) | {"weights": jnp.array([1.0, 0.5, 0.0, 2.0])}
    got = kfac(network.model, network.params, *network.batch, **options)
    want = torch_ref.curvature.kfac(
        network.model_torch, network.params_torch, *network.batch_torch, **to_torch_options(options)
    )
    assert_parity(held_by_path(got), want)


@functools.cache
def example():
    """Factors of a network with factors, a block and a diagonal-sized bias."""
    network = NETWORKS["shared"]
    return kfac(network.model, network.params, *network.batch, **options_of(network, "exact", "expand"))


def dense_of(factors, **damping):
    """Return the curvature of all leaves as one matrix."""
    return matrix(lambda v: factors.product(v, **damping))


def matrix(product):
    """Return a linear map of trees like the shared network's weights as one matrix."""
    flat, unravel = jax.flatten_util.ravel_pytree(NETWORKS["shared"].params)
    columns = jax.jit(jax.vmap(lambda v: jax.flatten_util.ravel_pytree(product(unravel(v)))[0]))
    return columns(jnp.eye(flat.size)).T


STYLES = [{"damping": 0.3}, {"damping": 0.3, "damping_style": "pi"}]


@pytest.mark.parametrize("damping", one_in(2, STYLES))
def test_inverse_root_determinant_and_samples_belong_to_the_product(damping):
    factors = example()
    whole = dense_of(factors, **damping)
    assert_parity(whole, whole.T)
    values, basis = jnp.linalg.eigh(whole)
    assert float(values[0]) > 0
    assert_parity(factors.log_determinant(**damping), jnp.sum(jnp.log(values)))
    vector = random_like(NETWORKS["shared"].params, 3)
    flat, unravel = jax.flatten_util.ravel_pytree(vector)
    for held in (factors, factors.eigen()):
        assert_parity(held.product(vector, **damping), unravel(whole @ flat))
        assert_parity(held.inverse_product(vector, **damping), unravel(basis @ (basis.T @ flat / values)))
        root = held.inverse_square_root(vector, **damping)
        assert_parity(root, unravel(basis @ (basis.T @ flat / jnp.sqrt(values))))


@pytest.mark.slow
def test_samples_are_the_inverse_root_of_normal_numbers():
    """Of many of them the covariance is the damped inverse; each is the root of the probes of its key."""
    factors = example()
    eigen, keys = factors.eigen(), jax.random.split(jax.random.key(0), 20_000)
    flat = jax.jit(jax.vmap(lambda key: jax.flatten_util.ravel_pytree(eigen.sample(key, 0.3))[0]))(keys)
    want = jnp.linalg.inv(dense_of(factors, damping=0.3))
    assert float(jnp.linalg.norm(flat.T @ flat / len(flat) - want) / jnp.linalg.norm(want)) < 0.05
    assert_parity(factors.sample(jax.random.key(1), 0.3), factors.eigen().sample(jax.random.key(1), 0.3))


def test_damping_is_that_of_its_definition():
    network, factors = NETWORKS["shared"], example()
    vector = random_like(network.params, 1)
    a, g = (side[0] for side in factors.pair("out"))
    p = jnp.sqrt((jnp.trace(a) / 3) / (jnp.trace(g) / 2))
    want = (a + p * jnp.sqrt(0.3) * jnp.eye(3)) @ vector["out"] @ (g + jnp.sqrt(0.3) / p * jnp.eye(2))
    assert_parity(factors.product(vector, 0.3, damping_style="pi")["out"], want)
    assert_parity(factors.product(vector, 0.3)["out"], a @ vector["out"] @ g + 0.3 * vector["out"])
    assert_parity(factors.product(vector)["bias"], factors.block("bias") @ vector["bias"])


def loss_of_shared(params, x, y):
    return -jax.nn.log_softmax(NETWORKS["shared"].model(params, x))[y]


def test_one_use_of_one_example_is_exact():
    network = NETWORKS["shared"]
    batch = jax.tree.map(lambda x: x[:1], network.batch)
    factors = kfac(loss_of_shared, network.params, *batch)
    gradient = jax.grad(loss_of_shared)(network.params, *jax.tree.map(lambda x: x[0], batch))
    vector = random_like(network.params, 2)
    got = factors.product(vector)
    for path in ("out", "bias", "scale"):
        assert_parity(got[path], gradient[path] * jnp.vdot(gradient[path], vector[path]))


LAYERS = {f"layer{i}": shape for i, shape in enumerate([(3, 4), (4, 3), (3, 2)])}


@pytest.mark.parametrize("approximation", one_in(2, ["reduce", "expand"]))
def test_exact_blocks_of_a_deep_linear_network(approximation):
    """Several examples, each of three positions: the loss is a mean over them, or they are averaged before it."""
    params = {name: jnp.asarray(draw(*shape)) for name, shape in LAYERS.items()}
    x, y = draw(5, 3, 3), draw(5, 3, 2) if approximation == "expand" else draw(5, 2)

    def model(params, x):
        out = chain(params, x)
        return out if approximation == "expand" else out.mean(0)

    def loss(params, x, y):
        outputs = jax.vmap(model, (None, 0))(params, x)
        return jnp.mean(jnp.sum((outputs - y) ** 2, -1)) / 2

    factors = kfac(model, params, x, y, kind="exact", output_loss="squared_error", approximation=approximation)
    vector = random_like(params, 1)
    got = factors.product(vector)
    for name in params:  # the Hessian of a linear layer's block is its Gauss-Newton block
        block = dense_hessian(loss, params, x, y, wrt=name)
        assert_parity(got[name].reshape(-1), block @ vector[name].reshape(-1))


def test_the_scale_is_that_of_the_loss_and_uneven_batches_add_up():
    network = NETWORKS["positions"]
    options = options_of(network, "exact", "expand")
    whole = kfac(network.model, network.params, *network.batch, **options)
    parts = [
        kfac(network.model, network.params, *(b[cut] for b in network.batch), **options)
        for cut in (slice(1), slice(1, 4))
    ]
    assert_parity(held_by_path(parts[0] + parts[1]), held_by_path(whole))
    assert_parity(held_by_path(sum(parts[1:], parts[0])), held_by_path(whole))
    stacked = [jnp.concatenate([b, b[:2]]).reshape(3, 2, *b.shape[1:]) for b in network.batch]
    padded = [b.at[2].set(jnp.nan) for b in stacked]
    weights = jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    got = kfac(network.model, network.params, *padded, weights=weights, **options)
    assert_parity(held_by_path(got), held_by_path(whole))
    with pytest.raises(ValueError, match=r"factors add up where they are those of one network"):
        whole + example()


def test_draws_follow_the_example_and_average_to_the_exact_factors():
    network = NETWORKS["recurrent"]

    def with_aux(params, x):
        return network.model(params, x), jnp.sum(x)

    options = options_of(network, "exact", "expand")
    exact = kfac(network.model, network.params, *network.batch, **options)
    options |= {"kind": "mc", "key": jax.random.key(0), "num_samples": 4000}
    # 4000 draws in chunks of 1500, and all at once in chunks of examples
    drawn, aux = kfac(with_aux, network.params, *network.batch, has_aux=True, chunk=1500, **options)
    assert_parity(aux, jnp.sum(network.batch[0], (1, 2)))
    in_chunks = kfac(network.model, network.params, *network.batch, microbatch=3, **options)
    assert_parity(held_by_path(drawn), held_by_path(in_chunks))
    got, want = (jnp.concatenate([f.pair(p).cotangents.ravel() for p in network.params]) for f in (drawn, exact))
    assert 0 < float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want)) < 0.05


def test_devices_that_share_a_batch_have_its_factors():
    """With the draws of the whole batch: each example has its own by its place."""
    network, mesh = NETWORKS["positions"], jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    options = options_of(network, "exact", "expand") | {"kind": "mc", "key": jax.random.key(0), "num_samples": 2}
    sharded = jax.shard_map(
        lambda params, *batch: kfac(network.model, params, *batch, axis_name="d", chunk=1, **options),
        mesh=mesh,
        in_specs=(P(), P("d"), P("d")),
        out_specs=P(),
    )
    got = jax.jit(sharded)(network.params, *network.batch)
    assert_parity(held_by_path(got), held_by_path(kfac(network.model, network.params, *network.batch, **options)))


def a_squared_error(outputs, targets):
    return jnp.mean(jnp.sum((outputs - targets) ** 2, -1)) / 2


def test_a_loss_that_is_a_function_has_the_factors_of_its_name():
    network = NETWORKS["positions"]
    options = options_of(network, "exact", "expand")
    got = kfac(network.model, network.params, *network.batch, **options | {"output_loss": a_squared_error})
    want = kfac(network.model, network.params, *network.batch, **options)
    assert_parity(held_by_path(got), held_by_path(want))


def test_a_large_leaf_without_factors_has_its_exact_diagonal_and_the_other_a_block():
    def loss(params, x):
        return jnp.sum(jnp.sin(x * params["scale"] + params["offset"]) ** 2)

    params = {"scale": jnp.asarray(draw(600)), "offset": jnp.asarray(draw(1, seed=1))}
    x = jnp.asarray(draw(4, 600))
    factors = kfac(loss, params, x)
    gradients = jax.vmap(jax.grad(loss), (None, 0))(params, x)
    assert [form.form for form in factors.about.leaves] == ["block", "diagonal"]
    assert_parity(factors.block("scale"), jnp.mean(gradients["scale"] ** 2, 0))
    assert_parity(factors.inverse_product(params, 0.1)["scale"], params["scale"] / (factors.block("scale") + 0.1))
    assert "600 entries > 512" in factors.explain()


def test_a_loss_with_mutable_arrays_has_blocks():
    """Its derivative is no program that can be walked over."""

    def loss(params, x):
        total = jax.new_ref(jnp.zeros(2))
        total[...] += x @ params["w"]
        return jnp.sum(jnp.sin(total[...]))

    params, x = {"w": jnp.asarray(draw(3, 2))}, jnp.asarray(draw(4, 3))
    gradients = jax.vmap(jax.grad(loss), (None, 0))(params, x)["w"].reshape(4, -1)
    assert_parity(kfac(loss, params, x).block("w"), gradients.T @ gradients / 4)


def test_layers_of_a_stack_have_the_factors_that_they_have_one_by_one():
    def stacked(params, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["w"])[0]

    def one_by_one(params, x):
        for name in sorted(params):
            x = jnp.tanh(x @ params[name])
        return x

    weights, x, y = jnp.asarray(draw(3, 4, 4)), draw(4, 4), draw(4, 4, seed=1)
    options = {"kind": "exact", "output_loss": "squared_error"}
    got = kfac(stacked, {"w": weights}, x, y, **options)
    apart = {str(i): w for i, w in enumerate(weights)}
    want = kfac(one_by_one, apart, x, y, **options)
    sides = [jnp.concatenate(side) for side in zip(*(want.pair(name) for name in apart), strict=True)]
    assert_parity(tuple(got.pair("w")), tuple(sides))
    product, each = got.inverse_product({"w": weights}, 0.1)["w"], want.inverse_product(apart, 0.1)
    assert_parity(product, jnp.stack([each[name] for name in apart]))


def test_distributions_and_masked_classes_of_the_softmax():
    """The sum of a distribution weighs its example; a class that is masked out adds nothing, and no NaN."""

    def masked(params, x):
        return jnp.where(jnp.array([True, True, False]), x @ params["w"], -jnp.inf)

    params, x = {"w": jnp.asarray(draw(3, 3))}, draw(4, 3)
    labels = jnp.array([0, 1, 1, 0])
    options = {"kind": "exact", "output_loss": "softmax_cross_entropy"}
    plain = kfac(masked, params, x, labels, **options).product(params)["w"]
    doubled = kfac(masked, params, x, 2 * jax.nn.one_hot(labels, 3), **options).product(params)["w"]
    assert_parity(doubled, 2 * plain)
    assert bool(jnp.all(plain[:, 2] == 0))
    assert bool(jnp.all(jnp.isfinite(plain)))


def test_a_tied_weight_has_factors_that_scale_with_the_loss():
    """What enters one use and leaves the other are added on one scale: c times the loss has c^2 times the factors."""

    def tied(c, params, x):
        return c * jnp.sum(jnp.sin(jnp.tanh(x @ params["w"]) @ params["w"].T))

    params, x = {"w": jnp.asarray(draw(3, 2))}, draw(4, 3)
    one, many = (kfac(functools.partial(tied, c), params, x).product(params) for c in (1.0, 3.0))
    assert_parity(many, jax.tree.map(lambda v: 9 * v, one))


class Cell(nn.Module):
    """One layer of a stack."""

    @nn.compact
    def __call__(self, x, _):
        return jnp.tanh(nn.Dense(4)(x)), None


class Zoo(nn.Module):
    """Everything that others register by hand, or cannot."""

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 4, name="embed")(tokens)
        x = nn.RNN(nn.OptimizedLSTMCell(4), name="lstm")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(nn.LayerNorm(name="norm")(x))
        dense = nn.Dense(4, name="shared")
        x = dense(nn.relu(dense(x)))
        stack = nn.scan(Cell, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(name="stack")
        x, _ = stack(x, None)
        image = nn.Conv(3, (3, 3), name="same")(x[..., None])
        image = nn.Conv(2, (2, 2), strides=2, padding="VALID", name="valid")(image)
        return nn.Dense(600, name="wide")(image.reshape(-1))


def test_every_weight_matrix_of_a_flax_model_has_factors_and_none_is_registered():
    """Traced only: the table is known without a number."""
    tokens, labels = jnp.zeros((2, 5), jnp.int32), jnp.zeros(2, jnp.int32)
    params = jax.eval_shape(Zoo().init, jax.random.key(0), tokens[0])
    options = {"kind": "mc", "output_loss": "softmax_cross_entropy", "key": jax.random.key(0)}
    factors = jax.eval_shape(lambda p: kfac(Zoo().apply, p, tokens, labels, **options), params)
    forms = {form.path.removeprefix("params/"): form for form in factors.about.leaves}
    assert {form.form for path, form in forms.items() if path.endswith(("kernel", "embedding"))} == {"kronecker"}
    assert {form.form for path, form in forms.items() if "norm" in path} == {"block"}
    assert forms["wide/bias"].form == "diagonal"
    assert forms["shared/kernel"].terms == 10
    assert len(forms["shared/kernel"].swapped) == 1
    assert forms["stack/Dense_0/kernel"].sizes == (3, 4, 4)
    assert forms["embed/embedding"].whole == (False, True)
    assert sum("LSTM" in path and path.endswith("kernel") for path in forms) == 8
    table = factors.explain()
    assert "params/wide/bias" in table
    assert "600 entries > 512" in table
    assert "2 uses, 10 terms an example" in table


def test_passes_through_jit_and_scan():
    network = NETWORKS["positions"]

    def step(total, example):
        return total + kfac(network.model, network.params, *example, **options), None

    options = options_of(network, "exact", "expand")
    whole = kfac(network.model, network.params, *network.batch, **options)
    batches = jax.tree.map(lambda b: b.reshape(2, 2, *b.shape[1:]), network.batch)
    empty = jax.tree.map(jnp.zeros_like, whole)
    assert isinstance(empty, KroneckerFactors)
    assert_parity(held_by_path(jax.jit(lambda: jax.lax.scan(step, empty, batches)[0])()), held_by_path(whole))


def test_leaves_that_do_not_count_are_zero():
    network = NETWORKS["shared"]
    factors = kfac(loss_of_shared, network.params, *network.batch, wrt="out")
    vector = random_like(network.params, 1)
    for out in (factors.product(vector), factors.inverse_product(vector, 0.1), factors.sample(jax.random.key(0), 0.1)):
        assert [name for name, leaf in out.items() if jnp.any(leaf != 0)] == ["out"]
    assert_parity(
        factors.log_determinant(2.0),
        jnp.linalg.slogdet(jnp.kron(*(s[0] for s in factors.pair("out"))) + 2 * jnp.eye(6))[1],
    )


def test_several_vectors_are_one_after_another():
    factors = example()
    eigen = factors.eigen()
    template = jax.tree.map(jnp.asarray, factors.product(factors.sample(jax.random.key(0), 1.0)))
    ones = [random_like(template, i) for i in range(3)]
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ones)
    for times in (factors.product, eigen.product, eigen.inverse_product, eigen.inverse_square_root):
        want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(times(one, 0.5) for one in ones))
        assert_parity(times(several, 0.5), want)
    uneven = several | {"bias": several["bias"][:2]}
    with pytest.raises(ValueError, match="vector holds several vectors, whose leading axis must have one length"):
        factors.product(uneven)


def bare(params, x, *_):
    return x @ params["w"]


def test_refuses():
    params, x, y = {"w": jnp.ones((3, 2))}, jnp.ones((4, 3)), jnp.ones((4, 2))
    squares = {"output_loss": "squared_error"}

    def call(match, *data, error=ValueError, **options):
        with pytest.raises(error, match=match):
            kfac(bare, params, *(data or (x, y)), **options)

    call("kind must be one of 'exact', 'mc', 'empirical'", kind="true")
    call("approximation must be one of 'expand'", approximation="all", **squares)
    call('kind="exact" needs the outputs of the model apart from their loss', kind="exact")
    call('kind="mc" takes a key=', kind="mc", **squares)
    call("and none is known of an output_loss", kind="mc", key=jax.random.key(0), output_loss=a_squared_error)
    call("output_loss must be one of", kind="exact", output_loss="mse")
    call("output_loss must be one of.*or a function", kind="exact", output_loss=3, error=TypeError)
    call(
        r"samples must have the shape \[samples,4,2\]; got .*\[2,3,2\]",
        kind="mc",
        samples=jnp.ones((2, 3, 2)),
        **squares,
    )
    call(r"weights must be one number for every example", kind="exact", weights=jnp.ones(3), **squares)
    both = {"key": jax.random.key(0), "samples": jnp.ones((2, 4, 2))}
    call("one of the two", kind="mc", **both, **squares)
    call('key belongs to kind="mc"; kind="exact" draws nothing', kind="exact", key=jax.random.key(0), **squares)
    call('num_samples belongs to kind="mc"; kind="empirical" draws nothing', num_samples=1, **squares)
    call("leave num_samples out", kind="mc", samples=both["samples"], num_samples=2, **squares)
    call("chunk must be at least 1", kind="exact", chunk=0, **squares)
    call("weights must be an array", kind="exact", weights=[1.0] * 4, error=TypeError, **squares)
    call("num_samples must be", kind="mc", key=jax.random.key(0), num_samples=0, **squares)
    call(r"loss_fn must return a scalar.*got float64\[2\]")
    call(r"samples must have the shape.*4,2\]; got .*\[2,4,3\]", kind="mc", samples=jnp.ones((2, 4, 3)), **squares)
    call(r"the labels of.*must have.*\[4,2\]; got .*\[4,3\]: nothing is broadcast", x, x, kind="exact", **squares)
    call(r"takes one target.*got 3 trees.*weights=", x, y, y, kind="exact", **squares)
    classes = {"kind": "exact", "output_loss": "softmax_cross_entropy"}
    call("class numbers where they have the shape.*must be integers", x, y[:, 0], error=TypeError, **classes)
    factors = kfac(bare, params, x, y, kind="exact", **squares)
    with pytest.raises(ValueError, match=r"damping must not be negative or NaN; got -0\.1"):
        factors.inverse_product(params, -0.1)
    mirrors = "(?s)vector must have the structure, shapes and dtypes of the params of the factors"
    with pytest.raises(ValueError, match=mirrors + r".*\[2,3\], expected float64\[3,2\]"):
        factors.product({"w": jnp.ones((2, 3))})
    with pytest.raises(ValueError, match="path='v' is no leaf that counts; they are w"):
        factors.pair("v")
    with pytest.raises(ValueError, match=r"path='w' has Kronecker factors.*write pair"):
        factors.block("w")
    with pytest.raises(ValueError, match=r"path='bias' is held as a block"):
        example().pair("bias")
    with pytest.raises(ValueError, match="damping_style must be one of"):
        factors.product(params, damping_style="both")
