"""What is fitted, by which network and optimizer, and every number that was chosen for them, in this one place."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxgrad.verify import CannotRun

__all__ = [
    "BLOCK",
    "FACTOR",
    "GRIDS",
    "MATCHES",
    "MODELS",
    "OPTIMIZERS",
    "REFINED",
    "TARGETS",
    "Settings",
    "edges",
    "network_options",
    "parse_size",
]

MATCHES = ("value", "gradient", "laplacian")
MODELS = ("siren", "fourier", "relu", "gaussian", "wire", "finer", "staf", "hash", "spline")
OPTIMIZERS = ("muon", "adam")
TARGETS = ("spectral", "spline", "central", "sobel")

REFINED = ("spectral", "spline")
"""Targets that are known between the pixels too."""

BLOCK = 50
"""Steps in one compiled program; after each the PSNR is computed, and a checkpoint may be written."""

FACTOR = 4
"""How many times finer than the pixels the grid is from which points are drawn, for spectral and spline targets."""

MATCH, MODEL, OPTIMIZER, METHOD = "gradient", "spline", "muon", "spectral"
"""What a command does that is told nothing."""

POINTS, STEPS, SIZE, WIDTH, LAYERS = 4096, 2000, 256, 256, 4
"""Points a step, steps, pixels along a side, units of a hidden layer and hidden layers, where none are given."""

WARM_UP, FIRST_RATE, LAST_RATE = 50, 0.1, 0.01
"""Steps in which the learning rate rises, and its parts at the start and at the end, where a cosine has led to."""

EDGE_WEIGHT, EDGE_PART = 0.01, 8
"""By Laplacian: what the slope across the picture's edges weighs, in the picture's mean square slope, and of how many
points of a step one lies there."""

LARGEST_SIZE = 8192
"""Pixels along a side; a fit of more would take days."""


GRIDS = ("hash", "spline")
"""Models whose numbers lie in tables; a network of `GRID_WIDTH` units and `GRID_LAYERS` layers reads them."""

GRID_WIDTH, GRID_LAYERS = 64, 2

SPLINE_STEPS = {"value": 600, "gradient": 600, "laplacian": 300}
"""By what is matched: splines need fewer steps than the others; one by Laplacian, on a whole lattice, takes longer."""

TABLE_RATE, TABLE_MEMORY, TABLE_FLOOR = 3e-2, 0.99, 1e-15
"""Of Adam on tables, whatever the network's optimizer: the rate, the decay of the squares and what is added to their
root. An entry is touched by few points, and its gradient is small (Müller et al. 2022, section 4)."""


class Rates(NamedTuple):
    """Learning rates of a network: of Muon on hidden kernels, of Adam beside it, of Adam alone, and of its tables."""

    muon: float
    beside: float
    adam: float
    table: float = TABLE_RATE


RATES = {
    # by gradient 27.2 with Muon and 24.5 with Adam; at 3e-3 26.1, and nothing (10.9)
    "siren": Rates(1e-3, 1e-3, 1e-3),
    # with first biases up to 1 20.9 and 22.9 by gradient, 41.1 and 40.4 by value; up to 5 13 and 31, whatever the rate
    "finer": Rates(1e-3, 3e-4, 1e-3),
    # 29.4 and 25.6 by gradient, 35.3 and 34.5 by value; Muon at 3e-3 26.6 and 41.5
    "staf": Rates(1e-3, 1e-3, 1e-3),
    # 31.1 and 31.6 by value (Muon at 1e-3 27.2), 13.2 by gradient with Adam
    "wire": Rates(3e-3, 3e-3, 3e-3),
    # 17.8 and 18.3, 37.4 and 34.8; with the 1e-3 of waves beside Muon 12.5 and 29.1
    "fourier": Rates(1e-2, 1e-2, 1e-2),
    # 21.6 and 21.6, 38.1 and 29.8; Muon at 1e-2 with 1e-3 beside it 11.9 and 25.2
    "relu": Rates(3e-2, 1e-2, 1e-2),
    # 26.5 and 23.2, 35.8 and 28.9; at 1e-3 20.8 and 23.0, 24.9 and 25.9
    "gaussian": Rates(1e-2, 1e-3, 3e-3),
    "hash": Rates(3e-3, 3e-3, 3e-3),
    "spline": Rates(3e-3, 3e-3, 3e-3),
}
"""By network. Muon's steps have a size of their own, whatever the gradient's, so its rate is no rate of Adam's.

