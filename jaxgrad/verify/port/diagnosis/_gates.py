"""Gated products f(a) g(b): SwiGLU, gates of a WaveNet, squeeze and excitation; and vectors that scale a branch."""

import itertools

import numpy as np

from jaxgrad.verify.judge import size
from jaxgrad.verify.judge._tolerances import RECOGNISED
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, same
from jaxgrad.verify.report._records import Cause

__all__ = ["GATES", "branch_scale", "gated", "gated_sum", "name_of_activation", "other_addend"]

GATES = ("the identity", "sigmoid", "tanh", "silu", "gelu (erf)", "gelu (tanh)", "gelu (sigmoid)", "relu", "softplus",
         "mish", "hard sigmoid (x/6 + 1/2)", "hard sigmoid (x/5 + 1/2)", "hard swish", "relu6", "squared relu",
         "the square", "elu", "the exponential", "the exponential of half")  # fmt: skip

FORMS = (("gelu", "gelu-form"), ("leaky relu", "negative-slope"), ("softmax", "softmax-axis"),
         ("log softmax", "softmax-axis"), ("standardisation", "ddof"), ("hard sigmoid", "hard-sigmoid"),
         ("elu", "alpha"))  # fmt: skip
"""How the labels of two forms of one function begin, and the cause that another form is."""

MOST_OPERANDS = 10

SAMPLED = 48
"""How many entries are compared before the whole arrays are."""

Product = tuple[str, str, str, str]
"""A function, of an operand, times a function, of an operand."""


def name_of_activation(theirs: str, ours: str) -> str:
    """Return the cause of another activation: two forms of one, one left out, or another one."""
    alike = [name for words, name in FORMS if theirs.startswith(words) and ours.startswith(words)]
    return alike[0] if alike else "activation-missing" if ours == "the identity" else "activation"


def gated(e: Evidence) -> list[Cause]:
    """Both sides multiply known functions of arrays at hand, but not the same ones."""
    if e.want.shape != e.got.shape or e.want.ndim < 2:
        return []
    return _of_products(e, _operands(e), e.want, e.got, "")


def gated_sum(e: Evidence) -> list[Cause]:
    """The same beside an array that both sides add: a modulation, a sample of a mean and a deviation."""
    if e.want.shape != e.got.shape or e.want.ndim < 2:
        return []
    operands = _operands(e)
    for name, x in operands.items():
        added = np.broadcast_to(x, e.want.shape)
        found = _of_products(e, operands, e.want - added, e.got - added, f", both added to {name}")
        if found:
            return found
    return []


def _of_products(
    e: Evidence, operands: dict[str, np.ndarray], want: np.ndarray, got: np.ndarray, beside: str
) -> list[Cause]:
    """Explain two arrays that are products of functions of two operands."""
    theirs = _product(want, operands, None)
    if theirs is None:
        return []
    ours = _product(got, operands, theirs)
    if ours is not None and sorted((ours[:2], ours[2:])) != sorted((theirs[:2], theirs[2:])):
        return [_difference(e, theirs, ours, beside)]
    for (f, a), other in ((theirs[:2], theirs[2:]), (theirs[2:], theirs[:2])):
        with np.errstate(all="ignore"):
            alone = np.broadcast_to(ELEMENTWISE[f](operands[a]), got.shape)
        if same(alone, got):
            text = f"JAX passes {_words(f, a)} on alone; torch multiplies it by {_words(*other)}{beside}."
            return [cause("gate-missing", text, "", e.first.path, proven=True)]
    return []


def _operands(e: Evidence) -> dict[str, np.ndarray]:
    """Return arrays of the shape that is made, ones that broadcast to it, and halves of ones twice as wide."""
    found: dict[str, np.ndarray] = {}
    for name, x in e.sources.items():
        if x.ndim != e.want.ndim:
            continue
        if x.shape == e.want.shape or all(a in (1, b) for a, b in zip(x.shape, e.want.shape, strict=True)):
            found.setdefault(name, x)
        doubled = [i for i, (a, b) in enumerate(zip(x.shape, e.want.shape, strict=True)) if a == 2 * b]
        if len(doubled) == 1 and sum(a != b for a, b in zip(x.shape, e.want.shape, strict=True)) == 1:
            axis = doubled[0]
            first, second = np.split(x, 2, axis)
            found |= {f"the first half of {name}": first, f"the second half of {name}": second}
            places = np.arange(x.shape[axis])
            found[f"every other entry of {name}"] = x.take(places[::2], axis)
            found[f"every other entry of {name} from the second"] = x.take(places[1::2], axis)
    return dict(list(_plain(found).items())[:MOST_OPERANDS])


