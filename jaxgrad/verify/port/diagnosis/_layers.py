"""Causes inside of a layer: its formula is computed again with the settings that ports confuse."""

from collections.abc import Callable

from jaxgrad.verify.judge._tolerances import NAMED_FACTOR, NO_ADDEND
from jaxgrad.verify.port.diagnosis._attention import attention_layer
from jaxgrad.verify.port.diagnosis._convolution import convolution
from jaxgrad.verify.port.diagnosis._evidence import Evidence, attempt, proven
from jaxgrad.verify.port.diagnosis._known_functions import ratio, recognise, same, special_ratio
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
        (weight is not None and weight.ndim == 2, _linear),
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
    """A transposed square kernel, a bias left out or added twice."""
    weight, bias, x = e.weight("weight"), e.weight("bias"), e.inputs[0]
    if weight is None or x.dtype.kind != "f" or x.shape[-1] != weight.shape[1] or e.want.shape[-1] != len(weight):
        return []
    plain = e.want - (0 if bias is None else bias)
    if weight.shape[0] == weight.shape[1] and same(x @ weight + (0 if bias is None else bias), e.got):
        return proven(
            e,
            "transposed-kernel",
            "the square kernel is used transposed: JAX computes x @ W where torch computes x @ W.T.",
            "Give the kernel as weight.T.",
        )
    if bias is not None and same(e.got, plain):
        return proven(e, "bias-missing", "JAX leaves the bias out.", "Set use_bias=True.")
    if bias is not None and same(e.got, e.want + bias):
        return proven(e, "bias-twice", "JAX adds the bias twice.", "Add it once.")
    factor = ratio(e.got - (0 if bias is None else bias), plain)
    if bias is not None and factor is not None and abs(factor - 1) > NAMED_FACTOR and abs(factor) > NO_ADDEND:
        name = special_ratio(factor, {"the width": weight.shape[1]})
        return proven(e, "scale", f"JAX's layer takes {name} times what torch's takes.", "Scale its input alike.")
    return []
