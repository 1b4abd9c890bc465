"""A JAX program with its float32 islands computed in float64: the definition is judged, not the island.

A model that is given float64 may still compute in float32 inside: a table of positions, ``x.astype(jnp.float32)``
around a norm, a layer with ``dtype=jnp.float32``. The program is traced, and evaluated again with every float32 of it
in float64. Nothing of the model or of JAX is touched.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from jaxgrad import _jaxpr
from jaxgrad.verify.port.frameworks._compile import run_once

__all__ = ["Table", "key_of", "lifted", "narrow_lines", "rounded", "tables", "trace"]

WIDER = {np.dtype(np.float32): np.dtype(np.float64), np.dtype(np.complex64): np.dtype(np.complex128)}
NARROWER = {wide: narrow for narrow, wide in WIDER.items()}
KEPT = frozenset({"bitcast_convert_type", "reduce_precision", "random_bits", "random_seed", "random_wrap"})
"""Primitives whose meaning is the width of a number."""


class Known(NamedTuple):
    """A value, in float64 where it belongs to an island that is lifted."""

    value: Any
    fixed: bool
    """Whether it depends on no floating-point argument of the program: integers are exact in any precision."""


class Table(NamedTuple):
    """An array of the program that depends on none of its arguments."""

    narrow: np.ndarray
    """As it is with every step in float32."""
    wide: np.ndarray
    """As it is with every step in float64."""


def lifted(fun: Callable[..., Any], *, data: bool, known: Mapping[Any, np.ndarray] | None = None) -> Callable[..., Any]:
    """Return a function with its float32 islands computed in float64.

    Args:
        fun: A function of trees of arrays.
        data: Whether what depends on a floating-point argument is lifted too; otherwise only what is made of constants
            and integers is, and what JAX's own attention rounds.
        known: Float64 values of constants that were rounded to float32 before the program saw them, by `key_of`.
    """

    @functools.wraps(fun)
    def wide(*args: Any) -> Any:
        program, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        if not _narrow_inside(program.jaxpr) and not any(_is_narrow(c) for c in program.consts):
            return fun(*args)
        lift = functools.partial(_constant, known or {})
        interpreter = functools.partial(_operate, data, lift)
        given = [Known(x, not _jaxpr.is_inexact(x)) for x in jax.tree.leaves(args)]
        found = _jaxpr.evaluate(program.jaxpr, program.consts, given, interpreter, lift)
        return jax.tree.unflatten(jax.tree.structure(shapes), [k.value for k in found])

    return wide


def key_of(array: Any) -> Any:
    """Return what tells one constant from another: its shape and its bytes."""
    array = np.asarray(array)
    return array.shape, array.dtype.name, array.tobytes()


def trace(fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return the program of a function for its arguments."""
    return jax.make_jaxpr(fun)(*args)


def rounded(program: Any) -> list[np.ndarray]:
    """Return the arrays of float32 that a program was given as constants."""
    arrays = [np.asarray(c) for c in program.consts if _is_narrow(c) and not isinstance(c, jax.core.Tracer)]
    return [array for array in arrays if array.size > 1]


def tables(program: Any) -> list[Table]:
    """Return every array of numbers that a program computes from none of its arguments."""

    def collect(consts: Any) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = []

        def both(eqn: Any, atoms: list[Any]) -> list[Any]:
            inner = _jaxpr.call(eqn)
            if inner is not None:
                return _jaxpr.evaluate(inner.jaxpr, inner.consts, atoms, both, pair)
            if any(atom is None for atom in atoms) or eqn.effects:
                return [None] * len(eqn.outvars)
            wide = [k.value for k in _operate(True, PLAIN, eqn, [Known(atom[1], True) for atom in atoms])]
            results = list(zip(_first_order(eqn, [atom[0] for atom in atoms], NARROWER) or wide, wide, strict=True))
            found.extend(result for result in results if _jaxpr.is_inexact(result[1]) and result[1].size > 1)
            return results

        def pair(value: Any) -> Any:
            return value, _constant({}, value).value

        _jaxpr.evaluate(program.jaxpr, consts, [None] * len(program.jaxpr.invars), both, pair)
        return found

    return [Table(np.asarray(a), np.asarray(b)) for a, b in run_once(collect, program.consts)]


