"""Causes inside of a layer: its formula is computed again with the settings that ports confuse."""

from collections.abc import Callable

import numpy as np

from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, NO_ADDEND
from jaxgrad.verify.port.diagnosis._attention import attention_layer
from jaxgrad.verify.port.diagnosis._convolution import convolution, kernels
from jaxgrad.verify.port.diagnosis._evidence import Evidence, attempt, proven
from jaxgrad.verify.port.diagnosis._known_functions import ratio, recognise, special_ratio
from jaxgrad.verify.port.diagnosis._matcher import Change, Family, Option, match
from jaxgrad.verify.port.diagnosis._normalization import batch_norm, norm
from jaxgrad.verify.port.diagnosis._sequences import recurrent
from jaxgrad.verify.port.diagnosis._tables import indices
from jaxgrad.verify.report._records import Cause

__all__ = ["in_layer"]


def in_layer(e: Evidence) -> list[Cause]:
    """Return the causes of a layer's own error."""
    # by what the layer holds, and not by its name: each search leaves what it does not know alone
    weight = e.weight("weight")
    searches: list[tuple[bool, Callable[[Evidence], list[Cause]]]] = [
        (weight is not None and weight.ndim == 2, indices),
        (e.torch.get("kernel_size") is None, _linear),
        (e.want.ndim in (3, 4, 5) and e.torch.get("kernel_size") is not None, convolution),
        (e.weight("in_proj_weight") is not None, attention_layer),
        (e.weight("weight_ih_l0") is not None or e.weight("weight_ih") is not None, recurrent),
        (e.weight("running_mean") is not None, batch_norm),
        (e.weight("running_mean") is None and bool(e.inputs) and e.inputs[0].shape == e.want.shape, norm),
    ]
    for fits, find in searches:
        if fits and (found := attempt(find, e)):
            return found
    return attempt(_general, e)


def _general(e: Evidence) -> list[Cause]:
    """A constant factor, an activation inside of the layer, a part left out."""
    factor = ratio(e.got, e.want)
    if factor is not None and abs(factor - 1) > NAMED_FACTOR and abs(factor) > NO_ADDEND:
        sizes = {"the width": e.want.shape[-1]} if e.want.ndim else {}
        name = special_ratio(factor, sizes)
        kind = "embedding-scale" if e.torch.get("kind") == "Embedding" else "scale"
        return proven(e, kind, f"JAX's output is {name} times torch's.", f"Divide the output by {name}.")
    found = recognise(e.got, {"torch's output": e.want})
    if found:
        return proven(
            e, "activation", f"JAX applies {found[0]} to what torch returns.", "Apply it in the same place in both."
        )
    back = recognise(e.want, {"JAX's output": e.got})
    if back:
        return proven(e, "activation", f"torch applies {back[0]} where JAX does not.", f"Apply {back[0]} there too.")
    return []


def _linear(e: Evidence) -> list[Cause]:
    """A transposed square kernel, a bias left out or added twice, a weight normalised otherwise."""
    held, bias, x = kernels(e), e.weight("bias"), e.inputs[0]
    first = next(iter(held.values()), None)
    if first is None or first.ndim != 2 or x.dtype.kind != "f" or x.shape[-1] != first.shape[1]:
        return []
    if e.want.shape != (*x.shape[:-1], len(first)):
        return []
    square = first.shape[0] == first.shape[1]
    settings = {
        "weight": tuple(Option(name, name) for name in held),
        "turned": (Option(False, "x @ W.T"), *([Option(True, "x @ W, the square kernel transposed")] * square)),
        "bias": (Option(1, "the bias"), Option(0, "no bias"), Option(2, "the bias twice"))
        if bias is not None else (Option(0, "no bias"),),
    }  # fmt: skip

    def compute(weight: str, turned: bool, bias: int) -> np.ndarray:
        w, b = held[weight], e.weight("bias")
        return x @ (w if turned else w.T) + (0.0 if b is None else bias * b)

    found = match(Family(compute, settings, ("weight",)), e.want, e.got)
    if found:
        return [
            proven(e, _linear_id(c), f"JAX has {c.ours.words}, torch {c.theirs.words}.", MENDS.get(_linear_id(c), ""))[
                0
            ]
            for c in found
        ]
    plain = e.want - (0 if bias is None else bias)
    factor = ratio(e.got - (0 if bias is None else bias), plain)
    if bias is not None and factor is not None and abs(factor - 1) > NAMED_FACTOR and abs(factor) > NO_ADDEND:
        name = special_ratio(factor, {"the width": x.shape[-1]})
        return proven(e, "scale", f"JAX's layer takes {name} times what torch's takes.", "Scale its input alike.")
    return []


MENDS = {"transposed-kernel": "Give the kernel as weight.T.", "bias-missing": "Set use_bias=True."}


def _linear_id(change: Change) -> str:
    """Return the cause that a setting of a dense layer stands for."""
    if change.setting == "bias":
        return "bias-twice" if 2 in (change.ours.value, change.theirs.value) else "bias-missing"
    return {"weight": "weight-norm", "turned": "transposed-kernel"}[change.setting]
