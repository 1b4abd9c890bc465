"""Random losses of one example, made of the operands, dtypes, loops and rules that the world uses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["PIECES", "Case", "draw"]

WIDTH, LENGTH = 4, 3
FLOATS = ("float16", "bfloat16", "float32", "float64")
WHOLE = ("uint8", "int8", "uint16", "int16", "int32", "uint32", "int64")
ROWS = {"uint8": 256, "int8": 128, "uint16": 300, "int16": 300}
"""Tables that are longer than their indices can tell, where they are not 256 rows long."""


class Case(NamedTuple):
    """A loss of one example, and its reference: the same formula with nothing rounded to a narrow dtype."""

    name: str
    loss: Callable[..., Any]
    exact: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]
    eps: float
    """The rounding unit of the narrowest dtype that takes part."""
    ordinary: bool
    """Whether squares of the gradients are in range."""
    promised: bool
    """Whether indices are outside of what was promised: JAX's forward and reverse mode differ on them."""


class Inputs(NamedTuple):
    """What a piece of a loss may use of one example."""

    p: Any
    x: Any
    ids: Any
    counts: Any
    narrow: Callable[[Any], Any]


def dense(i):
    return jnp.tanh(i.narrow(i.x) @ i.narrow(i.p["w"]))


def vector(i):
    return jnp.tanh(i.x[0] @ i.p["w"] + i.p["b"])


def counted(i):
    """An integer, unsigned or boolean operand of a product."""
    return jnp.tanh(0.2 * (i.counts @ i.p["w"]))


def counted_convolution(i):
    kernel = jnp.stack([i.p["w"], i.p["w"].T])
    counts = i.counts.astype(kernel.dtype)
    return jnp.tanh(0.1 * convolve(counts, kernel))


def convolve(x, kernel):
    return jax.lax.conv_general_dilated(x[None], kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))[0]


def taken(mode):
    def lookup(i):
        return jnp.sin(i.narrow(jnp.take(i.p["e"], i.ids, axis=0, mode=mode, fill_value=0.0)) * 1.5)

    lookup.__name__ = f"take_{mode}"
    return lookup


def gathered(mode):
    """A lookup as JAX's own operation: indices that are negative or beyond the table reach it."""
    numbers = jax.lax.GatherDimensionNumbers((1,), (0,), (0,))

    def lookup(i):
        rows = jax.lax.gather(i.p["e"], i.ids[:, None], numbers, (1, WIDTH), mode=mode, fill_value=0)
        return jnp.sin(rows * 1.5)

    lookup.__name__ = f"gather_{mode}"
    return lookup


def indexed(i):
    return jnp.sin(i.p["e"][i.ids] * 1.5) @ i.p["w"]


def complex_state(i):
    turn = jnp.exp(1j * i.p["b"].astype(jnp.float32))

    def step(h, u):
        h = 0.5 * turn * h + u @ i.p["w"].astype(jnp.float32)
        return h, (h @ i.p["w"].astype(jnp.complex64)).real

    return jax.lax.scan(step, jnp.zeros(WIDTH, jnp.complex64), i.x.astype(jnp.float32))[1]


def spectrum(i):
    return jnp.abs(jnp.fft.fft(i.x.astype(jnp.float32), axis=0) @ i.p["w"] + 2.0)


def complex_lookup(i):
    return jnp.real(jnp.exp(1j * i.p["e"].astype(jnp.complex64)[i.ids % 100]) * (1 + 2j))


def recurrence(i):
    def step(c, xt):
        c = jnp.tanh(xt @ i.p["w"] + c @ i.p["w"].T).astype(c.dtype)
        return c, c

    return jax.lax.scan(step, jnp.zeros(WIDTH, i.p["w"].dtype), i.x)[1]


def scan_in_scan(i):
    def outer(h, w):
        def inner(c, xt):
            c = jnp.tanh(xt * w + 0.5 * c)
            return c, c

        return jax.lax.scan(inner, jnp.zeros(WIDTH, h.dtype), h)[1], None

    h = i.x.astype(jnp.result_type(i.x, i.p["w"]))
    return jax.lax.scan(jax.checkpoint(outer), h, i.p["w"].astype(h.dtype))[0]


def counted_loop(i):
    start = i.x.astype(jnp.result_type(i.x, i.p["w"]))
    return jax.lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ i.p["w"]).astype(h.dtype), start)


def recomputed(i):
    return jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(i.p["w"], i.x)


@jax.custom_jvp
def bent(x):
    return jnp.abs(x)


@bent.defjvp
def _bent_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return jnp.abs(x), jax.lax.cond(jnp.sum(x) > 0, lambda t: 1.5 * t, lambda t: -2 * t, t)


def branch_in_a_rule(i):
    return bent(jnp.sum(i.x[0] @ i.p["w"]))


@jax.custom_vjp
def held(x):
    return jnp.tanh(x)


held.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: ((g * (1 - jnp.tanh(x) ** 2)).astype(x.dtype),))


