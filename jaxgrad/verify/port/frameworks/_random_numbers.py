"""What a traced program makes of random numbers alone: their distribution, from an even grid in place of random bits.

All entries of a random array are alike, so one stands for all, and a function of one entry (a threshold, the inverse of
a distribution function) turns an even grid of bits into an even grid of quantiles. Nothing is drawn, nothing compiled.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import scipy.special

from jaxgrad import _jaxpr

__all__ = ["POINTS", "Random", "Value", "interpret"]

POINTS = 20_000
"""The points of the grid: a part of the entries is known to one in so many, and exactly where it has four decimals."""


@dataclasses.dataclass(frozen=True)
class Random:
    """An array made of random bits and constants."""

    values: np.ndarray
    """What an entry is at every point of the grid."""
    source: int
    """Which draw it is made of."""
    size: int
    """How many entries were drawn."""

    def of(self, values: Any) -> "Random":
        """Return another function of the same draw."""
        return dataclasses.replace(self, values=np.asarray(values))


Value = Random | np.generic | None
"""A random array, a constant with one value in all its entries, or anything else (``None``): data."""

Meet = Callable[[_jaxpr.JaxprEqn, list[Value], str], None]
"""Called with an equation in which random numbers meet data, its operands, and where it stands."""


def interpret(closed: Any, operands: Sequence[Value], meet: Meet | None = None) -> list[Value]:
    """Return what the results of a jaxpr are.

    Args:
        closed: The jaxpr.
        operands: What it is given.
        meet: Told of every equation in which random numbers meet data.
    """
    return _Interpreter(meet or _nobody).run(closed, list(operands), "")


def _nobody(eqn: Any, operands: list[Value], where: str) -> None:
    """Tell nobody."""
    del eqn, operands, where


class _Interpreter:
    """Goes through a jaxpr, and the functions in it, once."""

    def __init__(self, meet: Meet) -> None:
        self.meet, self.draws = meet, itertools.count()

    def run(self, closed: Any, operands: list[Value], where: str) -> list[Value]:
        """Return the results of a jaxpr."""
        jaxpr = closed.jaxpr
        known: dict[Any, Value] = dict(zip(jaxpr.invars, operands, strict=True))
        known |= {var: _constant(value) for var, value in zip(jaxpr.constvars, closed.consts, strict=True)}

        def value(atom: Any) -> Value:
            return _constant(atom.val) if isinstance(atom, _jaxpr.Literal) else known.get(atom)

        for eqn in jaxpr.eqns:
            inside = str(eqn.source_info.name_stack) or where
            results = self.evaluate(eqn, [value(atom) for atom in eqn.invars], inside)
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def evaluate(self, eqn: _jaxpr.JaxprEqn, operands: list[Value], where: str) -> list[Value]:
        """Return the results of an equation."""
        unknown: list[Value] = [None] * len(eqn.outvars)
        if eqn.primitive.name == "random_bits":
            aval: Any = eqn.outvars[0].aval
            return [Random(_grid(eqn.params["bit_width"], aval.dtype), next(self.draws), int(np.prod(aval.shape)))]
        body = _body(eqn)
        if body is not None:
            return self.run(body, operands, where)
        if (scan := _jaxpr.as_scan(eqn)) is not None:
            # what is carried changes from step to step; what a step draws is stacked, and every step draws alike
            fixed: list[Value] = operands[: scan.consts]
            made = self.run(scan.body, fixed + [None] * (len(operands) - scan.consts), where)
            return [None] * scan.carries + made[scan.carries :]
        for inner in _jaxpr.functions(eqn):
            # a branch or a loop: what it draws is seen, what it returns is not known
            self.run(_jaxpr.ClosedJaxpr(inner, ()) if not inner.constvars else _open(inner), [None] * len(inner.invars),
                     where)  # fmt: skip
        drawn = [x for x in operands if isinstance(x, Random)]
        if any(x is None for x in operands):
            if drawn:
                self.meet(eqn, operands, where)
            return unknown
        if len({x.source for x in drawn}) > 1 or len(eqn.outvars) > 1:
            return unknown
        return [_applied(eqn, operands, drawn)]


def _body(eqn: _jaxpr.JaxprEqn) -> Any:
    """Return the function that an equation calls as it is."""
    kept = _jaxpr.checkpoint(eqn)
    if kept is not None:
        return kept.body
    return _jaxpr.call(eqn) or _jaxpr.custom_jvp(eqn) or _jaxpr.custom_vjp(eqn)


def _open(jaxpr: Any) -> Any:
    """Return a jaxpr whose constants are data."""
    return jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars])


def _constant(value: Any) -> Value:
    """Return a constant that has one value in all its entries."""
    if not isinstance(value, int | float | bool | np.ndarray | np.generic | jax.Array) or np.size(value) == 0:
        return None
    if jax.dtypes.issubdtype(getattr(value, "dtype", np.float64), jax.dtypes.prng_key):
        return None
    array = np.asarray(value)
    first = array.ravel()[0]
    return first if array.size == 1 or bool((array == first).all()) else None


def _grid(width: int, dtype: Any) -> np.ndarray:
    """Return whole numbers that lie evenly among those of so many bits."""
    return ((np.arange(POINTS) + 0.5) / POINTS * 2.0**width).astype(dtype)


def _applied(eqn: _jaxpr.JaxprEqn, operands: list[Any], drawn: list[Random]) -> Value:
    """Return a function of one draw and of constants."""
    name = eqn.primitive.name
    values = [x.values if isinstance(x, Random) else x for x in operands]
    if name in SAME:
        made: Any = values[0]
    elif name in ENTRY_BY_ENTRY:
        with np.errstate(all="ignore"):
            made = ENTRY_BY_ENTRY[name](*values, **eqn.params)
    else:
        return None
    aval: Any = eqn.outvars[0].aval
    made = np.asarray(made, aval.dtype)
    return drawn[0].of(made) if drawn else made.ravel()[0]


SAME = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "rev", "copy", "copy_p",
        "stop_gradient", "device_put", "sharding_constraint", "reduce_precision", "dynamic_slice", "gather",
        "convert_element_type", "real", "optimization_barrier", "pad_to_shape", "mesh_cast"}  # fmt: skip
"""Primitives that move entries, or keep their values."""


def _numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of entries that takes the parameters of a primitive, and needs none."""

    def apply(*values: Any, **params: Any) -> Any:
        del params
        return function(*values)

    return apply


