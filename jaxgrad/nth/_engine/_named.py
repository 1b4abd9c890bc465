"""Rules of JAX's own functions with a custom jvp, known by the file and the name that they are written under."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import jax.scipy.special as jsp

from jaxgrad import _jaxpr
from jaxgrad._jaxpr import bind
from jaxgrad.nth._engine._collapse import collapsed
from jaxgrad.nth._engine._determinant import determinant, log_determinant
from jaxgrad.nth._engine._elementwise import sine_and_cosine
from jaxgrad.nth._engine._interpret import BY_JVP, evaluate, follow
from jaxgrad.nth._engine._registry import Mode, Rule, rule
from jaxgrad.nth._engine._series import Series
from jaxgrad.nth._engine._special import log_normal_cdf

__all__ = ["enter_sine_and_cosine"]


def _file_of(fun: Any) -> str:
    """Return the file that a public function of JAX is written in."""
    return inspect.getsourcefile(inspect.unwrap(fun)) or ""


LINALG, NUMPY, SPECIAL = _file_of(jnp.linalg.det), _file_of(jnp.i0), _file_of(jsp.i0e)


def inside(eqn: Any, operands: list[Series], mode: Mode) -> list[Series]:
    """Evaluate the function itself: its rules are right where the jvp that it was given is not."""
    called = _jaxpr.custom_jvp(eqn)
    assert called is not None, "the rule is entered for custom rules alone"
    return evaluate(called.jaxpr, called.consts, operands, mode)


NAMED: dict[tuple[str, str], Callable[..., Sequence[Series]]] = {
    **{(LINALG, name): determinant for name in ("_det", "_det_2x2", "_det_3x3")},
    **{(LINALG, name): log_determinant for name in ("_slogdet_lu", "_slogdet_qr", "_slogdet_small")},
    (SPECIAL, "log_ndtr"): log_normal_cdf,
    **{(NUMPY, name): inside for name in ("_i0", "_i1", "i0_impl", "i1_impl")},
}
"""No rule of a user's is written in a file of JAX, whatever the name of what it belongs to."""


POINTWISE: dict[tuple[str, str], Rule] = {}
"""Functions of one number that this package gave a custom jvp, with the recurrence that they solve."""


def enter_sine_and_cosine(fun: Callable[..., Any]) -> None:
    """Give a function with a custom jvp, which returns the sine and the cosine of its argument, their recurrence."""

    def series(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
        del mode
        (u,) = operands
        sine, cosine = bind(eqn, u[0])
        return sine_and_cosine(sine, cosine, u, -1)

    POINTWISE[_file_of(fun), inspect.unwrap(fun).__name__] = Rule(series, sums=False, pointwise=True)


@rule(_jaxpr.CUSTOM_JVP, sums=True)
def custom_jvp_call(eqn: Any, operands: list[Series], mode: Mode) -> Sequence[Series]:
    """Take the rule of a function that is known here, or else the function's own jvp."""
    (file, name), (file_of_jvp, _) = _jaxpr.custom_jvp_origins(eqn)
    if (file, name) in POINTWISE and file_of_jvp == file:
        return follow(POINTWISE[file, name], eqn, operands, mode)
    known = NAMED.get((file, name))
    # a function that wraps JAX's goes by the name of that, its jvp by its own
    if known is not None and file_of_jvp == file:
        return collapsed(known)(eqn, operands, mode)
    return follow(BY_JVP, eqn, operands, mode)