def narrow_lines(program: Any) -> list[str]:
    """Return the lines that compute in float32 on what depends on a floating-point argument of a program."""
    found: dict[str, None] = {}

    def look(eqn: Any, atoms: list[bool]) -> list[bool]:
        inner = _jaxpr.call(eqn)
        if inner is not None and not _jaxs_own(eqn):
            return _jaxpr.evaluate(inner.jaxpr, inner.consts, atoms, look, lambda _: False)
        moving = any(atoms)
        if moving and any(map(_is_narrow, eqn.outvars)) and not _jaxs_own(eqn):
            found.setdefault(_jaxpr.line_of(eqn))
        return [moving] * len(eqn.outvars)

    moving = [_jaxpr.is_inexact(variable.aval) for variable in program.jaxpr.invars]
    _jaxpr.evaluate(program.jaxpr, program.consts, moving, look, lambda _: False)
    return list(found)


def _is_narrow(thing: Any) -> bool:
    """Say whether an array or a variable is float32."""
    return getattr(getattr(thing, "aval", thing), "dtype", None) in WIDER


def _narrow(eqn: Any) -> bool:
    """Say whether an equation takes, returns or holds float32."""
    return any(map(_is_narrow, (*eqn.invars, *eqn.outvars))) or any(map(_narrow_inside, _jaxpr.functions(eqn)))


def _narrow_inside(jaxpr: Any) -> bool:
    """Say whether a jaxpr holds float32."""
    return _jaxpr.contains(jaxpr, lambda eqn: any(map(_is_narrow, (*eqn.invars, *eqn.outvars))))


def _jaxs_own(eqn: Any) -> bool:
    """Say whether an equation is part of JAX's attention, whose softmax is in float32 whatever the user gives it."""
    return _jaxpr.traced_in(eqn, jax.nn.dot_product_attention)


def _constant(known: Mapping[Any, np.ndarray], value: Any) -> Known:
    """Return a constant or literal: a float32 literal was written as a short decimal."""
    if isinstance(value, jax.core.Tracer):
        return Known(value, False)
    if not _is_narrow(value):
        return Known(value, True)
    array = np.asarray(value)
    if known and (key := key_of(array)) in known:
        return Known(known[key], True)
    if not array.ndim and array.dtype == np.float32:
        return Known(_decimal(array), True)
    return Known(array.astype(WIDER[array.dtype]), True)


PLAIN = functools.partial(_constant, {})
"""Takes constants as they are."""


UNITS = ((1.0, 6), (np.pi, 3), (1 / np.pi, 3), (np.log(10.0), 3), (np.log(2.0), 3))
"""What numbers in programs are written as multiples of, and how many digits such a multiple may have: a float32 holds
seven, so that one of six is met by chance once in ten, and one of three never."""


def _decimal(value: np.ndarray) -> np.ndarray:
    """Return the number that a float32 literal stands for: the one that is written with the fewest digits, or as it is.

    Tried are decimals, multiples of pi and of logarithms, their roots and their reciprocals: the logarithm of 10000 is
    4 log(10), and not 9.21034. What is found lies no further off than the literal's own rounding.
    """
    number = np.float64(value)
    if not number or not np.isfinite(number):
        return np.asarray(number)
    best, fewest = number, 7
    for (unit, digits), power in itertools.product(UNITS, (1.0, 2.0, -1.0, -2.0)):
        short = f"{abs(number) ** power / unit:.{digits}g}"
        with np.errstate(all="ignore"):
            made = np.copysign(np.float64(float(short) * unit) ** (1 / power), number)
        length = len(short.partition("e")[0].replace(".", "").strip("0"))
        if length < fewest and np.isfinite(made) and np.float32(made) == value:
            best, fewest = made, length
    return np.asarray(best)


def _restored(known: Known, atom: Any) -> Any:
    """Return a value in the dtype that the program gives it."""
    dtype, value = atom.aval.dtype, known.value
    same = dtype not in WIDER or getattr(value, "dtype", None) == dtype
    return value if same else lax.convert_element_type(value, dtype)