ENTRY_BY_ENTRY: dict[str, Callable[..., Any]] = {
    **{name: _numpy(function) for name, function in {
        "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum,
        "min": np.minimum, "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil,
        "round": np.round, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "exp": np.exp,
        "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos,
        "tan": np.tan, "tanh": np.tanh, "logistic": scipy.special.expit, "erf": scipy.special.erf,
        "erf_inv": scipy.special.erfinv, "pow": np.power, "lt": np.less, "le": np.less_equal, "gt": np.greater,
        "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.bitwise_and, "or": np.bitwise_or,
        "xor": np.bitwise_xor, "not": np.invert, "shift_right_logical": np.right_shift,
        "shift_left": np.left_shift, "nextafter": np.nextafter, "rem": np.fmod, "is_finite": np.isfinite,
        "clamp": lambda low, x, high: np.clip(x, low, high),
        "div": lambda a, b: np.floor_divide(a, b) if np.asarray(a).dtype.kind in "iu" else np.divide(a, b),
        "select_n": lambda which, *cases: np.choose(np.asarray(which, np.intp), cases),
    }.items()},
    "integer_pow": lambda x, *, y, **_: np.power(x, y) if y >= 0 else 1 / np.power(x, -y),
    "bitcast_convert_type": lambda x, *, new_dtype, **_: np.ascontiguousarray(x).view(new_dtype),
}  # fmt: skip
"""Primitives that are functions of single entries."""
