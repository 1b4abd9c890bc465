"""Causes found by running torch once more with one layer changed: what then arrives is what JAX has."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.port.diagnosis._catalogue import cause
from jaxgrad.verify.port.diagnosis._evidence import Evidence
from jaxgrad.verify.port.diagnosis._gates import name_of_activation
from jaxgrad.verify.port.diagnosis._images import pool_forms
from jaxgrad.verify.port.diagnosis._known_functions import ELEMENTWISE, recognise, same
from jaxgrad.verify.port.diagnosis._rearranged import shuffles
from jaxgrad.verify.port.tracing import _match_calls, _record_torch
from jaxgrad.verify.port.tracing._match_calls import Aligned
from jaxgrad.verify.port.tracing._record_torch import Call
from jaxgrad.verify.report._records import Cause

__all__ = ["layer_left_out", "other_function", "wired"]

MOST_RUNS = 24
"""How often torch is run again for one place at most."""

USUAL = ("the identity", "relu", "gelu (tanh)", "gelu (erf)", "silu", "leaky relu (0.01)", "tanh", "sigmoid", "elu",
         "relu6", "hard swish", "gelu (sigmoid)", "hard sigmoid (x/6 + 1/2)", "hard sigmoid (x/5 + 1/2)")  # fmt: skip
"""Activations that are tried by a run of torch each."""


def layer_left_out(e: Evidence) -> list[Cause]:
    """A layer of torch that JAX lacks: with it taken away torch has what JAX has."""
    for path in _lone_with_weights(e):
        made = _arrives(e, path, lambda given, _: given)
        if made is not None and same(made, e.got):
            norm = _is_norm(e, path)
            text = f"JAX leaves {path} out: torch without it has JAX's numbers."
            return [
                cause("norm-missing" if norm else "layer-missing", text, f"Apply {path} in JAX.", path, proven=True)
            ]
    return []


def other_function(e: Evidence) -> list[Cause]:
    """One of several layers without weights that is another in JAX: torch with that one has what JAX has."""
    given = [(call, x) for call in _lone(e) if call.inputs and (x := call.inputs[0]) is not None]
    # pools and shuffles have few other forms, activations many
    plain = ((call, one) for call, x in given for one in (*_shuffled(call, x), *_pools(e, call, x)))
    acts = ((call, one) for call, x in given for one in _activations(call, x))
    for call, (name, words, change) in itertools.islice(itertools.chain(plain, acts), MOST_RUNS):
        made = _arrives(e, call.path, change)
        if made is not None and same(made, e.got):
            return [cause(name, words, "", call.path, proven=True)]
    return []


Variant = tuple[str, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]
"""A cause, its words, and what the layer returns if it is true, of its input and output."""


def _activations(call: Call, x: np.ndarray) -> Iterator[Variant]:
    """Yield other activations in place of one."""
    assert call.output is not None
    theirs = recognise(call.output, {"x": x})
    if x.shape != call.output.shape or theirs is None or theirs[0] not in ELEMENTWISE:
        return
    for label in (label for label in USUAL if label != theirs[0]):
        text = f"JAX applies {label} where torch applies {theirs[0]}."

        def change(given: np.ndarray, _: np.ndarray, label: str = label) -> np.ndarray:
            return ELEMENTWISE[label](given)

        yield name_of_activation(theirs[0], label), text, change


def _shuffled(call: Call, x: np.ndarray) -> Iterator[Variant]:
    """Yield pixel shuffles that read the channels in another order."""
    made = call.output
    if made is None or x.ndim != 4 or made.ndim != 4 or made.size != x.size or x.shape[2] >= made.shape[2]:
        return
    count, _, height, width = made.shape
    shape = (count, height, width, made.shape[1])
    orders = {words: image.transpose(0, 3, 1, 2) for words, image in shuffles(x, shape)}
    theirs = next((words for words, image in orders.items() if same(image, made)), None)
    for words in orders if theirs else ():
        if words != theirs:
            text = f"JAX reads the channels as {words}, torch as {theirs}."

            def change(given: np.ndarray, _: np.ndarray, words: str = words) -> np.ndarray:
                return dict(shuffles(given, shape))[words].transpose(0, 3, 1, 2)

            yield "shuffle-order", text, change


def _pools(e: Evidence, call: Call, x: np.ndarray) -> Iterator[Variant]:
    """Yield other pools in place of one."""
    import torch

    made, module = call.output, dict(e.bound.torch.module.named_modules()).get(call.path)
    if made is not None and x.ndim == made.ndim > 2 and x.shape[:2] == made.shape[:2] and made[0, 0].size == 1:
        yield from _whole_pools(made, x)
        return
    size, stride, pad = (getattr(module, name, None) for name in ("kernel_size", "stride", "padding"))
    if made is None or x.ndim not in (3, 4) or size is None or made.shape[1] != x.shape[1] or pad is None:
        return
    if x.ndim == 4:
        options = pool_forms(module)
    else:
        f = torch.nn.functional
        options = [
            ("pool-count", "leaves the padding out of the mean",
             lambda t: f.avg_pool1d(t, size, stride, pad, count_include_pad=False)),
            ("pool-count", "counts the padding in the mean",
             lambda t: f.avg_pool1d(t, size, stride, pad, count_include_pad=True)),
            ("pool-kind", "takes the maximum", lambda t: f.max_pool1d(t, size, stride, pad)),
        ]  # fmt: skip
    for name, words, run in options:

        def change(given: np.ndarray, _: np.ndarray, run: Any = run) -> np.ndarray:
            return run(torch.from_numpy(given.copy())).numpy()

        yield name, f"the pool of JAX {words}; torch's is {module}.", change


def _whole_pools(made: np.ndarray, x: np.ndarray) -> Iterator[Variant]:
    """Yield what else may be left of whole images than what a pool to one pixel leaves."""
    axes = tuple(range(2, x.ndim))
    forms: dict[str, Any] = {"mean": np.mean, "maximum": np.max, "sum": np.sum}
    theirs = next((words for words, run in forms.items() if same(run(x, axes, keepdims=True), made)), None)
    for words, run in forms.items() if theirs else ():
        if words != theirs:

            def change(given: np.ndarray, _: np.ndarray, run: Any = run) -> np.ndarray:
                return run(given, axes, keepdims=True)

            yield "pool-kind", f"JAX takes the {words} of the whole image, torch the {theirs}.", change


def wired(e: Evidence) -> list[Cause]:
    """JAX takes what another layer takes or returns, also one that runs later in torch."""
    if e.want.shape != e.got.shape or e.passes is None:
        return []
    holder = e.around[0] if e.around else None
    theirs = _origin(e, e.want, holder)
    ours = _origin(e, e.got, holder)
    if theirs is None or ours is None or theirs == ours:
        return []
    norms = [c for name, c in (theirs, ours) if c is not None and name == c.path and _is_norm(e, c.path)]
    if norms and not (theirs[1] is not None and ours[1] is not None and theirs[0] == ours[0]):
        called = any(a.call.path == norms[0].path for a in e.passes.aligned)
        text = f"JAX feeds {ours[0]} where torch feeds {theirs[0]}."
        name = "norm-order" if called else "norm-missing"
        return [cause(name, text, f"Feed it {theirs[0]}.", e.first.path, proven=True)]
    text = f"JAX takes {ours[0]} where torch takes {theirs[0]}."
    return [cause("wiring", text, f"Feed it {theirs[0]}.", e.first.path, proven=True)]


def _origin(e: Evidence, array: np.ndarray, holder: Call | None) -> tuple[str, Call | None] | None:
    """Return which call of a layer made an array, or took it."""
    assert e.passes is not None
    calls = [c for c in e.passes.trace.calls if c.parent is holder]
    for call in calls:
        if call.output is not None and _alike(call.output, array):
            return call.path, call
    if holder is not None and holder.inputs and holder.inputs[0] is not None and _alike(holder.inputs[0], array):
        return f"the input of {holder.path or 'the model'}", None
    for call in calls:
        if call.inputs and call.inputs[0] is not None and call is not e.pair.call and _alike(call.inputs[0], array):
            return f"the input of {call.path}", None
    return None


def _alike(theirs: np.ndarray, array: np.ndarray) -> bool:
    """Say whether two arrays hold the same, in either layout."""
    if theirs.size != array.size or theirs.ndim != array.ndim or theirs.dtype.kind != "f":
        return False
    axes = layout_of(theirs, array)
    return axes is not None and same(theirs.transpose(axes), array)


def _is_norm(e: Evidence, path: str) -> bool:
    """Say whether a layer has the form of a norm: it keeps the shape, and all that it holds are vectors."""
    assert e.passes is not None
    call = next((c for c in e.passes.trace.calls if c.path == path), None)
    x = call.inputs[0] if call is not None and call.inputs else None
    if call is None or x is None or call.output is None or x.shape != call.output.shape:
        return False
    prefix = f"{path}."
    own = [w for n, w in e.bound.torch.params.items() if n.startswith(prefix)]
    return bool(own) and all(w.ndim == 1 for w in own)


def _lone(e: Evidence) -> list[Call]:
    """Return the calls without a JAX partner that ran before this place, the latest first."""
    assert e.passes is not None
    paired = {id(a.call) for a in e.passes.aligned}
    found: list[Call] = []
    for call in e.before[::-1]:
        if id(call) in paired:
            break
        found += [call] * (not any(d.parent is call for d in e.before))
    return found[:8]


def _lone_with_weights(e: Evidence) -> list[str]:
    """Return the torch layers whose weights fill nothing in JAX, and that take and return one shape."""
    assert e.passes is not None
    paths = list(dict.fromkeys(key.rpartition(".")[0] for key in e.bound.mapping.unused))
    found = []
    for path in paths:
        call = next((c for c in e.passes.trace.calls if c.path == path), None)
        if call is not None and call.inputs and call.inputs[0] is not None and call.output is not None:
            found += [path] * (call.inputs[0].shape == call.output.shape)
    return found


def _arrives(e: Evidence, path: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray | None:
    """Run torch with the output of a layer replaced, and return what is then at this place, laid out as `want`."""
    import torch

    assert e.passes is not None

    def hook(module: Any, args: Any, output: Any) -> Any:
        del module
        if not args or not isinstance(args[0], torch.Tensor) or not isinstance(output, torch.Tensor):
            return output
        with np.errstate(all="ignore"):
            made = change(args[0].detach().numpy(), output.detach().numpy())
        return torch.as_tensor(made, dtype=output.dtype) + 0 * output

    module = dict(e.bound.torch.at("float64").named_modules()).get(path)
    if module is None:
        return None
    handle = module.register_forward_hook(hook)
    try:
        calls = _record_torch.capture(e.bound.torch, e.bound.batch, backward=False).calls
    finally:
        handle.remove()
    before = [c for c in e.passes.trace.calls if c.path == e.pair.call.path]
    after = [c for c in calls if c.path == e.pair.call.path]
    if len(before) != len(after):
        return None
    call = after[next(i for i, c in enumerate(before) if c is e.pair.call)]
    if e.first.where != "input":
        return call.output
    pair = Aligned(call, e.pair.slot, e.pair.layout)
    plan = _match_calls.reference(e.bound, [pair], e.passes.natural)
    made = [x if e.cut is None or x.ndim != len(e.cut) else x[e.cut] for x in plan[e.pair.slot].inputs.values()]
    return next((x for x in made if x.shape == e.want.shape), None)
