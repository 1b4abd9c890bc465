"""`nth.register_rule`: a rule of one's own replaces the way through the jvp; what it refuses."""

import jax.numpy as jnp
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

from jaxgrad.nth import derivatives, register_rule
from jaxgrad.nth._engine import _registry
from tests.bridge import assert_parity


@pytest.fixture
def cube():
    """A primitive with a jvp and no rule."""
    primitive = Primitive("cube_of_the_test")
    primitive.def_impl(lambda x: x * x * x)
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: x * x * x, multiple_results=False))
    ad.defjvp(primitive, lambda t, x: 3 * t * x * x)
    yield primitive
    _registry._registered.pop(primitive, None)


def test_register_rule_is_used(cube):
    calls = []

    def rule(x):
        calls.append(len(x))
        square = [
            sum(x[j] * x[k - j] for j in range(k + 1) if x[j] is not None and x[k - j] is not None)
            for k in range(len(x))
        ]
        return tuple(sum(square[j] * x[k - j] for j in range(k + 1) if x[k - j] is not None) for k in range(len(x)))

    x = jnp.array(2.0)
    through_jvp = derivatives(lambda z: cube.bind(z), x, 4)
    register_rule(cube, rule)
    assert_parity(derivatives(lambda z: cube.bind(z), x, 4), through_jvp)
    assert through_jvp.tolist() == [8.0, 12.0, 12.0, 6.0, 0.0]
    assert calls == [5]


def test_register_rule_rejects_a_name():
    with pytest.raises(TypeError, match=r"primitive must be a jax\.extend\.core\.Primitive; got 'tanh'"):
        register_rule("tanh", lambda x: x)
