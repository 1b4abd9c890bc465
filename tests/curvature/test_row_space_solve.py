"""`curvature.row_space_solve` against the dense Fisher, its derivatives, its cost, and what it refuses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

import torch_ref.curvature
from jaxgrad.curvature import row_space_solve, solve
from jaxgrad.per_example import empirical_fisher_product, gradients
from tests.bridge import assert_parity, random_like, to_torch
from tests.curvature.one_layer import PROBLEM, bent_square, bent_square_torch
from tests.problems import mean_square

RHS = random_like(PROBLEM.params, 5)


def dense(params, rhs, x, y, damping):
    """The solution by a dense matrix."""
    flat, tree = ravel_pytree(rhs)
    rows = jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients(bent_square, params, x, y))
    return tree(jnp.linalg.solve(rows.T @ rows / len(rows) + damping * jnp.eye(flat.size), flat))


def test_matches_torch(compiled_quickly):
    got = row_space_solve(bent_square, PROBLEM.params, RHS, *PROBLEM.data, damping=0.1)
    want = torch_ref.curvature.row_space_solve(
        bent_square_torch, PROBLEM.params_torch, to_torch(RHS), *PROBLEM.data_torch, damping=0.1
    )
    assert_parity(got.solution, want)
    assert got.converged
    rows = jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradients(bent_square, PROBLEM.params, *PROBLEM.data))
    values = jnp.linalg.eigvalsh(rows @ rows.T / len(rows))
    assert_parity((got.smallest, got.largest), (values[0], values[-1]))


def test_derivatives_are_those_of_the_dense_system(compiled_quickly):
    def by_rows(params, rhs, x, y, damping):
        return row_space_solve(bent_square, params, rhs, x, y, damping=damping).solution

    def slope(solver):
        def height(*given):
            return ravel_pytree(solver(*given))[0] @ jnp.arange(15.0)

        return jax.jit(jax.grad(height, argnums=(0, 1, 2, 3, 4)))

    given = (PROBLEM.params, RHS, *PROBLEM.data, jnp.array(0.3))
    assert_parity(slope(by_rows)(*given), slope(dense)(*given), tolerance=1e-9)


def test_leaves_that_do_not_count_are_held(compiled_quickly):
    rows = jax.vmap(jnp.ravel)(gradients(bent_square, PROBLEM.params, *PROBLEM.data)["layer0"]["weight"])
    got = row_space_solve(bent_square, PROBLEM.params, RHS, *PROBLEM.data, damping=0.1, wrt="*/weight")
    flat = RHS["layer0"]["weight"]
    want = jnp.linalg.solve(rows.T @ rows / len(rows) + 0.1 * jnp.eye(flat.size), flat.ravel()).reshape(flat.shape)
    blank = jnp.zeros_like(RHS["layer0"]["bias"])
    assert_parity(got.solution, {"layer0": {"weight": want, "bias": blank}})
    assert got.converged


def test_devices_solve_with_the_examples_of_all_and_a_derivative_there_is_refused(compiled_quickly):
    """The solution is in the contract's table; here what is told of it, and where its derivative is to be had."""
    x, y = (jnp.concatenate([part, -0.5 * part])[:8] for part in PROBLEM.data)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))

    def found(params, rhs, x, y, axis_name=None):
        return row_space_solve(bent_square, params, rhs, x, y, damping=0.3, axis_name=axis_name)

    def height(*given):
        return ravel_pytree(found(*given, axis_name="d").solution)[0] @ jnp.arange(15.0)

    def spread(fun):
        return jax.shard_map(fun, mesh=mesh, in_specs=(P(), P(), P("d"), P("d")), out_specs=P())

    given = PROBLEM.params, RHS, x, y
    got, want = jax.jit(spread(functools.partial(found, axis_name="d")))(*given), found(*given)
    assert_parity((got.solution, got.smallest, got.largest), (want.solution, want.smallest, want.largest))
    assert got.residual_norm < 1e-10
    assert got.converged
    with pytest.raises(
        NotImplementedError, match=r"no derivative there; differentiate .* without axis_name under jax.jit"
    ):
        jax.eval_shape(spread(jax.grad(height)), *given)


def test_a_refinement_gives_back_digits(compiled_quickly):
    params, rhs, x, y = jax.tree.map(lambda a: a.astype(jnp.float32), (PROBLEM.params, RHS, *PROBLEM.data))
    given = functools.partial(row_space_solve, bent_square, params, rhs, x, y, damping=1e-2)
    rough, fine = given(refinements=0), given(refinements=2)
    assert fine.residual_norm < rough.residual_norm / 2, (rough.residual_norm, fine.residual_norm)
    assert fine.converged


@pytest.mark.slow
def test_costs_a_tenth_of_conjugate_gradients():
    """Fewer examples than parameters: FLOPs, and those of a loop once for every turn that it takes."""
    rng = np.random.default_rng(0)
    sizes = (16, 32, 4)
    params = {
        f"layer{i}": {"weight": jnp.asarray(rng.normal(size=(b, a)) / a**0.5), "bias": jnp.zeros(b)}
        for i, (a, b) in enumerate(itertools.pairwise(sizes))
    }
    rhs, x, y = random_like(params, 1), rng.normal(size=(64, 16)), rng.normal(size=(64, 4))
    x, y = jnp.asarray(x), jnp.asarray(y)
    fisher = functools.partial(empirical_fisher_product, mean_square)

    def flops(fun):
        return jax.jit(fun).lower(params, rhs, x, y).compile().cost_analysis()["flops"]

    whole = flops(lambda *given: row_space_solve(mean_square, *given, damping=1e-4).solution)
    turn = flops(lambda p, v, x, y: fisher(p, v, x, y))
    by_rows = row_space_solve(mean_square, params, rhs, x, y, damping=1e-4)
    by_products = solve(fisher, params, rhs, x, y, damping=1e-4, tolerance=1e-6, max_products=1000)
    assert by_rows.residual_norm < 1e-6
    assert_parity(by_rows.solution, by_products.solution, tolerance=1e-4)
    assert whole < turn * int(by_products.products) / 10


def test_without_damping_nothing_has_converged(compiled_quickly):
    assert not row_space_solve(bent_square, PROBLEM.params, RHS, *PROBLEM.data, damping=0.0).converged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": -1.0}, "damping must not be negative"),
        ({"refinements": -1}, "refinements must be at least 0; got -1"),
        ({"rhs": {"layer0": {"weight": 1}}}, r"(?s)rhs\['layer0'\]\['bias'\]: got nothing"),
    ],
)
def test_rejects(options, message):
    given = {"rhs": RHS, "damping": 0.1, **options}
    with pytest.raises(ValueError, match=message):
        row_space_solve(bent_square, PROBLEM.params, given.pop("rhs"), *PROBLEM.data, **given)