In decibels, with Muon and with Adam, by gradient and then by value: the astronaut at 64 x 64, 300 steps of 1,024
points, 3 hidden layers of 128, one seed. Adam at 3e-2 is better by 1 to 3 for ReLUs, and was not tried on larger ones.
"""


def edges(shape: tuple[int, int]) -> tuple[float, ...]:
    """Return where a picture of some rows and columns ends along x and y: half a pixel beyond its outer centres."""
    # which lie at -1 and 1, n - 1 pixels apart
    return tuple(n / (n - 1) for n in reversed(shape))


def network_options(model: str, shape: tuple[int, int], cells: int = 1) -> dict[str, Any]:
    """Return what a network is given beside its sizes; frequencies grow with the pixels that they must tell apart.

    Args:
        model: One of `MODELS`.
        shape: Rows and columns of the picture.
        cells: Of the finest splines, along a pixel.
    """
    size = max(shape)
    # 90 at 256 pixels, 30 as the paper has it from 48 to 85, and less for pictures that hold no such waves
    omega = max(min(30.0, 0.625 * size), 90 * size / 256)
    options: dict[str, dict[str, Any]] = {
        "siren": {"first_omega": omega, "hidden_omega": 30.0},
        # the paper's 20, of 512 pixels by value, make a start that no gradient is learnt from
        "finer": {"omega": min(30.0, 0.625 * size), "first_bias": max(1.0, size / 64)},
        "staf": {},
        # a complex wavelet reaches exp(omega^2 / 4 scale^2): with the module's 20 and 10 nothing is learnt
        "wire": {"omega": 10.0, "scale": 10.0},
        # turns a unit of coordinate; the picture's finest wave makes size / 4 of them
        "fourier": {"frequencies": 256, "scale": max(2.0, 20 * size / 256)},
        "relu": {"octaves": max(4, round(math.log2(size)))},
        "gaussian": {"sigma": min(0.1, 0.1 * 256 / size)},
        "hash": {"finest": max(16, size), "features": 4},
        # the field is even about the edges of the picture
        "spline": {"coarsest": 3, "finest": cells * max(16, size), "edge": edges(shape)},
    }
    return options[model]


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides the numbers of a fit: with the same settings a run goes on where it stopped."""

    match: str = MATCH
    model: str = MODEL
    optimizer: str = OPTIMIZER
    targets: str = METHOD
    steps: int = SPLINE_STEPS[MATCH]
    size: tuple[int, int] = (SIZE, SIZE)
    """Rows and columns of the picture that is fitted."""
    points: int = POINTS
    learning_rate: float | None = None
    """``None``: that of `RATES`."""
    seed: int = 0
    width: int = GRID_WIDTH
    layers: int = GRID_LAYERS

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        for name, choices in (("match", MATCHES), ("model", MODELS), ("optimizer", OPTIMIZERS), ("targets", TARGETS)):
            _choice(name, getattr(self, name), choices)
        for name in ("steps", "points", "width", "layers"):
            if getattr(self, name) < 1:
                message = f"--{name} must be at least 1; got {getattr(self, name)}"
                raise CannotRun(message)
        rate = self.learning_rate
        if rate is not None and not 0 < rate < math.inf:
            message = f"--learning-rate must be a positive number, such as 1e-3; got {rate:g}"
            raise CannotRun(message)
        if not 0 <= self.seed < 2**32:
            message = f"--seed must lie between 0 and 4294967295; got {self.seed}"
            raise CannotRun(message)

    def rates(self) -> Rates:
        """Return the learning rates, all scaled by the one that was given."""
        found = RATES[self.model]
        if self.learning_rate is None:
            return found
        factor = self.learning_rate / (found.muon if self.optimizer == "muon" else found.adam)
        return Rates(*(factor * rate for rate in found))

    @property
    def on_lattices(self) -> bool:
        """Whether a step takes a whole lattice of points: by Laplacian, where the network is even about the edges."""
        return self.match == "laplacian" and self.model == "spline"

    @property
    def drawn(self) -> int:
        """Points that a step takes."""
        return self.size[0] * self.size[1] if self.on_lattices else self.points

    def network(self) -> dict[str, Any]:
        """Return the options of the network, beside its sizes.

        Cubic splines of one cell a pixel make poor waves of two or three pixels: 39 dB by value and 41 by gradient
        (128 x 128, 300 steps), where two cells a pixel reach 53 and 60. That takes targets between the pixels, or half
        of the numbers would be free. On the lattices of a Laplacian the waves of two cells a pixel look like long ones,
        and drown those: 17 dB in place of 33 (64 x 64).
        """
        doubled = self.match != "laplacian" and self.targets in REFINED
        return network_options(self.model, self.size, 2 if doubled else 1)

    def plain(self) -> dict[str, Any]:
        """Return the settings, and the numbers that follow from them, as plain data that JSON gives back unchanged."""
        kept = dataclasses.asdict(self) | {"size": list(self.size)}
        return kept | {"network": self.network(), "rates": list(self.rates())}

    @classmethod
    def usual(
        cls, match: str, model: str, *, steps: int | None, width: int | None, layers: int | None, **others: Any
    ) -> "Settings":
        """Return settings in which the steps, units and layers that are ``None`` are the usual ones of the model."""
        if steps is None:
            # a word that is no match is refused with the choices
            steps = SPLINE_STEPS.get(match, STEPS) if model == "spline" else STEPS
        units, deep = (GRID_WIDTH, GRID_LAYERS) if model in GRIDS else (WIDTH, LAYERS)
        width, layers = units if width is None else width, deep if layers is None else layers
        return cls(match, model, steps=steps, width=width, layers=layers, **others)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Settings":
        """Return the settings that `plain` made data of."""
        names = {field.name for field in dataclasses.fields(cls)}
        found = {name: plain[name] for name in names}
        return cls(**found | {"size": tuple(found["size"])})


def parse_size(text: str, name: str = "--size", least: int = 2) -> tuple[int, int]:
    """Return rows and columns of ``"256"`` or ``"192x256"`` (height x width).

    Raises:
        CannotRun: If they are no whole numbers from ``least`` to `LARGEST_SIZE`.
    """
    parts = text.lower().split("x")
    whole = len(parts) in (1, 2) and all(part.strip().isdecimal() for part in parts)
    sizes = [int(part) for part in parts] if whole else []
    if not whole or not all(least <= size <= LARGEST_SIZE for size in sizes):
        message = (
            f"{name} must be a number of pixels from {least} to {LARGEST_SIZE}, or HEIGHTxWIDTH, such as 256 or"
            f" 192x256; got {text!r}"
        )
        raise CannotRun(message)
    return sizes[0], sizes[-1]


def _choice(name: str, given: str, choices: Iterable[str]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        CannotRun: With the choices.
    """
    if given not in choices:
        message = f"--{name} must be one of {', '.join(choices)}; got {given!r}"
        raise CannotRun(message)
