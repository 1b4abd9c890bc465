"""The reader of traced programs, on whichever JAX runs the tests."""

import ast
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgrad import _jaxpr

PACKAGE = Path(__file__).parents[1] / "jaxgrad"

PARAMETERS = {
    "scan": {"num_consts", "num_carry", "ft_in", "ft_out", "length", "reverse", "unroll", "jaxpr"},
    "while": {"cond_jaxpr", "cond_nconsts", "body_jaxpr", "body_nconsts"},
    "cond": {"branches"},
    "calls": {"call_jaxpr", "fun_jaxpr"},
    "checkpoint": {"_prim", "prevent_cse", "policy", "differentiated"},
    "custom rules": {"jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "num_res", "symbolic_zeros", "out_trees"},
}
"""Parameters of control flow and of custom rules, under the names of every supported JAX."""

NAMES = {"pjit", "remat", "remat2", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"}
"""Names of primitives that JAX has changed or may change."""


def read_outside(text):
    """List the parameters of control flow, and the names of its primitives, that a file reads by itself."""
    watched = set().union(*PARAMETERS.values())
    found = []
    for node in ast.walk(ast.parse(text)):
        key = None
        if isinstance(node, ast.Subscript):
            owner, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            owner, key = node.func.value, node.args[0]
        if isinstance(key, ast.Constant) and isinstance(owner, ast.Attribute) and owner.attr == "params":
            found += [key.value] if key.value in watched else []
        if isinstance(node, ast.Constant) and node.value in NAMES:
            found.append(node.value)
    return found


def test_nobody_else_reads_control_flow():
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "_jaxpr.py"]
    found = {str(path.relative_to(PACKAGE)): read_outside(path.read_text()) for path in files}
    assert {name: keys for name, keys in found.items() if keys} == {}


@pytest.mark.parametrize(
    "line", ['eqn.params["num_consts"]', 'site.eqn.params.get("branches")', 'eqn.primitive.name == "pjit"']
)
def test_a_file_that_reads_control_flow_is_found(line):
    assert len(read_outside(line)) == 1


def equations(fun, *args):
    return jax.make_jaxpr(fun)(*args).jaxpr.eqns


def looping(x, y):
    """A scan of two constants, two carries and one sliced input."""

    def step(carry, row):
        total, last = carry
        return (total * x + row, last + y), (row + 1, total)

    return lax.scan(step, (x, y), jnp.arange(3.0), reverse=True)


def scan_equation():
    return next(eqn for eqn in equations(looping, 2.0, 3.0) if eqn.primitive.name == "scan")


def test_a_scan_is_read():
    loop = _jaxpr.as_scan(scan_equation())
    assert (loop.consts, loop.carries, loop.length, loop.reverse) == (2, 2, 3, True)
    assert len(loop.body.in_avals) == 5
    assert len(loop.body.out_avals) == 4
    assert _jaxpr.as_scan(equations(jnp.sin, 1.0)[0]) is None


def test_an_equation_is_evaluated_again():
    eqn = scan_equation()
    values = [2.0, 3.0, 2.0, 3.0, jnp.arange(3.0)]
    want = jax.tree.leaves(looping(2.0, 3.0))
    for got in (_jaxpr.bind(eqn, *values), _jaxpr.bind_scan(_jaxpr.as_scan(eqn), values)):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_scan_is_transposed_in_the_order_it_is_bound_in():
    loop = _jaxpr.as_scan(scan_equation())

    def linear(start):
        return _jaxpr.bind_scan(loop, [2.0, 3.0, start, 0.0, jnp.zeros(3)])[0]

    assert jax.linear_transpose(linear, 1.0)(1.0)[0] == 8


def test_a_while_loop_is_read():
    def count(x):
        return lax.while_loop(lambda y: y < x, lambda y: 2 * y + x, 1.0)

    (eqn,) = equations(count, 10.0)
    loop = _jaxpr.as_while(eqn)
    assert (loop.test_consts, loop.body_consts, len(loop.body.out_avals)) == (1, 1, 1)
    assert _jaxpr.bind(eqn, 10.0, 10.0, 1.0) == [12.0]


def test_branches_and_calls_are_read():
    def choose(x):
        return lax.cond(x > 0, jnp.sin, jnp.cos, x)

    (eqn,) = [eqn for eqn in equations(choose, 1.0) if _jaxpr.branches(eqn)]
    assert [branch.jaxpr.eqns[0].primitive.name for branch in _jaxpr.branches(eqn)] == ["cos", "sin"]
    (inner,) = equations(jax.jit(jnp.sin), 1.0)
    assert _jaxpr.call(inner).jaxpr.eqns[0].primitive.name == "sin"
    assert _jaxpr.call(eqn) is None


@pytest.mark.parametrize("remat3", [False, True])
def test_a_checkpoint_is_read_of_both_kinds(remat3):
    policy = jax.checkpoint_policies.dots_saveable
    before = jax.config.jax_remat3
    jax.config.update("jax_remat3", remat3)
    try:
        (eqn,) = equations(jax.checkpoint(jnp.sin, policy=policy), 1.0)
    finally:
        jax.config.update("jax_remat3", before)
    kept = _jaxpr.checkpoint(eqn)
    assert kept.policy is policy
    assert kept.body.jaxpr.eqns[0].primitive.name == "sin"
    assert _jaxpr.contains(SimpleNamespace(eqns=[eqn]), lambda inner: inner.primitive.name == "sin")
    assert not _jaxpr.contains(SimpleNamespace(eqns=[eqn]), lambda inner: inner.primitive.name == "cos")


def test_what_nobody_needs_is_left_out():
    def two(x, y):
        return jnp.sin(x), jnp.cos(y)

    jaxpr = jax.make_jaxpr(two)(1.0, 1.0).jaxpr
    part, used = _jaxpr.needed(jaxpr, [True, False])
    assert [eqn.primitive.name for eqn in part.eqns] == ["sin"]
    assert used == [True, False]
    first = _jaxpr.restricted(jaxpr, jaxpr.outvars[:1])
    assert [eqn.primitive.name for eqn in _jaxpr.live_equations(first)] == ["sin"]


def test_constants_stay_where_results_are_picked():
    table = np.arange(3.0)
    closed = jax.make_jaxpr(lambda x: (x * table, x + table))(1.0)
    second = _jaxpr.restricted(closed.jaxpr, closed.jaxpr.outvars[1:])
    got = _jaxpr.evaluate(second, closed.consts, [2.0], lambda eqn, values: _jaxpr.bind(eqn, *values))
    np.testing.assert_array_equal(got[0], 2 + table)


def test_the_carries_of_a_loop_settle():
    """``b`` moves once ``a`` has gone round: a, b, c -> x, a, c."""
    body = jax.make_jaxpr(lambda x, a, b, c: (x * a, a * 1.0, c, b + 0.0))(1.0, 1.0, 1.0, 1.0).jaxpr
    assert _jaxpr.settled(body, [True], [False, False, False], []) == ([True, True, False], [True])
    assert _jaxpr.settled(body, [False], [False, False, False], []) == ([False, False, False], [False])


def test_a_renamed_parameter_is_told_in_one_sentence():
    eqn = SimpleNamespace(primitive=SimpleNamespace(name="scan"), params={"jaxpr": None, "counts": (1, 2)})
    with pytest.raises(
        RuntimeError, match=r"newer than what jaxgrad was tested with \(0.10.2 to .* no parameter ft_in"
    ):
        _jaxpr.as_scan(eqn)