def reverse_only(i):
    return held(i.x @ i.p["w"])


def mapped(i):
    return jax.vmap(lambda row: jnp.tanh(row @ i.p["w"]))(i.x)


def nothing(i):
    """A product over no position, and one with a leaf without entries."""
    return jnp.sum(i.x[:0] @ i.p["w"]) + jnp.sum(i.x[0, :0] @ i.p["empty"]) + jnp.sin(i.x[0] @ i.p["w"])


def elementwise(i):
    return jnp.sin(i.p["w"][:LENGTH] * i.x) + i.p["b"]


PIECES = [
    dense,
    vector,
    counted,
    counted_convolution,
    taken("clip"),
    taken("fill"),
    taken("wrap"),
    gathered("clip"),
    gathered("fill"),
    gathered("promise_in_bounds"),
    indexed,
    complex_state,
    spectrum,
    complex_lookup,
    recurrence,
    scan_in_scan,
    counted_loop,
    recomputed,
    branch_in_a_rule,
    reverse_only,
    mapped,
    nothing,
    elementwise,
]
SINGLE = {"complex_state", "spectrum", "complex_lookup"}
"""Pieces that compute in float32 whatever their inputs are."""


CAST = {"dense", "take_clip", "take_fill", "take_wrap"}
"""Pieces that compute in the dtype that is drawn for the arithmetic."""

PROMISED = {"indexed", "gather_promise_in_bounds"}
"""Pieces that promise indices within the table."""

WRAPPED = {"take_wrap", "indexed", "complex_lookup"}
"""Pieces whose negative indices JAX counts from the end, in the dtype of the indices."""


def draw(seed: int, **fixed: Any) -> Case:
    """Draw a case; ``fixed`` sets what would be drawn."""
    rng = np.random.default_rng([2026, seed])

    def choose(name, among):
        picked = among[rng.integers(len(among))]
        return fixed.get(name, picked)

    first = PIECES[seed % len(PIECES)]
    pieces = fixed.get("pieces", [first, PIECES[rng.integers(len(PIECES))]][: 1 + rng.integers(2)])
    weight, data, arithmetic = (choose(name, FLOATS) for name in ("weight", "data", "arithmetic"))
    bias, table = choose("bias", FLOATS), choose("table", FLOATS)
    index, count = choose("index", WHOLE), choose("count", (*WHOLE, "bool"))
    size, batch = choose("size", (1.0, 1.0, 1.0, 5e18, 2e-23)), choose("batch", (1, 3, 4))
    # data that are narrower than the weight are rounded no further: the wider of the two decides
    names = {piece.__name__ for piece in pieces}
    used = (
        {weight, bias, table} | ({"float32"} if SINGLE & names else set()) | ({arithmetic} if CAST & names else set())
    )
    eps = max(float(jnp.finfo(d).eps) for d in used)
    # 16-bit numbers have no room for a gradient of another size
    size = size if min(jnp.finfo(d).bits for d in used | {data}) >= 32 else 1.0

    def loss(narrow, p, x, ids, counts):
        parts = [piece(Inputs(p, x, ids, counts, narrow)) for piece in pieces]
        wide = jnp.result_type(*parts, jnp.float32)
        return size * sum(jnp.sum(part.astype(wide)) * (k + 1) for k, part in enumerate(parts))

    # JAX itself refuses to wrap indices of a dtype that cannot name the table's length
    rows = 100 if any(piece.__name__ in WRAPPED for piece in pieces) else ROWS.get(index, 256)
    params = {
        "w": jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / 2, weight),
        "b": jnp.asarray(rng.normal(size=WIDTH) / 2, bias),
        "e": jnp.asarray(rng.normal(size=(rows, WIDTH)) / 2, table),
        "empty": jnp.zeros((0, WIDTH), weight),
    }
    lowest = -20 if jnp.issubdtype(index, jnp.signedinteger) else 0
    ids = rng.integers(lowest, min(rows + 20, int(jnp.iinfo(index).max) + 1), size=(batch, LENGTH))
    ids[:, 1] = ids[:, 0]
    counts = rng.integers(0, 2 if count in {"bool"} else 4, size=(batch, LENGTH, WIDTH))
    examples = (
        jnp.asarray(rng.normal(size=(batch, LENGTH, WIDTH)), data),
        jnp.asarray(ids, index),
        jnp.asarray(counts, count),
    )
    name = f"{[f.__name__ for f in pieces]} {weight} @ {data} in {arithmetic}, {index}, {count}, {batch} x {size}"
    cast = {"w": weight, "b": bias, "e": table}

    def narrowed(p, x, ids, counts):
        return loss(lambda a: a.astype(arithmetic), p, x, ids, counts)

    def exact(p, x, ids, counts):
        return loss(lambda a: a, p, x, ids, counts)

    assert set(cast) < set(params)
    return Case(name, narrowed, exact, params, examples, eps, size == 1.0, bool(PROMISED & names))
