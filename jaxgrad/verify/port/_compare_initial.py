"""How both sides draw their first weights: the distribution of every leaf, judged with certainty or not at all."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import scipy.special

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge._arrays import flatten
from jaxgrad.verify.judge._tolerances import FALSE_ALARM, SAME_CONSTANT, SIGMAS
from jaxgrad.verify.port.frameworks._contexts import framework_default
from jaxgrad.verify.port.frameworks._random_numbers import POINTS, Random, interpret
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.report._audit import Setting

__all__ = ["Drawn", "compare", "initial"]

NAME = "initial weights"

COARSE = 10
"""Of how many quantiles one is kept: a distribution needs fewer than a rate."""

GRID = POINTS // COARSE


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The first values of a leaf: a sample of them, or the quantiles of their distribution."""

    values: np.ndarray
    """Sorted."""
    exact: bool = False
    """Whether they are quantiles, and no sample."""

    @classmethod
    def of(cls, values: Any, *, exact: bool = False) -> "Drawn":
        """Return the values of a leaf."""
        return cls(np.sort(np.asarray(values, np.float64).ravel()), exact)

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return bool(self.values[0] == self.values[-1])

    @property
    def scale(self) -> float:
        """The root of the mean square."""
        return float(np.sqrt(np.mean(self.values**2)))

    @property
    def weight(self) -> float:
        """One over the number of draws: what the sample is uncertain by."""
        return 0.0 if self.exact else 1 / len(self.values)

    def below(self, x: np.ndarray) -> np.ndarray:
        """Return the part of the values that is at most so large."""
        return np.searchsorted(self.values, x, side="right") / len(self.values)


def initial(bound: ModelPair) -> tuple[list[Setting], list[str]]:
    """Compare the distributions from which both sides draw their first weights.

    Those of a linen module are read off the program of its ``init``; those of torch, of NNX and of a function are
    judged by the weights that the model holds, a leaf a sample.

    Returns:
        The leaves that are drawn otherwise, and what could not be judged.
    """
    try:
        ours = _drawn_by_jax(bound)
    except Exception as error:  # whatever a user's init raises
        return [], [f"the initialisation was not audited: {first_line(error)}"]
    theirs = {name: Drawn.of(p.detach().cpu().double().numpy()) for name, p in bound.torch.module.named_parameters()  # type: ignore[attr-defined]
              if p.is_floating_point() and p.numel()}  # fmt: skip
    found: list[Setting] = []
    trained: list[str] = []
    for entry in bound.mapping.entries:
        key = entry.torch[0]
        if len(entry.torch) != 1 or key not in theirs or entry.jax not in ours:
            continue
        if not theirs[key].constant and not family(theirs[key]):
            trained.append(key)
        else:
            layer = key.rpartition(".")[0]
            # torch counts the inputs of a transposed convolution where its outputs are
            turned = bound.torch.kinds.get(layer, "").startswith("ConvTranspose")
            fan = (0, 0) if turned else fans(key, bound.shapes)
            found += compare(theirs[key], ours[entry.jax], layer or key, entry.jax, fan)
    if not trained:
        return found, []
    more = f" and {len(trained) - 1} more" if trained[1:] else ""
    return found, [f"the initialisation of {trained[0]}{more} was not audited: torch holds no fresh draw of it"]


