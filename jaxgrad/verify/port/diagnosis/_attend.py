"""Attention with settings: softmax(s q k^T + bias, masked) v, computed as a port or a reference may compute it."""

from typing import Any

import numpy as np

from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._attention_parts import Problem

__all__ = ["attend"]


def attend(problem: Problem, **s: Any) -> np.ndarray | None:
    """Compute attention with settings."""
    heads = s["heads"]
    q, k, v = _split_parts(problem.parts, s["order"], s["packed"], heads)
    d = q.shape[-1] // heads
    rows = problem.rows
    if s["axis"] == -2 or s["join"] == "before" or s["split"] == "before":
        rows = np.arange(q.shape[1])

    def split(x: np.ndarray, part: str) -> np.ndarray:
        count = x.shape[-1] // d
        if s["split"] == "before":
            return x.reshape(len(x), count, -1, d)
        if (
            s["split"] == "widths"
            or (s["split"] == "q widths" and part == "q")
            or (s["split"] == "kv widths" and part != "q")
        ):
            return x.reshape(*x.shape[:2], d, count).transpose(0, 3, 1, 2)
        return x.reshape(*x.shape[:2], count, d).swapaxes(1, 2)

    q, k, v = split(q, "q"), split(k, "k"), split(v, "v")
    if s["turned"]:
        q, k, v = (
            _rotate(problem, x, s) if part in s["turned"] else x for part, x in zip("qkv", (q, k, v), strict=True)
        )
    if k.shape[1] != heads:
        times = heads // k.shape[1]
        k, v = (np.repeat(x, times, 1) if s["repeat"] == "each" else np.tile(x, (1, times, 1, 1)) for x in (k, v))
    if s["norm"] == "l2":
        q, k = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), RECOGNISED) for x in (q, k))
    if s["norm"] == "transposed":
        return None
    scale = {"root": d**-0.5, "none": 1.0, "width": (heads * d) ** -0.5, "head": 1 / d, "fourth": d**-0.25,
             "twice": d**0.5}[s["scale"]]  # fmt: skip
    scores = scale * (q[:, :, rows] @ k.swapaxes(-1, -2))
    if s["bias"] is not None:
        scores = scores + problem.biases[s["bias"]][:, :, rows]
    scores = _masked(scores, None if s["mask"] is None else problem.masks[s["mask"]], s["value"], rows)
    if s["axis"] is None:
        weights = scores
    else:
        top = scores.max(s["axis"], keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
        weights = weights / weights.sum(s["axis"], keepdims=True)
    mixed = weights @ v
    made = {"heads": lambda: mixed.swapaxes(1, 2), "widths": lambda: mixed.transpose(0, 2, 3, 1),
            "before": lambda: mixed}[s["join"]]()  # fmt: skip
    made = made.reshape(len(mixed), len(rows), -1)
    made = made if len(rows) == len(problem.rows) else made[:, problem.rows]
    return made if problem.finish is None else problem.finish(made)


def _split_parts(parts: dict[str, np.ndarray], order: str, packed: str, heads: int) -> tuple[np.ndarray, ...]:
    """Return queries, keys and values of what the projections hold."""
    if "qkv" not in parts:
        return tuple(parts[name] for name in order)
    x = parts["qkv"]
    width = x.shape[-1] // 3
    d = width // heads
    if packed == "whole":
        held = np.split(x, 3, -1)
    elif packed == "head":
        apart = x.reshape(*x.shape[:2], heads, 3, d)
        held = [apart[..., i, :].reshape(*x.shape[:2], width) for i in range(3)]
    else:
        held = [x[..., i::3] for i in range(3)]
    return tuple(held["qkv".index(name)] for name in order)


def _masked(scores: np.ndarray, mask: np.ndarray | None, value: float, rows: np.ndarray) -> np.ndarray:
    """Return scores with a mask: a value in place of what is dropped, or something added."""
    if mask is None:
        return scores
    if mask.shape[2] > 1:
        mask = mask[:, :, rows]
    if len(mask) > 1 and len(scores) % len(mask) == 0 and len(scores) != len(mask):
        # windows of several images share their masks
        mask = np.tile(mask, (len(scores) // len(mask), 1, 1, 1))
    if mask.dtype.kind == "f":
        if np.isneginf(value):
            return scores + mask
        mask = mask > -1
    # a query that nothing is left for mixes everything alike
    value = np.finfo(np.float64).min if np.isneginf(value) else value
    return np.where(mask, scores, value)


def _rotate(problem: Problem, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
    """Turn pairs of entries by an angle that grows with the position."""
    count, d = x.shape[2], x.shape[3]
    if isinstance(s["base"], str):
        cos, sin = problem.tables[s["base"]]
    else:
        angle = np.outer(np.arange(count) + s["offset"], s["base"] ** (-np.arange(0, d, 2) / d))
        cos, sin = np.cos(angle), np.sin(angle)
    sin = s["sign"] * sin
    a, b = (x[..., : d // 2], x[..., d // 2 :]) if s["layout"] == "halves" else (x[..., ::2], x[..., 1::2])
    turned = a * cos - b * sin, a * sin + b * cos
    return np.concatenate(turned, -1) if s["layout"] == "halves" else np.stack(turned, -1).reshape(x.shape)