def _plain(operands: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Leave out operands that are an activation of another one: the function is told in its place."""
    few = {name: x.ravel()[np.linspace(0, x.size - 1, SAMPLED).astype(int)] for name, x in operands.items() if x.size}
    with np.errstate(all="ignore"):
        made = {(name, f): ELEMENTWISE[f](x) for name, x in few.items() for f in GATES[1:]}
    derived = {
        name
        for name, x in few.items()
        for (other, f), y in made.items()
        if other != name and operands[other].shape == operands[name].shape and same(y, x)
        and same(ELEMENTWISE[f](operands[other]), operands[name])
    }  # fmt: skip
    return {name: x for name, x in operands.items() if name not in derived}


def _product(array: np.ndarray, operands: dict[str, np.ndarray], like: Product | None) -> Product | None:
    """Return which product of functions of two operands an array is, the nearest to a known one first."""
    chosen = np.linspace(0, array.size - 1, min(SAMPLED, array.size)).astype(int)
    sample, names = array.ravel()[chosen], list(operands)
    whole = size(sample)
    if not whole or not np.isfinite(whole):
        return None
    places = np.unravel_index(chosen, array.shape)
    with np.errstate(all="ignore"):
        # every function of every operand at a few entries, and all products of two of them at once
        few = [np.broadcast_to(x, array.shape)[places] for x in operands.values()]
        made = np.array([[ELEMENTWISE[f](x) for f in GATES] for x in few])
        for a, b in _ordered(len(names), names, like):
            apart = made[a][:, None] * made[b][None] - sample
            hits = np.argwhere(np.sqrt((apart**2).sum(-1)) <= RECOGNISED * whole)
            for i, j in hits:
                f, g = GATES[i], GATES[j]
                product = ELEMENTWISE[f](operands[names[a]]) * ELEMENTWISE[g](operands[names[b]])
                if same(product * np.ones(array.shape), array):
                    return f, names[a], g, names[b]
    return None


def _ordered(count: int, names: list[str], like: Product | None) -> list[tuple[int, int]]:
    """Return pairs of operands: those of a known product first."""
    pairs = list(itertools.combinations(range(count), 2))
    if like is not None:
        pairs.sort(key=lambda pair: -len({like[1], like[3]} & {names[i] for i in pair}))
    return pairs


def _words(function: str, name: str) -> str:
    """Return a function of an operand in words."""
    return name if function == "the identity" else f"{function} of {name}"


def _difference(e: Evidence, theirs: Product, ours: Product, beside: str) -> Cause:
    """Name what differs between two products."""
    text = (f"JAX computes {_words(*ours[:2])} times {_words(*ours[2:])}, torch {_words(*theirs[:2])} times"
            f" {_words(*theirs[2:])}{beside}.")  # fmt: skip
    if {ours[0], ours[2]} == {theirs[0], theirs[2]}:
        return cause("gate-order", text, "", e.first.path, proven=True)
    if {ours[1], ours[3]} == {theirs[1], theirs[3]}:
        mine, its = dict([ours[1::-1], ours[3:1:-1]]), dict([theirs[1::-1], theirs[3:1:-1]])
        apart = [(its[a], mine[a]) for a in its if its[a] != mine[a]]
        if len(apart) == 1:
            return cause(name_of_activation(*apart[0]), text, f"Apply {apart[0][0]}.", e.first.path, proven=True)
        return cause("activation", text, "", e.first.path, proven=True)
    return cause("wiring", text, "", e.first.path, proven=True)


def other_addend(e: Evidence) -> list[Cause]:
    """Another activation in a sum: both sides differ by the difference of two functions of an array at hand."""
    if e.want.shape != e.got.shape:
        return []
    apart = e.got - e.want
    chosen = np.linspace(0, apart.size - 1, min(SAMPLED, apart.size)).astype(int)
    sample = apart.ravel()[chosen]
    for name, x in e.sources.items():
        if x.shape != apart.shape:
            continue
        with np.errstate(all="ignore"):
            made = {label: fun(x) for label, fun in ELEMENTWISE.items() if "axis" not in label}
        few = {label: array.ravel()[chosen] for label, array in made.items()}
        for theirs, ours in itertools.permutations(made, 2):
            if same(few[ours] - few[theirs], sample) and same(made[ours] - made[theirs], apart):
                text = f"JAX applies {ours} to {name} where torch applies {theirs}, before a sum."
                mend = f"Apply {theirs} in JAX."
                return [cause(name_of_activation(theirs, ours), text, mend, e.first.path, proven=True)]
    return []


def branch_scale(e: Evidence) -> list[Cause]:
    """A vector of the layer's own, such as LayerScale's gamma, that multiplies a branch before the sum."""
    if e.want.shape != e.got.shape:
        return []
    vectors = {n: w for n, w in e.under().items() if w.dtype.kind == "f" and w.size > 1 and w.size == max(w.shape)}
    sources = {n: x for n, x in e.sources.items() if x.shape == e.want.shape}
    for name, vector in vectors.items():
        for axis in (a for a in range(e.want.ndim) if e.want.shape[a] == vector.size):
            g = vector.reshape([-1 if a == axis else 1 for a in range(e.want.ndim)])
            found = _branch(e, name, g, sources)
            if found:
                return found
    return []


def _branch(e: Evidence, name: str, g: np.ndarray, sources: dict[str, np.ndarray]) -> list[Cause]:
    """Explain sums whose one part is multiplied by a vector."""
    for (b, y), (a, x) in itertools.permutations([*sources.items(), ("", np.zeros(e.want.shape))], 2):
        if not b or not same(x + g * y, e.want):
            continue
        forms = {
            f"{name} left out": x + y, f"{name} applied twice": x + g * g * y,
            f"the sum multiplied by {name}": g * (x + y), f"{name} applied to the sum as well": g * (x + g * y),
            f"{name} applied to {a or 'nothing'}": g * x + y, f"1 + {name} for {name}": x + (1 + g) * y,
        }  # fmt: skip
        for words, made in forms.items():
            if same(made, e.got):
                text = f"JAX has {words}; torch multiplies {b} by {name}" + (f" and adds {a}." if a else ".")
                return [cause("layer-scale", text, "", e.first.path, proven=True)]
    return []