def _drawn_by_jax(bound: ModelPair) -> dict[str, Drawn]:
    """Return the first values of every leaf of the port, as far as they are known."""
    side: Any = bound.jax
    if side.kind != "linen":
        return {path: Drawn.of(leaf) for path, leaf in flatten(side.params).items() if np.size(leaf)}
    with framework_default():
        inputs, _ = bound.torch.parts.split(bound.adapt(*bound.data("float32")))
        args, named = side.arguments(side.params, inputs)
        program, shapes = jax.make_jaxpr(
            lambda: _plain(side.module.init(jax.random.key(0), *args, **named).get("params", {})), return_shape=True
        )()
    values = interpret(program, [])
    found = {}
    for path, value in zip(flatten(shapes), values, strict=True):
        if isinstance(value, Random):
            found[path] = Drawn.of(value.values[COARSE // 2 :: COARSE], exact=True)
        elif value is not None:
            found[path] = Drawn.of([value], exact=True)
    return found


def _plain(tree: Any) -> Any:
    """Return a tree of Flax's as plain dictionaries, its leaves unboxed."""
    from flax import core

    return core.meta.unbox(core.unfreeze(tree))


KERNELS = ("weight", "parametrizations.weight.original1", "parametrizations.weight.original", "weight_v", "weight_orig")
"""What torch calls the kernel of a layer, also where a norm is put on it."""


def fans(key: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return how many inputs and outputs the layer of a torch tensor has; 0 where it is none that multiplies."""
    layer = key.removesuffix(".original0").rpartition(".")[0].removesuffix(".parametrizations")
    kernels = [f"{layer}.{name}" for name in KERNELS] if layer else list(KERNELS)
    shape = next((shapes[name] for name in (key, *kernels) if len(shapes.get(name, ())) > 1), ())
    if len(shape) < 2:
        return 0, 0
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def compare(theirs: Drawn, ours: Drawn, torch: str, path: str, fan: tuple[int, int]) -> list[Setting]:
    """Compare the first values of one leaf.

    Args:
        theirs: What torch holds.
        ours: What JAX draws.
        torch: The torch layer.
        path: The JAX leaf.
        fan: The inputs and the outputs of the layer.
    """
    if not differ(theirs, ours):
        return []
    told = [describe(drawn, fan) for drawn in (theirs, ours)]
    if told[0] == told[1]:
        return []
    size = ""
    if theirs.scale and ours.scale and not theirs.constant and not ours.constant:
        size = f"{_named_scale(ours, fan)[0] / _named_scale(theirs, fan)[0]:.2f} times as large in JAX; "
    leaf = path.rpartition("/")[2]
    argument = {"kernel": "kernel_init", "bias": "bias_init", "embedding": "embedding_init"}.get(
        leaf, "its initialiser"
    )
    like = _as_flax(theirs, fan, matrix=leaf != "bias")
    effect = f"{size}{argument} = {like} draws as torch does"
    return [Setting(torch, path, NAME, told[0], told[1], effect, harmless=True)]


def differ(one: Drawn, other: Drawn) -> bool:
    """Say whether two leaves come from different distributions, beyond all doubt."""
    if one.constant or other.constant:
        same = math.isclose(one.values[0], other.values[0], rel_tol=SAME_CONSTANT)
        return not (one.constant and other.constant and same)
    doubt = one.weight + other.weight
    if not doubt:
        return one != other
    grid = np.concatenate([one.values, other.values])
    apart = float(np.abs(one.below(grid) - other.below(grid)).max())
    # the two-sample test of Kolmogorov and Smirnov, by its bound; between two grids it is coarse by a point
    if apart - 2 / GRID > math.sqrt(math.log(2 / FALSE_ALARM) * doubt / 2):
        return True
    if other.exact and _outside(one, other):
        return True
    if 1 / doubt < FEW:
        return False
    squares = other.values**2
    spread = math.sqrt(np.var(squares) * doubt) / np.mean(squares)
    return abs(2 * math.log(one.scale / other.scale)) > SIGMAS * spread


def _outside(sample: Drawn, exact: Drawn) -> bool:
    """Say whether a sample reaches beyond a distribution, or is cut off where that is not."""
    low, high = sample.values[0], sample.values[-1]
    count = len(sample.values)
    within = float(np.mean((low <= exact.values) & (exact.values <= high))) + 2 / GRID
    beyond = np.sum((sample.values < exact.values[0]) | (sample.values > exact.values[-1]))
    # what lies beyond the first and the last quantile is a half point at either end
    expected = count / GRID
    return bool(within**count < FALSE_ALARM or beyond > expected + SIGMAS * (math.sqrt(expected) + 1))


FEW, SHAPELESS, CUT_SHOWS = 16, 30, 5000
"""A mean square of fewer draws is no normal variable; so many show whether a distribution is even, and so many whether
a normal variable is cut off at two deviations, which is a twentieth of the draws."""


def family(drawn: Drawn) -> str:
    """Return the name of the distribution that a leaf comes from; empty where it is none of those that layers use."""
    n = GRID if drawn.exact else len(drawn.values)
    quantiles = (np.arange(len(drawn.values)) + 0.5) / len(drawn.values)
    x, scale = drawn.values, drawn.scale
    apart = {
        "uniform": np.abs((1 + np.clip(x / (math.sqrt(3) * scale), -1, 1)) / 2 - quantiles).max(),
        "normal": np.abs(scipy.special.ndtr(x / scale) - quantiles).max(),
        "truncated normal": np.abs(_truncated(x / scale) - quantiles).max(),
    }
    best = min(apart, key=lambda name: apart[name])
    # the scale was fitted, which makes the distance smaller: the bound errs towards a fresh draw
    return best if apart[best] < math.sqrt(math.log(2 / FALSE_ALARM) / (2 * n)) + 2 / GRID else ""


CUT = 0.8796256610342398
"""The deviation of a standard normal variable that is cut off at 2."""


def _truncated(x: np.ndarray) -> np.ndarray:
    """Return the distribution function of a normal variable cut off at two deviations, scaled to a deviation of 1."""
    low = scipy.special.ndtr(-2.0)
    return np.asarray((scipy.special.ndtr(np.clip(x * CUT, -2, 2)) - low) / (1 - 2 * low))


def describe(drawn: Drawn, fan: tuple[int, int]) -> str:
    """Say in words how a leaf is drawn."""
    if drawn.constant:
        value = drawn.values[0]
        return {0.0: "zeros", 1.0: "ones"}.get(value, f"all {value:.4g}")
    return f"{_kind(drawn, fan) or 'random numbers'} of deviation {_named_scale(drawn, fan)[1]}"


def _kind(drawn: Drawn, fan: tuple[int, int]) -> str:
    """Return the name of the distribution as far as the number of draws shows it; empty where it does not."""
    if drawn.exact or len(drawn.values) >= CUT_SHOWS:
        return family(drawn)
    if len(drawn.values) < SHAPELESS:
        return ""
    return "uniform" if _within(drawn, fan) else "normal"


def _within(drawn: Drawn, fan: tuple[int, int]) -> bool:
    """Say whether all draws lie where even ones of that deviation do."""
    bound = math.sqrt(3) * _named_scale(drawn, fan)[0] * (1 + SAME_CONSTANT)
    return bool(max(-drawn.values[0], drawn.values[-1]) <= bound)


def _named_scale(drawn: Drawn, fan: tuple[int, int]) -> tuple[float, str]:
    """Return the deviation of a leaf, and how people write it: by the inputs of the layer, or as a number."""
    inputs, outputs = fan
    named = [(0.02, "0.02"), (0.01, "0.01"), (1.0, "1")]
    if inputs:
        named = [((1 / (3 * inputs)) ** 0.5, "sqrt(1/3 / inputs)"), (inputs**-0.5, "sqrt(1 / inputs)"),
                 ((2 / inputs) ** 0.5, "sqrt(2 / inputs)"), ((2 / (inputs + outputs)) ** 0.5,
                 "sqrt(2 / (inputs + outputs))"), ((2 / outputs) ** 0.5, "sqrt(2 / outputs)"), *named]  # fmt: skip
    squares = drawn.values**2
    doubt = SIGMAS / 2 * math.sqrt(np.var(squares) * drawn.weight) / np.mean(squares) / 2 + 1 / 1000
    # the first is torch's own, and the second Flax's: a small leaf is rather one of these
    near = [(value, text) for value, text in named if abs(math.log(drawn.scale / value)) < doubt]
    return near[0] if near else (drawn.scale, f"{drawn.scale:.3g}")


def _as_flax(drawn: Drawn, fan: tuple[int, int], *, matrix: bool) -> str:
    """Return the initialiser of Flax that draws like a leaf."""
    if drawn.constant:
        value = drawn.values[0]
        return {0.0: "zeros", 1.0: "ones"}.get(value, f"constant({value:.4g})")
    scale, text = _named_scale(drawn, fan)
    kind = _kind(drawn, fan) or ("uniform" if _within(drawn, fan) else "normal")
    scaled = {"sqrt(1/3 / inputs)": "1 / 3, 'fan_in'", "sqrt(1 / inputs)": "1, 'fan_in'",
              "sqrt(2 / inputs)": "2, 'fan_in'", "sqrt(2 / (inputs + outputs))": "1, 'fan_avg'",
              "sqrt(2 / outputs)": "2, 'fan_out'"}.get(text)  # fmt: skip
    if scaled and matrix:
        return f"variance_scaling({scaled}, {kind.replace(' ', '_')!r})"
    if kind == "uniform":
        # a vector has no inputs of its own by which Flax could scale it
        bound = f"{math.sqrt(3) * scale:.3g}" if text != "sqrt(1/3 / inputs)" else "sqrt(1 / inputs)"
        return f"a function that draws uniformly between -{bound} and {bound}"
    return f"normal({text})"
