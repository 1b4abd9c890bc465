"""Causes inside of recurrent layers: gates, reset, padding, direction, start."""

import itertools
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
       "bias": "bias-missing"}  # fmt: skip
"""The cause that a setting stands for."""


def recurrent(e: Evidence) -> list[Cause]:
    """Other gates, another direction, another start."""
    if e.torch.get("num_layers", 1) == 1 and not e.torch.get("bidirectional"):
        found = _one_layer(e)
        if found:
            return found
    return _several_layers(e) if e.weight("weight_ih_l0") is not None else []


def _one_layer(e: Evidence) -> list[Cause]:
    """Explain one layer or cell by its equations."""
    end = "_l0" if e.weight("weight_ih_l0") is not None else ""
    w_ih, w_hh, b_ih, b_hh = (e.weight(f"{n}{end}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    if w_ih is None or w_hh is None or not e.inputs:
        return []
    size, gates = w_hh.shape[1], len(w_hh) // w_hh.shape[1]
    first = bool(e.torch.get("batch_first")) or not end

    def laid(array: np.ndarray) -> np.ndarray:
        array = array if end else array[:, None]
        return array if first else array.swapaxes(0, 1)

    x, want, got = laid(e.inputs[0]), laid(e.want), laid(e.got)
    if x.ndim != 3 or want.shape != got.shape or gates not in (3, 4):
        return []
    zero = np.zeros((len(x), size))
    held = e.inputs[1] if not end and len(e.inputs) > 1 else zero
    before = np.concatenate([zero[:, None], want[:, :-1]], 1) if e.forced else None
    into = x @ w_ih.T + (0 if b_ih is None else b_ih)
    cell = _Cell(into, w_hh, np.zeros(len(w_hh)) if b_hh is None else b_hh, held, before)
    masks = {f"array {i} of the batch": a for i, a in enumerate(e.bound.batch)
             if a.shape == x.shape[:2] and a.dtype.kind in "biu"}  # fmt: skip
    kept = {f"{n}, where it is {w}": m for n, a in masks.items() for w, m in (("not 0", a != 0), ("not 1", a != 1))
            if m.any() and not m.all()}  # fmt: skip
    cell.kept = kept
    family = Family(cell.gru if gates == 3 else cell.lstm, _cell_settings(gates, kept))
    found = match(family, want, got)
    return [
        cause(IDS[c.setting], f"JAX has {c.ours.words}, torch {c.theirs.words}.", f"Use {c.theirs.words}.",
              e.pair.call.path, proven=True)
        for c in found or ()
    ]  # fmt: skip


def _cell_settings(gates: int, kept: dict[str, np.ndarray]) -> dict[str, tuple[Option, ...]]:
    """Return what may differ in a cell."""
    names = "rzn" if gates == 3 else "ifgo"
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
    if gates == 3:
        return {**shared,
                "reset": (Option("behind", "the reset gate behind the matrix product"),
                          Option("before", "the reset gate inside of the matrix product"),
                          Option("bias", "the reset gate behind the product and before its bias")),
                "update": (Option("z h", "h' = (1 - z) n + z h"), Option("z n", "h' = z n + (1 - z) h"))}  # fmt: skip
    return {
        **shared,
        "forget": (Option(0.0, "no constant in the forget gate"), Option(1.0, "1 added to the forget gate")),
    }


class _Cell:
    """The equations of a recurrent layer, with settings."""

    def __init__(self, into: np.ndarray, w: np.ndarray, b: np.ndarray, start: np.ndarray, before: Any) -> None:
        self.into, self.w, self.b, self.start, self.before = into, w, b, start, before
        self.kept: dict[str, np.ndarray] = {}

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


def _several_layers(e: Evidence) -> list[Cause]:
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
