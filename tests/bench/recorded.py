"""A result as `python -m bench` writes it, with numbers of the test's own."""

import copy
from typing import Any

from bench import _results

__all__ = ["line", "record", "row"]


def line(name: str, seconds: float, ratio: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """Return what is known of a contender."""
    return {
        "name": name,
        "framework": "torch" if name.startswith("torch") else "jax",
        "median_s": seconds,
        "quartiles_s": [0.9 * seconds, 1.1 * seconds],
        "rounds": 9,
        "first_call_s": 1.0,
        "ours_over_it": list(ratio),
        "says": "faster" if ratio[2] < 1 else "nothing",
        "over_gradient": [seconds / 0.002, 0.95 * seconds / 0.002, 1.05 * seconds / 0.002],
        "note": "",
        "peak_bytes": 3 * 2**20,
        **more,
    }


COMPILED = {
    "trace_s": 0.1,
    "lower_s": 0.05,
    "compile_s": 0.4,
    "warm_compile_s": 0.02,
    "cache": "hit",
    "flops": 1e6,
    "bytes": 1e5,
    "temporary_bytes": 4096,
    "collective_bytes": 0,
    "roofline": {"flops_per_byte": 10.0, "flops_per_s": 5e8, "part_of_ceiling": 0.25, "bound": "product"},
}


def row(family: str = "curvature", name: str = "hvp", label: str = "MLP 4-2, batch 8", **more: Any) -> dict[str, Any]:
    """Return a row of ours and torch."""
    return {
        "key": f"{family}.{name}: {label}",
        "family": family,
        "name": name,
        "label": label,
        "sizes": {"mlp": [4, 2], "batch": 8},
        "dtype": "float32",
        "agreement": {"rule": "verifier", "float64_error": 1e-15, "multiple": 1.2, "relative": None, "at": label},
        "rounds": 9,
        "settled": True,
        "unit": "jax.grad",
        "best_rival": {"name": "torch.func", "ratio": [0.5, 0.45, 0.55], "says": "faster"},
        "contenders": [
            line("jaxgrad", 0.004, (1.0, 1.0, 1.0), says="itself", **COMPILED),
            line("torch.func", 0.008, (0.5, 0.45, 0.55)),
            line("jax.grad", 0.002, (2.0, 1.9, 2.1), **COMPILED),
        ],
        "absent": {"opacus": "not installed"},
        **more,
    }


def record(*rows: dict[str, Any], curves: Any = (), failed: Any = ()) -> dict[str, Any]:
    """Return a whole result."""
    return copy.deepcopy(
        {
            "schema": _results.NAME,
            "version": _results.VERSION,
            "environment": {
                "versions": {"jax": "0.10.2", "torch": "2.13.0"},
                "python": "3.11.7",
                "device": "cpu",
                "device_kind": "cpu",
                "processor": "a processor",
                "threads": 2,
                "flags": {"jax_default_matmul_precision": "highest"},
                "commit": "abc1234",
            },
            "run": {
                "quick": True,
                "device": "cpu",
                "dtype": "float32",
                "families": ["curvature"],
                "seconds": 1.0,
                "parts": [],
            },
            "ceilings": {"flops_per_s": 1e10, "bytes_per_s": 1e9},
            "rows": list(rows or (row(),)),
            "curves": list(curves),
            "failed": list(failed),
        }
    )
