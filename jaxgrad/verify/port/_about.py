"""What a reader of a report needs to know about a run: which models, of which sizes, when and with what."""

import datetime
from typing import Any

import jax

from jaxgrad.verify._environment import doctor
from jaxgrad.verify.port.mapping._model_pair import ModelPair

__all__ = ["about", "now"]


def about(pair: ModelPair) -> dict[str, Any]:
    """Return the circumstances of a check or an audit, as plain data."""
    facts = doctor()
    module = getattr(pair.torch, "module", None)
    return {
        "torch": type(module).__name__ if module is not None else "a run on disk",
        "jax": _name(pair.jax),
        "date": now(),
        "versions": facts["versions"],
        "notes": facts["notes"],
        "backend": jax.default_backend(),
        "parameters": sum(int(p.size) for p in pair.torch.params.values()),
        "batch": [list(a.shape) for a in pair.batch],
        "mode": pair.options.mode,
        "weights": pair.options.weights,
        "perturbed": list(pair.torch.perturbed),
    }


def now() -> str:
    """Return the time of day here, as ISO 8601 has it."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _name(side: Any) -> str:
    """Return the name of the JAX model's class or function."""
    # a linen module, an NNX module, or a function
    model = next((getattr(side, name) for name in ("module", "origin", "apply_fn") if hasattr(side, name)), side)
    return getattr(model, "__name__", type(model).__name__)
