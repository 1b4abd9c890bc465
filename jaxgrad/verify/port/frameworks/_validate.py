"""What a pair cannot be made of, refused in a sentence that says what to change."""

from collections.abc import Collection
from typing import Any

import numpy as np

from jaxgrad.verify._errors import PairError
from jaxgrad.verify.judge._arrays import to_array

__all__ = [
    "check_batch",
    "check_complex",
    "check_mode",
    "check_options",
    "check_pairs",
]


def check_options(weights: str, mode: str) -> None:
    """Refuse words that are not options."""
    for name, value, allowed in (("weights", weights, ("torch", "own")), ("mode", mode, ("eval", "train"))):
        if value not in allowed:
            message = f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}"
            raise PairError(message)


def check_pairs(own: Any, known: Collection[str], **pairs: Any) -> None:
    """Refuse what is no pair of a torch and a JAX object, and quantities that are not known."""
    if not isinstance(own or {}, dict):
        message = f"own must be a dict of pairs (torch function, JAX function); got {type(own).__name__}"
        raise PairError(message)
    wrong = [name for name in own or {} if name not in known]
    if wrong:
        message = f"own names {', '.join(map(repr, wrong))}, which is no quantity: choose among {', '.join(known)}"
        raise PairError(message)
    for name, value in {**pairs, **{f"own[{n!r}]": v for n, v in (own or {}).items()}}.items():
        if value is not None and not (isinstance(value, tuple | list) and len(value) == 2):
            message = f"{name} must be a pair, torch's and JAX's; got {type(value).__name__}"
            raise PairError(message)


def check_batch(batch: Any) -> tuple[np.ndarray, ...]:
    """Return the batch as a tuple of NumPy arrays; bfloat16, which NumPy does not have, becomes float32."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    arrays = tuple(_array(part) for part in parts)
    bad = [f"batch[{i}] is {a.dtype}" for i, a in enumerate(arrays) if a.dtype.kind not in "fiub"]
    if bad or not arrays:
        message = (
            f"batch must be NumPy arrays of numbers, inputs first and the target last; {', '.join(bad) or 'empty'}"
        )
        raise PairError(message)
    unknown = [f"batch[{i}]" for i, a in enumerate(arrays) if a.dtype.kind == "f" and np.isnan(a).any()]
    if unknown:
        message = f"{', '.join(unknown)} holds NaN, of which nothing can be compared"
        raise PairError(message)
    if any(a.ndim and len(a) == 0 for a in arrays):
        message = "the batch is empty: its leading axis has length 0"
        raise PairError(message)
    return arrays


def _array(part: Any) -> np.ndarray:
    """Return one array of a batch."""
    array = to_array(part)
    return array.astype(np.float32) if array.dtype.name.startswith(("bfloat16", "float8")) else array


def check_complex(side: str, dtypes: dict[str, str]) -> None:
    """Refuse complex parameters.

    Raises:
        PairError: With what to write instead.
    """
    wrong = [name for name, dtype in dtypes.items() if "complex" in dtype]
    if wrong:
        message = (
            f"the {side} model has complex parameters ({', '.join(wrong[:3])}), of which the frameworks define the"
            " gradient differently: hold the real and the imaginary part as two parameters"
        )
        raise PairError(message)


def check_mode(module: Any, mode: str) -> None:
    """Refuse a model whose answer would be random, not the one that is asked for, or of which torch shows nothing."""
    scripted = [
        n or "the model itself" for n, m in module.named_modules() if type(m).__module__.startswith("torch.jit")
    ]
    if scripted:
        message = (
            f"the torch model is scripted or traced ({scripted[0]}), and torch neither shows its layers nor takes other"
            " weights for it: give the nn.Module that it was made from"
        )
        raise PairError(message)
    training = [name or "the model itself" for name, m in module.named_modules() if m.training]
    if mode == "eval" and training:
        message = (
            f"the torch model is in training mode ({training[0]}): call .eval() on it, or pass mode='train' to"
            " compare training mode, with dropout at 0"
        )
        raise PairError(message)
    dropping = [n for n, m in module.named_modules() if "Dropout" in type(m).__name__ and getattr(m, "p", 0) > 0]
    if mode == "train" and dropping:
        message = f"dropout is random and never equal across frameworks: set p=0 in {', '.join(dropping)}"
        raise PairError(message)
