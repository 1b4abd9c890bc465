"""What a fit came to, in words: for its panel and for the command."""

import math
from typing import Any

from jaxgrad.fit._settings import GRIDS, Settings

__all__ = ["decibels", "lines", "rates_of", "ratios"]

ROUNDING = 120.0
"""Decibels, above which a ceiling is that of rounding in float32."""


def lines(settings: Settings, record: dict[str, Any]) -> list[str]:
    """Return what a fit came to, a line each."""
    return [
        ratios(record),
        f"ceiling of the targets: {decibels(record['ceiling'])}",
        f"SSIM {record['ssim']:.4f}",
        f"relative L2 error of the gradient {record['gradient_error']:.4f}",
        f"loss {record['loss']:.3e}",
        f"{record['steps']} steps of {settings.drawn} points in {record['seconds']:.0f} s",
        "",
        f"{settings.size[0]} x {settings.size[1]} pixels",
        f"{settings.layers} hidden layers of {settings.width}, seed {settings.seed}",
        *(f"  {name} {_shown(value)}" for name, value in settings.network().items()),
        *(f"  learning rate of {name} {rate:g}" for name, rate in rates_of(settings).items()),
    ]


def decibels(ceiling: float) -> str:
    """Return a ceiling in words; above 120 dB it is that of rounding, and changes from run to run."""
    if math.isinf(ceiling):
        return "none"
    return "over 120 dB" if ceiling > ROUNDING else f"{ceiling:.2f} dB"


def ratios(record: dict[str, Any]) -> str:
    """Return the ratios of a fit in words; what is known up to a constant is judged after that is taken away."""
    plain = "" if record["settings"]["match"] != "value" else f"{record['psnr_none']:.2f} dB as it is, "
    return f"PSNR {plain}{record['psnr_mean']:.2f} dB mean-aligned, {record['psnr_affine']:.2f} dB affine"


def _shown(option: Any) -> str:
    """Return a number, or one a coordinate."""
    return " x ".join(f"{value:g}" for value in (option if isinstance(option, tuple) else (option,)))


def rates_of(settings: Settings) -> dict[str, float]:
    """Return the learning rates that were in use, by whose they are."""
    rates = settings.rates()
    tables = {"Adam on tables": rates.table} if settings.model in GRIDS else {}
    if settings.optimizer == "adam":
        return {"Adam": rates.adam, **tables}
    return {"Muon": rates.muon, "Adam beside it": rates.beside, **tables}
