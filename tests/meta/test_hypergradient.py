"""`hypergradient` against dense solves in torch, ridge regression in closed form, its methods against each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import torch_ref.meta
from jaxgrad.meta import hypergradient
from tests.bridge import assert_parity, to_jax, to_torch
from tests.meta.tasks import OPTIMIZERS, PARAMS, PARAMS_TORCH, QUERY, QUERY_TORCH, SUPPORT, SUPPORT_TORCH
from tests.problems import mean_square, mean_square_torch
from torch_ref.meta import _optimizers

SGD = OPTIMIZERS["sgd"][0]
HYPER = {"decay": {"layer0": np.array(0.2), "layer1": np.array(-0.3)}, "pull": np.array(0.7)}
HYPER_JAX, HYPER_TORCH = to_jax(HYPER), to_torch(HYPER)
EXACT = {"tolerance": 1e-13, "num_iterations": 60}


def of_first(data):
    return tuple(leaf[0] for leaf in data)


TRAIN, VALIDATION = of_first(SUPPORT), of_first(QUERY)


def decayed(params, hyper, x, y):
    """A weight decay for every layer, in exponential form."""
    squares = {name: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(layer)) for name, layer in params.items()}
    return mean_square(params, x, y) + sum(jnp.exp(hyper["decay"][name]) * squares[name] for name in squares)


def judged(params, hyper, x, y):
    """A loss in which the hyper-parameters stand too."""
    return mean_square(params, x, y) * jnp.exp(hyper["pull"]) + hyper["decay"]["layer0"] ** 2


def decayed_torch(params, hyper, x, y):
    squares = {name: sum((leaf**2).sum() for leaf in layer.values()) for name, layer in params.items()}
    return mean_square_torch(params, x, y) + sum(torch.exp(hyper["decay"][name]) * squares[name] for name in squares)


def judged_torch(params, hyper, x, y):
    return mean_square_torch(params, x, y) * torch.exp(hyper["pull"]) + hyper["decay"]["layer0"] ** 2


of_network = functools.partial(hypergradient, decayed, judged, PARAMS, HYPER_JAX, TRAIN, VALIDATION, num_steps=3)


def twin(**options):
    data = of_first(SUPPORT_TORCH), of_first(QUERY_TORCH)
    given = decayed_torch, judged_torch, PARAMS_TORCH, HYPER_TORCH, *data
    return torch_ref.meta.hypergradient(*given, num_steps=3, **options)


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        ("implicit", "sgd", {"damping": 0.1}),
        ("unrolled", "momentum", {}),
        ("forward", "momentum", {}),
        *(pytest.param(m, "adam", {}, marks=pytest.mark.slow) for m in ("implicit", "unrolled", "forward")),
    ],
)
def test_matches_torch(method, name, options):
    ours, theirs = OPTIMIZERS[name]
    got = of_network(optimizer=ours, method=method, **options, **EXACT)
    assert_parity(got, twin(optimizer=theirs, method=method, **options))


def with_rate(hyper):
    return optax.sgd(0.05 * jnp.exp(hyper["pull"]), momentum=0.5)


def with_rate_torch(hyper):
    return _optimizers.sgd(0.05 * torch.exp(hyper["pull"]), momentum=0.5)


@pytest.mark.parametrize("method", ["forward", pytest.param("unrolled", marks=pytest.mark.slow)])
def test_the_optimizer_as_a_function_of_hyper(method):
    got = of_network(optimizer=with_rate, method=method)
    assert_parity(got, twin(optimizer=with_rate_torch, method="unrolled"))


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["unrolled", "checkpoint", "nested", "mixed-mode"])
def test_every_memory_mode_gives_the_same(memory):
    options = {"optimizer": with_rate, "num_steps": 5, "method": "unrolled"}
    assert_parity(of_network(**options, memory=memory), of_network(**options), tolerance=1e-13)


def ridge(w, hyper, x, y):
    """Half the mean of squares, and a strength for every weight."""
    return 0.5 * jnp.mean((x @ w - y) ** 2) + 0.5 * jnp.sum(jnp.exp(hyper) * w**2)


def error(w, hyper, x, y):
    return 0.5 * jnp.mean((x @ w - y) ** 2)


RNG = np.random.default_rng(5)
LINES = [(jnp.asarray(RNG.normal(size=(12, 4))), jnp.asarray(RNG.normal(size=12))) for _ in range(2)]
STRENGTHS, ZERO = jnp.asarray(RNG.normal(size=4) - 1), jnp.asarray(np.zeros(4))
of_ridge = functools.partial(hypergradient, ridge, error, ZERO, STRENGTHS, *LINES, optimizer=optax.sgd(0.4))


def minimum(hyper):
    x, y = LINES[0]
    return jnp.linalg.solve(x.T @ x / 12 + jnp.diag(jnp.exp(hyper)), x.T @ y / 12)


def closed_form(hyper):
    return error(minimum(hyper), hyper, *LINES[1])


@functools.cache
def wanted():
    """The derivative of the closed form, as one program."""
    return jax.jit(jax.grad(closed_form))(STRENGTHS)


@pytest.fixture(scope="module")
def at_the_minimum():
    return of_ridge(num_steps=200, num_iterations=4, tolerance=1e-12, full_output=True)


def test_ridge_regression_exactly(at_the_minimum):
    """Conjugate gradients are exact after as many iterations as there are weights."""
    assert_parity(at_the_minimum.gradient, wanted())
    assert_parity(at_the_minimum.params, minimum(STRENGTHS))
    assert_parity(at_the_minimum.value, closed_form(STRENGTHS))
    assert at_the_minimum.losses.shape == (200,)
    assert at_the_minimum.converged
    assert not at_the_minimum.indefinite
    assert at_the_minimum.products <= 5
    assert at_the_minimum.residual_norm < 1e-12
    assert at_the_minimum.inner_gradient_norm < 1e-12


def test_a_minimum_that_is_handed_in_needs_no_steps():
    found = hypergradient(
        ridge, error, minimum(STRENGTHS), STRENGTHS, *LINES, optimizer=SGD, num_steps=0, num_iterations=4, tolerance=0.0
    )
    assert_parity(found, wanted())


def test_what_did_not_converge_says_so():
    """Neither the steps nor the solver have come to their end."""
    found = of_ridge(num_steps=3, num_iterations=1, full_output=True)
    assert not found.converged
    assert found.residual_norm > 1e-3
    assert found.inner_gradient_norm > 1e-3
    assert found.products == 2


@pytest.mark.parametrize("method", ["forward", pytest.param("unrolled", marks=pytest.mark.slow)])
def test_the_steps_come_close_to_the_theorem_as_they_grow(method):
    errors = [float(jnp.linalg.norm(of_ridge(num_steps=k, method=method) - wanted())) for k in (5, 20, 200)]
    assert errors[0] > 10 * errors[1] > 1e-8
    assert errors[2] < 1e-12


@pytest.mark.slow
def test_the_series_and_the_identity():
    """The series comes close; the identity for the Hessian is what its name says."""
    found = of_ridge(num_steps=200, solver="neumann", num_iterations=400, tolerance=1e-12)
    assert_parity(found, wanted(), tolerance=1e-9)
    w = minimum(STRENGTHS)
    told = of_ridge(num_steps=200, solver="identity", full_output=True)
    assert_parity(told.gradient, -jax.grad(error)(w, STRENGTHS, *LINES[1]) * jnp.exp(STRENGTHS) * w)
    assert not told.converged


@pytest.mark.slow
def test_a_second_derivative_is_right():
    """Of the gradient by the theorem, along a direction: it is that of the closed form."""
    options = {"num_steps": 200, "num_iterations": 8, "tolerance": 1e-13}

    def along(gradient, hyper):
        return gradient(hyper) @ jnp.arange(1.0, 5.0)

    def ours(hyper):
        return hypergradient(ridge, error, ZERO, hyper, *LINES, optimizer=optax.sgd(0.4), **options)

    got = jax.jit(jax.grad(functools.partial(along, ours)))(STRENGTHS)
    assert_parity(got, jax.grad(functools.partial(along, jax.grad(closed_form)))(STRENGTHS), tolerance=1e-9)


@pytest.mark.slow
def test_a_batch_for_every_step():
    """Minibatches, a step each; the same as steps written out."""
    batches = tuple(leaf.reshape(3, 4, *leaf.shape[1:]) for leaf in LINES[0])

    def after(hyper):
        w = ZERO
        for k in range(3):
            w = w - 0.4 * jax.grad(ridge)(w, hyper, batches[0][k], batches[1][k])
        return error(w, hyper, *LINES[1])

    given = ridge, error, ZERO, STRENGTHS, batches, LINES[1]
    options = {"optimizer": optax.sgd(0.4), "num_steps": 3, "per_step": True}
    for method in ("unrolled", "forward"):
        assert_parity(hypergradient(*given, method=method, **options), jax.grad(after)(STRENGTHS))
    with pytest.raises(ValueError, match=r'method="implicit" needs one inner problem.*num_steps=0'):
        hypergradient(*given, method="implicit", **options)
    with pytest.raises(ValueError, match="leading axis of num_steps=4 on every leaf of inner_data; got float64"):
        hypergradient(*given, method="unrolled", **{**options, "num_steps": 4})


@pytest.mark.slow
def test_leaves_that_the_inner_steps_hold():
    def split(params, hyper, x, y):
        return ridge(jnp.concatenate([params["moves"], params["stays"]]), hyper, x, y)

    start = {"moves": jnp.zeros(3), "stays": jnp.ones(1)}
    options = {"optimizer": optax.sgd(0.4), "num_steps": 200, "inner_wrt": "moves"}
    implicit, unrolled = [
        hypergradient(split, split, start, STRENGTHS, *LINES, method=method, **options)
        for method in ("implicit", "unrolled")
    ]
    assert_parity(implicit, unrolled, tolerance=1e-4)


@pytest.mark.parametrize(
    ("options", "error_type", "message"),
    [
        ({"method": "reverse"}, ValueError, "method must be one of 'implicit', 'unrolled', 'forward'; got 'reverse'"),
        ({"solver": "lu"}, ValueError, "solver must be one of 'cg', 'neumann', 'identity'"),
        ({"damping": -1.0}, ValueError, "damping must not be negative"),
        ({"num_iterations": 0}, ValueError, "num_iterations must be at least 1"),
        ({"optimizer": with_rate}, ValueError, 'cannot reach the hyper-parameters of the optimizer.*"unrolled"'),
        ({"optimizer": 0.1}, TypeError, "optimizer must be an optax transformation"),
        ({"optimizer": lambda hyper: 0.1, "method": "forward"}, TypeError, "optimizer must be an optax transformation"),
    ],
)
def test_refusals(options, error_type, message):
    with pytest.raises(error_type, match=message):
        of_network(**{"optimizer": SGD, **options})


@pytest.mark.parametrize(
    ("hyper", "error_type", "message"),
    [
        (
            np.arange(4),
            TypeError,
            r"(?s)hyper moves, so its leaves must be real floating.*write 1.0 in place of 1.*int",
        ),
        ({}, ValueError, "hyper has no differentiable leaves"),
    ],
)
@pytest.mark.parametrize("method", ["implicit", "forward"])
def test_refuses_hyper_without_a_derivative(hyper, error_type, message, method):
    with pytest.raises(error_type, match=message):
        hypergradient(ridge, error, ZERO, hyper, *LINES, optimizer=SGD, num_steps=1, method=method)


@pytest.mark.parametrize("method", ["implicit", "unrolled", "forward"])
def test_aux_is_that_of_the_outer_loss_after_the_steps(method):
    def with_aux(w, hyper, x, y):
        return error(w, hyper, x, y), {"prediction": x @ w, "hyper": hyper}

    options = {"optimizer": optax.sgd(0.4), "num_steps": 2, "method": method, "full_output": True}
    found, aux = hypergradient(ridge, with_aux, ZERO, STRENGTHS, *LINES, has_aux=True, **options)
    assert_parity(aux, {"prediction": LINES[1][0] @ found.params, "hyper": STRENGTHS})
    plain = hypergradient(ridge, error, ZERO, STRENGTHS, *LINES, **options)
    assert_parity((found.gradient, found.value), (plain.gradient, plain.value))


def test_an_aux_and_has_aux_belong_together():
    options = {"optimizer": SGD, "num_steps": 1}
    with pytest.raises(
        TypeError, match=r"outer_loss must return the pair \(loss, aux\), since has_aux=True; got float64"
    ):
        hypergradient(ridge, error, ZERO, STRENGTHS, *LINES, has_aux=True, **options)
    with pytest.raises(TypeError, match=r"outer_loss must return one real scalar; got a tuple.*or pass has_aux=True"):
        hypergradient(ridge, lambda *given: (error(*given), None), ZERO, STRENGTHS, *LINES, **options)


def test_refuses_losses_whose_hypergradient_is_zero():
    def call(inner, outer, **options):
        return hypergradient(inner, outer, ZERO, STRENGTHS, *LINES, optimizer=SGD, num_steps=1, **options)

    with pytest.raises(ValueError, match=r"inner_loss does not depend on hyper.*optimizer as a function of hyper"):
        call(error, error)
    with pytest.raises(ValueError, match="outer_loss does not depend on params"):
        call(ridge, lambda w, hyper, x, y: jnp.sum(hyper))
    with pytest.raises(TypeError, match="outer_loss must be known when the function is traced, a Python value; got"):
        call(ridge, ZERO)
    with pytest.raises(ValueError, match="outer_loss must return a scalar"):
        call(ridge, lambda w, hyper, x, y: w)
