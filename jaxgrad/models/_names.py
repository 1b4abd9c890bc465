"""How alike two names are, and what a name says of the part that a weight plays in its layer."""

import functools
import re
from typing import NamedTuple

__all__ = ["DIRECTIONS", "ROLES", "Number", "Token", "likeness", "role_of", "words"]

ROLES = {
    "weight": [
        "kernel",
        "weight",
        "weights",
        "w",
        "embedding",
        "embeddings",
        "scale",
        "gamma",
        "g",
        "v",
        "table",
        "negative_slope",
        "alpha",
        "original",
        "original1",
        "weight_v",
        "weight_orig",
    ],
    "g": ["weight_g", "original0"],
    "bias": ["bias", "b", "beta", "offset", "shift"],
    "mean": ["running_mean", "mean", "moving_mean"],
    "var": ["running_var", "var", "moving_variance", "running_variance"],
}
"""What people call the tensors of a layer, by the part that these play in it."""

ROLE = {name: role for role, names in ROLES.items() for name in names}
SUFFIXES = ("kernel", "weight", "weights", "w", "embedding", "scale", "gamma", "bias", "b", "beta", "mean",
            "var")  # fmt: skip
"""Names that others are joined with, as in ``conv1_w`` and ``lm_head_bias``."""

SYNONYMS = {
    "dense": "linear",
    "fc": "linear",
    "embed": "embedding",
    "emb": "embedding",
    "ln": "norm",
    "bn": "norm",
    "q": "query",
    "k": "key",
    "v": "value",
    "attn": "attention",
    "reverse": "backward",
    "reversed": "backward",
    "rev": "backward",
    "bwd": "backward",
    "bw": "backward",
    "fwd": "forward",
    "fw": "forward",
    "pos": "position",
    "positional": "position",
    "layernorm": "norm",
    "batchnorm": "norm",
    "codebook": "embedding",
}

DIRECTIONS = {"f": "forward", "b": "backward", "r": "backward"}
"""What single letters mean in the name of a recurrent cell."""


def role_of(name: str) -> tuple[str, str] | None:
    """Return what a tensor is to its layer, and what else its name says: ``conv1_w`` is the weight of ``conv1``.

    Args:
        name: The tensor's own name, without that of its layer.

    Returns:
        The role, and the rest of the name, which is empty where the name is that of a role; ``None`` where it is none.
    """
    if name.lower() in ROLE:
        return ROLE[name.lower()], ""
    parts = re.findall(r"[A-Za-z]+|\d+", name)
    if len(parts) < 2:
        return None
    if parts[-1].lower() in SUFFIXES:
        rest = name[: -len(parts[-1])].rstrip("._")
        return ROLE[parts[-1].lower()], re.sub(r"[._]?(running|moving)$", "", rest)
    if parts[0].lower() in SUFFIXES:
        return ROLE[parts[0].lower()], name[len(parts[0]) :].lstrip("._")
    return None


class Number(NamedTuple):
    """A number in a name, among those that stand at the same place in the names of like layers."""

    value: int
    rank: int
    among: frozenset[int]


Token = str | Number


def words(path: str, *, counted: bool = True) -> tuple[str, ...]:
    """Split a path into lower-case words and numbers: ``layers_0/fc1`` is ``layers 0 linear 1``.

    Args:
        path: The path.
        counted: Whether the numbers count that Flax gives to layers in the order in which they are made, ``Dense_0``.
    """
    if not counted:
        path = re.sub(r"(^|/)([A-Z][A-Za-z0-9]*?)_\d+(?=/|$)", r"\1\2", path)
    found = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1_\2", path).lower())
    return tuple(SYNONYMS.get(word, word) for word in found)


@functools.lru_cache(maxsize=1 << 16)
def likeness(one: tuple[Token, ...], other: tuple[Token, ...]) -> tuple[float, float]:
    """Say how much two names have in common in the same order, from 0 to 1.

    Returns:
        What the words say, and numbers that mean the same places; and what they say with numbers taken by rank, where
        one side counts differently (a ``Sequential`` counts its activations too).
    """
    if not one and not other:
        return 1.0, 1.0
    best = [[(0.0, 0.0)] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for k, b in enumerate(other):
            alike = _alike(a, b) if isinstance(a, str) or isinstance(b, str) else _same_number(one, i, other, k)
            through = (best[i][k][0] + alike[0], best[i][k][1] + alike[1])
            best[i + 1][k + 1] = max(through, best[i][k + 1], best[i + 1][k], key=lambda pair: (pair[1], pair[0]))
    sure, weak = best[-1][-1]
    total = (len(one) + len(other)) / 2
    return sure / total, weak / total


def _same_number(one: tuple[Token, ...], i: int, other: tuple[Token, ...], k: int) -> tuple[float, float]:
    """Compare two numbers: they say something where the words before them are alike, or one side has none."""
    a, b = one[i], other[k]
    assert isinstance(a, Number) and isinstance(b, Number)  # noqa: PT018 - for the type checker
    before = [
        next((t for t in reversed(tokens[:at]) if isinstance(t, str)), "") for tokens, at in ((one, i), (other, k))
    ]
    if all(before) and not _alike(before[0], before[1])[0]:
        return 0.0, 0.0
    if a.among == b.among:
        return (1.0, 1.0) if a.value == b.value else (0.0, 0.0)
    if len(a.among) == len(b.among):
        return 0.0, 1.0 if a.rank == b.rank else 0.0
    # one side lacks a layer, or the numbers count something else
    return 0.0, 1.0 if a.value == b.value and before[0] == before[1] else 0.0


def _alike(a: Token, b: Token) -> tuple[float, float]:
    """Compare two words; a word and a number have nothing in common."""
    if not (isinstance(a, str) and isinstance(b, str)):
        return 0.0, 0.0
    if a == b:
        return 1.0, 1.0
    short, long = sorted((a, b), key=len)
    # "enc" is short for "encoder", and "norm" is what a "groupnorm" is
    value = 0.7 if len(short) > 1 and (long.startswith(short) or (len(short) > 2 and long.endswith(short))) else 0.0
    return value, value
