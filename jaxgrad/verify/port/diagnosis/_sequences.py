"""Causes inside of recurrent layers: gates, reset, padding, direction, start."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence, proven
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, same
from jaxgrad.verify.port.diagnosis._matcher import Family, Option, match
from jaxgrad.verify.report._records import Cause

__all__ = ["recurrent"]

IDS = {"order": "gate-order", "reset": "reset-position", "update": "update-gate", "act": "cell-activation",
       "forget": "forget-bias", "start": "state", "reverse": "direction", "held": "packed", "squash": "cell-activation",
       "bias": "bias-missing", "second": "direction", "join": "direction-order"}  # fmt: skip
"""The cause that a setting stands for."""

GRU_GATES = 3
"""How many gates a gated recurrent unit has; a long short-term memory has four."""


def recurrent(e: Evidence, made: np.ndarray | None = None) -> list[Cause]:
    """Other gates, another direction, another start.

    Args:
        e: The evidence.
        made: What torch's layer returns, where the code behind it hands on but a part or a sum of it.
    """
    if e.weight("weight_hr_l0") is not None:
        return []
    read = next((r for r in READS if made is None or same(r(made), e.want)), None)
    if read is None:
        return []
    plain = made is None or read is READS[0]
    return _by_equations(e, read) or (_by_torch(e) if plain and e.weight("weight_ih_l0") is not None else [])


def _ends(x: np.ndarray, axis: int) -> np.ndarray:
    """Return the last state of each of two directions, side by side."""
    half = x.shape[-1] // 2
    return np.concatenate([x.take(-1, axis)[..., :half], x.take(0, axis)[..., half:]], -1)


OVER_TIME: tuple[Callable[..., Any], ...] = (
    np.sum,
    np.mean,
    np.max,
    _ends,
    functools.partial(np.take, indices=-1),
    functools.partial(np.take, indices=0),
)

READS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda x: x,
    *(functools.partial(f, axis=axis) for axis in (1, 0) for f in OVER_TIME),
)
"""What people hand on of the states of a sequence: all, or over the time their sum, mean or maximum, or an end."""


def _by_equations(e: Evidence, read: Callable[[np.ndarray], np.ndarray]) -> list[Cause]:
    """Explain layers, or one cell, by their equations, of what is read of their states."""
    whole = e.weight("weight_ih_l0") is not None
    directions = ("", "_reverse") if e.torch.get("bidirectional") else ("",)
    ends = [[f"_l{i}{d}" for d in directions] for i in range(e.torch.get("num_layers", 1))] if whole else [[""]]
    layers = [[_weights(e, end) for end in both] for both in ends]
    if layers[0][0] is None or not e.inputs or (e.forced and len(layers) * len(directions) > 1):
        return []
    w_hh = layers[0][0][1]
    size, gates = w_hh.shape[1], len(w_hh) // w_hh.shape[1]
    first = bool(e.torch.get("batch_first")) or not whole

    def laid(array: np.ndarray) -> np.ndarray:
        array = array if whole else array[:, None]
        return array if first else array.swapaxes(0, 1)

    x = laid(e.inputs[0])
    if x.ndim != 3 or e.want.shape != e.got.shape or gates not in (GRU_GATES, 4):
        return []
    zero = np.zeros((len(x), size))
    held = e.inputs[1] if not whole and len(e.inputs) > 1 else zero
    before = np.concatenate([zero[:, None], laid(e.want)[:, :-1]], 1) if e.forced else None
    masks = {f"array {i} of the batch": a for i, a in enumerate(e.bound.batch)
             if a.shape == x.shape[:2] and a.dtype.kind in "biu"}  # fmt: skip
    kept = {f"{n}, where it is {w}": m for n, a in masks.items() for w, m in (("not 0", a != 0), ("not 1", a != 1))
            if m.any() and not m.all()}  # fmt: skip
    stack = _Stack(x, [[_Cell(*w, held, before, kept) for w in both if w is not None] for both in layers])
    settings = _cell_settings(gates, kept, both=len(directions) > 1)
    most = max(LEAST_TRIED, MOST_STEPS // (x.shape[1] * len(layers) * len(directions)))

    def states(**s: Any) -> np.ndarray | None:
        made = stack.run(**s)
        # back into the layout of torch's layer
        return None if made is None else read((made if first else made.swapaxes(0, 1)) if whole else made[:, 0])

    found = match(Family(states, settings, most=most), e.want, e.got)
    return [
        cause(IDS[c.setting], f"JAX has {c.ours.words}, torch {c.theirs.words}.", f"Use {c.theirs.words}.",
              e.pair.call.path, proven=True)
        for c in found or ()
    ]  # fmt: skip


LEAST_TRIED, MOST_STEPS = 80, 100_000
"""How many settings are tried at the least, which is one change of each, and how many steps of cells in all: a step
takes some 30 microseconds."""


def _weights(e: Evidence, end: str) -> tuple[np.ndarray, np.ndarray, Any, Any] | None:
    """Return the two matrices and the two vectors of a cell."""
    w_ih, w_hh, b_ih, b_hh = (e.weight(f"{n}{end}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return None if w_ih is None or w_hh is None else (w_ih, w_hh, b_ih, b_hh)


def _cell_settings(gates: int, kept: dict[str, np.ndarray], *, both: bool) -> dict[str, tuple[Option, ...]]:
    """Return what may differ in a cell."""
    names = "rzn" if gates == GRU_GATES else "ifgo"
    acts = ("tanh", "relu", "sigmoid", "the identity", "softsign", "silu", "gelu (tanh)")
    shared = {
        "order": tuple(Option("".join(o), f"gates in the order {', '.join(o)}") for o in itertools.permutations(names)),
        "act": tuple(Option(a, f"{a} of the candidate") for a in acts),
        "start": (Option(0.0, "a first state of zeros"), Option(1.0, "a first state of ones")),
        "reverse": (Option("", "the sequence read forwards"), Option("kept", "the sequence read backwards"),
                    Option("flipped", "the sequence reversed")),
        "held": (Option("", "the state carried on everywhere"),
                 *(Option(n, f"the state held at the padding ({n})") for n in kept)),
        "squash": (Option("sigmoid", "sigmoid gates"), Option("hard sigmoid (x/6 + 1/2)", "hard sigmoid gates"),
                   Option("hard sigmoid (x/5 + 1/2)", "Keras' hard sigmoid gates")),
        "bias": (Option(True, "both biases"), Option(False, "one bias only")),
    }  # fmt: skip
    if both:
        shared |= {
            "second": (Option("kept", "the second direction read backwards"),
                       Option("", "the second direction read forwards too"),
                       Option("flipped", "the second direction read backwards and its states left in that order")),
            "join": tuple(Option(j, w) for j, w in JOINS.items()),
        }  # fmt: skip
    if gates == GRU_GATES:
        return {**shared,
                "reset": (Option("behind", "the reset gate behind the matrix product"),
                          Option("before", "the reset gate inside of the matrix product"),
                          Option("bias", "the reset gate behind the product and before its bias")),
                "update": (Option("z h", "h' = (1 - z) n + z h"), Option("z n", "h' = z n + (1 - z) h"))}  # fmt: skip
    return {
        **shared,
        "forget": (Option(0.0, "no constant in the forget gate"), Option(1.0, "1 added to the forget gate")),
    }


JOINS = {"both": "forwards before backwards", "exchanged": "backwards before forwards",
         "sum": "the sum of both directions", "mean": "the mean of both directions"}  # fmt: skip
"""What becomes of the states of two directions, in words."""


class _Stack:
    """Layers of cells one above the other, each of one direction or two, with the settings that all share."""

    def __init__(self, x: np.ndarray, layers: "list[list[_Cell]]") -> None:
        self.x, self.layers = x, layers

    def run(self, **s: Any) -> np.ndarray | None:
        """Compute the states of the last layer."""
        x: Any = self.x
        for cells in self.layers:
            made = [cell.run(x, s | ({"reverse": s["second"]} if i else {})) for i, cell in enumerate(cells)]
            if any(one is None for one in made):
                return None
            x = made[0] if len(made) == 1 else _joined(made, s["join"])
        return x


def _joined(made: list[Any], how: str) -> np.ndarray:
    """Join the states of two directions."""
    if how in ("sum", "mean"):
        return (made[0] + made[1]) / (1 if how == "sum" else 2)
    return np.concatenate(made[::-1] if how == "exchanged" else made, -1)


class _Cell:
    """The equations of a recurrent layer, with settings."""

    def __init__(
        self, w_ih: np.ndarray, w: np.ndarray, b_ih: Any, b: Any, start: np.ndarray, before: Any,
        kept: dict[str, np.ndarray],
    ) -> None:  # fmt: skip
        self.w_ih, self.w, self.start, self.before, self.kept = w_ih, w, start, before, kept
        self.b_ih, self.b = (np.zeros(len(w)) if x is None else x for x in (b_ih, b))
        self.into = np.zeros(())

    def run(self, x: np.ndarray, s: dict[str, Any]) -> np.ndarray | None:
        """Compute the states of a sequence."""
        if self.w_ih.shape[1] != x.shape[-1]:
            return None
        self.into = x @ self.w_ih.T + self.b_ih
        return (self.gru if len(s["order"]) == GRU_GATES else self.lstm)(**s)

    def gru(self, **s: Any) -> np.ndarray:
        """Compute a gated recurrent unit."""
        size, f = self.w.shape[1], ELEMENTWISE[s["squash"]]
        at = {gate: slice(i * size, (i + 1) * size) for i, gate in enumerate(s["order"])}
        b = self.b if s["bias"] else 0 * self.b

        def step(x: np.ndarray, h: np.ndarray, _: Any) -> tuple[np.ndarray, None]:
            def into(gate: str) -> np.ndarray:
                return h @ self.w[at[gate]].T + b[at[gate]]

            r, z = (f(x[:, at[gate]] + into(gate)) for gate in "rz")
            if s["reset"] == "behind":
                inner = r * into("n")
            elif s["reset"] == "before":
                inner = (r * h) @ self.w[at["n"]].T + b[at["n"]]
            else:
                inner = r * (h @ self.w[at["n"]].T) + b[at["n"]]
            n = ELEMENTWISE[s["act"]](x[:, at["n"]] + inner)
            return ((1 - z) * n + z * h if s["update"] == "z h" else z * n + (1 - z) * h), None

        return self._run(step, s)

    def lstm(self, **s: Any) -> np.ndarray | None:
        """Compute a long short-term memory."""
        if self.before is not None:
            return None
        size, f = self.w.shape[1], ELEMENTWISE[s["squash"]]
        at = {gate: slice(i * size, (i + 1) * size) for i, gate in enumerate(s["order"])}
        b, act = self.b if s["bias"] else 0 * self.b, ELEMENTWISE[s["act"]]

        def step(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            every = x + h @ self.w.T + b
            i, o = (f(every[:, at[gate]]) for gate in "io")
            c = f(every[:, at["f"]] + s["forget"]) * c + i * act(every[:, at["g"]])
            return o * act(c), c

        return self._run(step, s)

    def _run(self, step: Any, s: dict[str, Any]) -> np.ndarray:
        """Run the steps; each from the reference's state where that is given."""
        x = self.into[:, ::-1] if s["reverse"] else self.into
        h = self.start + s["start"]
        c, found = 0 * self.start + s["start"], []
        mask = self.kept.get(s["held"])
        mask = None if mask is None else mask[:, ::-1] if s["reverse"] else mask
        last = h
        for t in range(x.shape[1]):
            if self.before is not None:
                h = np.where(mask[:, t - 1, None], self.before[:, t], last) if mask is not None and t else (
                    self.before[:, t] + (s["start"] if t == 0 else 0)
                )  # fmt: skip
                last = h
            new, c_new = step(x[:, t], h, c)
            if mask is not None and self.before is None:
                new = np.where(mask[:, t, None], new, h)
                c_new = None if c_new is None else np.where(mask[:, t, None], c_new, c)
            found.append(new)
            h, c = new, c if c_new is None else c_new
        made = np.stack(found, 1)
        return made[:, ::-1] if s["reverse"] == "kept" else made


