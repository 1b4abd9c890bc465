"""What a reader of a report needs to know about a run: which models, of which sizes, when and with what."""

import datetime
from typing import Any

import jax

from jaxgrad.verify._environment import doctor

__all__ = ["about", "now"]


def about(bound: Any) -> dict[str, Any]:
    """Return the circumstances of a check or an audit, as plain data."""
    facts = doctor()
    module = getattr(bound.torch, "module", None)
    return {
        "torch": type(module).__name__ if module is not None else "a run on disk",
        "jax": _name(bound.jax),
        "date": now(),
        "versions": facts["versions"],
        "notes": facts["notes"],
        "backend": jax.default_backend(),
        "parameters": sum(int(p.size) for p in bound.torch.params.values()),
        "batch": [list(a.shape) for a in bound.batch],
        "mode": bound.options["mode"],
        "weights": bound.options["weights"],
        "excited": bound.torch.excited,
    }


def now() -> str:
    """Return the time of day here, as ISO 8601 has it."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _name(side: Any) -> str:
    """Return the name of the JAX model's class or function."""
    # a linen module, an NNX module, or a function
    model = next((getattr(side, name) for name in ("module", "origin", "apply_fn") if hasattr(side, name)), side)
    return getattr(model, "__name__", type(model).__name__)
