"""The coverage table: at least 155 ordinary functions at order 4 against nested jvp, each refusal with its reason."""

import jax
import jax.numpy as jnp
import pytest

from jaxgrad.nth import _taylor_line, taylor_coefficients
from tests.bridge import assert_parity
from tests.nth.functions import FUNCTIONS, REFUSED, V, X

pytestmark = pytest.mark.usefixtures("compiled_quickly")

FAST = [
    "relu",
    "softplus",
    "tanh",
    "log1p",
    "erf",
    "cond",
    "scan",
    "while_loop",
    "clip",
    "at.set",
    "custom_jvp",
    "custom_vjp",
    "checkpoint",
    "matmul",
    "x**2.5",
]


def by_nested_jvp(fun, order):
    """The Taylor coefficients along a line by jvp of jvp."""
    orders = [lambda t: fun(X + t * V)]
    for _ in range(order):
        orders.append(lambda t, last=orders[-1]: jax.jvp(last, (t,), (1.0,))[1])
    values = jax.jit(lambda t: [each(t) for each in orders])(0.0)
    return jnp.stack([value / _taylor_line.factorial(k) for k, value in enumerate(values)])


def check(name, order):
    fun = FUNCTIONS[name]
    # some functions of JAX and Flax do not stand strict promotion themselves
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        got = taylor_coefficients(fun, X, V, order)
        # jvp refuses jax.custom_vjp, which is the sine here
        want = by_nested_jvp(jnp.sin if name == "custom_vjp" else fun, order)
    assert_parity(got, want, tolerance=1e-9)


def test_the_table_is_long_enough():
    assert len(FUNCTIONS) >= 159
    assert len(FUNCTIONS) - len(REFUSED) >= 155


@pytest.mark.parametrize("name", FAST)
def test_runs_and_is_right_at_order_two(name):
    check(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - set(REFUSED)))
def test_runs_and_is_right_at_order_four(name):
    check(name, 4)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refuses_by_name_and_line(name):
    with pytest.raises(
        TypeError, match=rf"the primitive {REFUSED[name]} has no forward derivative .* used at .*functions\.py:"
    ):
        taylor_coefficients(FUNCTIONS[name], X, V, 2)


@jax.custom_vjp
def clipped_backwards(x):
    return jnp.sin(x)


clipped_backwards.defvjp(lambda x: (jnp.sin(x), x), lambda r, g: (jnp.clip(g, -1, 1),))


def test_refuses_a_backward_rule_that_is_not_linear():
    with pytest.raises(TypeError, match="its backward rule is not linear"):
        taylor_coefficients(clipped_backwards, X, V, 2)