def _by_torch(e: Evidence) -> list[Cause]:
    """Another direction, another start, of layers that are run by torch."""
    import torch

    module = dict(e.bound.torch.at("float64").named_modules())[e.pair.call.path]
    params = {n: torch.from_numpy(np.array(w)) for n, _ in module.named_parameters() if (w := e.weight(n)) is not None}
    x, time = torch.from_numpy(e.inputs[0].copy()), 1 if e.torch.get("batch_first") else 0
    layers = e.torch.get("num_layers", 1) * (2 if e.torch.get("bidirectional") else 1)
    one = torch.ones(layers, x.shape[1 - time], module.hidden_size, dtype=x.dtype)
    start = (one, one) if e.torch["kind"] == "LSTM" else one

    def run(*args: Any) -> Any:
        with torch.no_grad():
            return torch.func.functional_call(module, params, args)[0].numpy()

    if same(np.flip(run(x.flip(time)), time), e.got) or same(run(x.flip(time)), e.got):
        return proven(e, "direction", "JAX reads the sequence backwards.", "Set reverse=False.")
    if same(run(x, start), e.got):
        return proven(e, "state", "JAX starts from a state of ones, torch from zeros.", "Start from zeros.")
    if time == 1 and same(run(x.swapaxes(0, 1)).swapaxes(0, 1), e.got):
        return proven(e, "time-axis", "JAX runs along the batch axis.", "Set time_major as the data is.")
    return []