def _widened(known: Known) -> Any:
    """Return a value in float64, if it is in float32."""
    return _as(known.value, WIDER)


def _operate(data: bool, lift: Callable[[Any], Known], eqn: Any, atoms: list[Known]) -> list[Known]:
    """Evaluate one equation, in float64 if its island is lifted."""
    fixed = all(atom.fixed for atom in atoms) and not eqn.effects
    inner = _jaxpr.call(eqn)
    narrow = _narrow(eqn)
    data = data or (narrow and _jaxs_own(eqn))
    if inner is not None:
        return _jaxpr.evaluate(inner.jaxpr, inner.consts, atoms, functools.partial(_operate, data, lift), lift)
    results = None
    if (data or fixed) and narrow:
        results = _wide(eqn, [_widened(atom) for atom in atoms])
    if results is None:
        results = _jaxpr.bind(eqn, *map(_restored, atoms, eqn.invars))
    return [Known(result, fixed) for result in results]


def _everything(jaxpr: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluate a closed jaxpr with all of its float32 in float64."""
    given = [Known(value, False) for value in values]
    operate = functools.partial(_operate, True, PLAIN)
    return [_widened(k) for k in _jaxpr.evaluate(jaxpr.jaxpr, jaxpr.consts, given, operate, PLAIN)]


def _wide(eqn: Any, values: list[Any]) -> list[Any] | None:
    """Evaluate one equation in float64; ``None`` where it cannot be."""
    scan, loop, ways = _jaxpr.as_scan(eqn), _jaxpr.as_while(eqn), _jaxpr.branches(eqn)
    kept, custom = _jaxpr.checkpoint(eqn), _jaxpr.custom_jvp(eqn)
    if scan is not None:
        return _wide_scan(scan, values)
    if loop is not None:
        test, body, rest = _parts(values, loop.test_consts, loop.body_consts)
        return list(
            lax.while_loop(lambda c: _everything(loop.test, [*test, *c])[0],
                           lambda c: _everything(loop.body, [*body, *c]), rest)
        )  # fmt: skip
    if ways is not None:
        return list(lax.switch(values[0], [lambda *v, way=way: _everything(way, v) for way in ways], *values[1:]))
    if kept is not None:
        return _everything(kept.body, values)
    if custom is not None:
        # its rule was made for float32; the derivative of what it computes is the same but at a kink
        return [jax.nn.relu(values[0])] if _jaxpr.name_of(eqn) == "relu" else _everything(custom, values)
    return _first_order(eqn, values, WIDER)


def _first_order(eqn: Any, values: list[Any], other: Mapping[Any, Any]) -> list[Any] | None:
    """Evaluate an equation that holds no function in other dtypes; ``None`` where it cannot be."""
    if eqn.primitive.name in KEPT or any(True for _ in _jaxpr.functions(eqn)):
        return None

    def dtype(value: Any) -> Any:
        kind = np.dtype(value) if isinstance(value, np.dtype) or value in (*WIDER, *NARROWER) else None
        return other.get(kind, value) if kind is not None else value

    params = {name: dtype(value) if isinstance(value, np.dtype | type) else value for name, value in eqn.params.items()}
    return _jaxpr.bind(eqn.replace(params=params), *(_as(value, other) for value in values))


def _as(value: Any, other: Mapping[Any, Any]) -> Any:
    """Return a value in another dtype, where there is one for its own."""
    dtype = getattr(value, "dtype", None)
    return lax.convert_element_type(value, other[dtype]) if dtype in other else value


def _parts(values: list[Any], *counts: int) -> list[list[Any]]:
    """Split a list by counts; the last part is the rest."""
    found, start = [], 0
    for count in counts:
        found.append(values[start : start + count])
        start += count
    return [*found, values[start:]]


def _wide_scan(scan: Any, values: list[Any]) -> list[Any]:
    """Evaluate a scan in float64."""
    consts, carries, rows = _parts(values, scan.consts, scan.carries)

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        results = _everything(scan.body, [*consts, *carry, *row])
        return results[: scan.carries], results[scan.carries :]

    last, stacked = lax.scan(step, carries, rows, length=scan.length, reverse=scan.reverse, unroll=scan.unroll)
    return [*last, *stacked]
