"""The check: every quantity in float64 for the definition, then at working precision for the rounding."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify import _judge
from jaxgrad.verify._pair import _align, _divergence, _explain, _training
from jaxgrad.verify._pair._divergence import Divergence, Layer, Passes
from jaxgrad.verify._pair._jax_side import precision
from jaxgrad.verify._pair._measure import Leaf, floor_of, measure, relative
from jaxgrad.verify._pair._quantities_jax import JaxQuantities
from jaxgrad.verify._pair._quantities_torch import TorchQuantities
from jaxgrad.verify._pair._report import Report, Result

__all__ = ["DEFAULT", "QUANTITIES", "check"]

FIRST = ("value", "gradient", "input_gradient")
SECOND = ("hvp", "ggn", "nth", "per_example", "per_example_norms", "meta", "meta_second_order", "shift", "multi_loss")
INSIDE = ("activations", "activation_gradient")
QUANTITIES = (*FIRST, *INSIDE, *SECOND, "step", "steps:N")
DEFAULT = (*FIRST, *INSIDE, "hvp")
ALL = (*FIRST, *INSIDE, *SECOND, "step", "steps:3")

Progress = Callable[[str, float], None]


def check(
    bound: Any,
    what: Sequence[str] | str | None = None,
    *,
    dtypes: Sequence[str] = ("float64", "float32"),
    tolerance: float = _judge.DEFINITION_F64,
    noise: float = _judge.NOISE_MULTIPLE,
    progress: Progress | None = None,
) -> Report:
    """Compare both models, and find where and why they differ.

    Args:
        bound: The pair.
        what: Names out of `QUANTITIES`, ``"all"``, or ``None`` for the usual ones.
        dtypes: ``"float64"`` decides the definition and is always run; every other one is judged for its rounding.
        tolerance: The largest relative error of a leaf in float64.
        noise: The largest error at another precision, in multiples of torch's own.
        progress: Called with a line and the part that is done, from 0 to 1.

    Returns:
        The report.

    Raises:
        ValueError: If a name is no quantity.
    """
    names = _names(what)
    lower = [d for d in dtypes if d != "float64"]
    tell = progress or _silent
    begun = time.perf_counter()
    with precision():
        # a flattened image is mapped one way or the other; the values decide
        _settle_flattening(bound)
        results = _quantities(bound, [n for n in names if n in (*FIRST, *SECOND)], lower, tolerance, noise, tell)
        results += _unmapped(bound)
        for name in names:
            if name.startswith("step"):
                tell(name, 0.7)
                results.append(_steps(bound, name, tolerance))
        differs = any(r.verdict in ("differ", "failed") for r in results)
        passes: Passes | None = None
        rows: list[Layer] = []
        if differs or any(n in INSIDE for n in names):
            tell("layer by layer", 0.8)
            passes, rows, failure = _watch(bound)
            results += _inside(names, passes, rows, tolerance, failure)
        first = _first(passes, rows, results, tolerance)
        tell("causes", 0.95)
        report = Report(results, rows, first, [], {})
        if not report.ok:
            report.causes = _explain.explain(bound, passes, results, first, tolerance)
    order = {name: i for i, name in enumerate(names)}
    report.results.sort(key=lambda r: order.get(r.name, len(order)))
    report.meta = _meta(bound, tolerance, noise, dtypes, time.perf_counter() - begun)
    tell("done", 1.0)
    return report


def _unmapped(bound: Any) -> list[Result]:
    """Judge the mapping: a weight without a counterpart is a difference, whatever the batch shows of it."""
    mapping = bound.mapping
    leaves = [Leaf(key, "", np.inf, note="no JAX leaf takes it") for key in mapping.unused]
    leaves += [Leaf("", path, np.inf, note="no torch key fills it") for path in mapping.unfilled]
    if not leaves:
        return []
    names = ", ".join(leaf.torch or leaf.jax for leaf in leaves[:3])
    return [Result("mapping", leaves, "differ", f"{len(leaves)} weights without a counterpart: {names}")]


def _silent(line: str, part: float) -> None:
    """Tell nobody."""
    del line, part


def _names(what: Sequence[str] | str | None) -> list[str]:
    """Return the quantities asked for.

    Raises:
        ValueError: With the names that are known.
    """
    if what is None:
        return list(DEFAULT)
    words = what.split(",") if isinstance(what, str) else list(what)
    words = [w for word in words for w in (ALL if word == "all" else (word.strip(),))]
    words = [{"grad": "gradient", "input gradient": "input_gradient"}.get(w, w.replace("-", "_")) for w in words]
    known = {*FIRST, *INSIDE, *SECOND, "step"}
    wrong = [w for w in words if w not in known and not (w.startswith("steps:") and w[6:].isdigit() and int(w[6:]))]
    if wrong or not words:
        message = f"what must be among {', '.join(QUANTITIES)} or 'all'; got {', '.join(map(repr, wrong)) or 'nothing'}"
        raise ValueError(message)
    return list(dict.fromkeys(words))


def _settle_flattening(bound: Any) -> None:
    """Find out whether linear layers behind a flattened image see its channels first or last, by their values."""
    import dataclasses

    from jaxgrad.verify._pair import _watch_torch
    from jaxgrad.verify._pair._program import run_once
    from jaxgrad.verify._pair._torch_side import split

    if bound.options.get("settled") or bound.options["weights"] != "torch":
        return
    bound.options["settled"] = True
    images = _align.flattened_images(_watch_torch.capture(bound).calls) if _has_images(bound) else {}
    entries = {e.jax: e for e in bound.mapping.entries}
    turned = []
    for path, image in images.items():
        order = _align.permutations_of(image)
        for entry in entries.values():
            if entry.torch == (f"{path}.weight",) and entry.rule == "transpose":
                make = entry.make
                turned.append(
                    (
                        path,
                        image,
                        dataclasses.replace(
                            entry,
                            make=lambda w, make=make, order=order: make(w[:, order]),
                            rule="transpose, image turned",
                        ),
                    )
                )
    if not turned:
        return
    plain = bound.mapping

    def loss() -> float:
        params, rest = bound.weights("float64")
        value = run_once(bound.jax_loss_of(rest), params, *bound.data("float64"))
        return float(value)

    params, buffers = bound.torch.tensors("float64")
    want = float(bound.torch.loss("float64", buffers)(params, *bound.torch.batch(bound.batch, "float64")))
    del split
    straight = abs(loss() - want)
    if straight <= 1e-9 * abs(want):
        return
    for _, _, entry in turned:
        bound.mapping = bound.mapping.replace(entry)
    # where neither fits, the models differ elsewhere, and channels last is what JAX models flatten
    if abs(loss() - want) > straight and _flattens_channels_first(bound):
        bound.mapping = plain
        return
    bound.flattened = {path: image for path, image, _ in turned}


def _flattens_channels_first(bound: Any) -> bool:
    """Say whether the JAX side takes images as torch has them."""
    return bound.adapt.__name__ == "_as_it_is"


def _has_images(bound: Any) -> bool:
    """Say whether anything in the model may be flattened."""
    return any(type(m).__name__.startswith("Conv") for m in bound.torch.module.modules())


def _quantities(
    bound: Any, names: list[str], lower: list[str], tolerance: float, limit: float, tell: Progress
) -> list[Result]:
    """Compute and judge every quantity at every precision."""
    results: list[Result] = []
    sides = {d: (TorchQuantities(bound, d), JaxQuantities(bound, d)) for d in ("float64", *lower)}
    scale = 0.0
    groups = [[n for n in names if n in FIRST], *([n] for n in names if n in SECOND)]
    for count, group in enumerate(groups):
        if not group:
            continue
        tell(", ".join(group), 0.7 * count / len(groups))
        begun = time.perf_counter()
        key = "basic" if group[0] in FIRST else group[0]
        computed, failure = _compute(sides, key)
        spent = (time.perf_counter() - begun) / len(group)
        for name in group:
            if failure:
                results.append(Result(name, [], "failed", failure, spent))
                continue
            picked = {d: _pick(pair, name, key) for d, pair in computed.items()}
            want, got = picked["float64"]
            hint = scale if name in SECOND else 0.0
            if name == "value":
                picked = {d: (w, _lay_out(g, w)) for d, (w, g) in picked.items()}
                want, got = picked["float64"]
            leaves = measure(got, want, lambda n: bound.jax_path(n) or n, tolerance=tolerance, hint=hint)
            if name == "gradient":
                scale = 1e-3 * float(np.sqrt(sum(np.sum(g**2) for g in want.values())))
            for dtype in lower:
                _add_noise(leaves, want, picked[dtype], dtype, hint)
            results.append(_judge_result(name, leaves, tolerance, limit, spent))
    return results


def _compute(sides: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Compute a quantity on both sides; a failure is told and not raised, for it is a finding about a model."""
    found = {}
    for dtype, (theirs, ours) in sides.items():
        for name, side in (("torch", theirs), ("JAX", ours)):
            try:
                found[dtype, name] = side.get(key)
            except Exception as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                return {}, f"{name} fails in {dtype}: {type(error).__name__}: {lines[0] if lines else ''}"[:300]
    return {d: (found[d, "torch"], found[d, "JAX"]) for d in sides}, ""


def _pick(pair: tuple[Any, Any], name: str, key: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return one quantity's arrays of both sides in float64."""
    theirs, ours = (side[name] for side in pair) if key == "basic" else pair
    want = {n: t.detach().double().cpu().numpy() for n, t in theirs.items()}
    return want, {n: np.asarray(jnp.asarray(a), np.float64) for n, a in ours.items()}


def _lay_out(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Lay JAX's outputs out as torch has them, where only the order of the axes differs."""
    laid = dict(got)
    for name, array in got.items():
        if name in want and array.shape != want[name].shape:
            axes = _align.layout_of(array, want[name])
            laid[name] = array if axes is None else array.transpose(axes)
    return laid


def _add_noise(
    leaves: list[Leaf], exact: dict[str, np.ndarray], pair: tuple[Any, Any], dtype: str, hint: float
) -> None:
    """Measure every leaf's error at a precision in multiples of torch's own.

    torch's own error counts as no less than a unit of rounding, and no less than its usual error over the leaves of
    the quantity: a small leaf may be right by luck.
    """
    want, got = pair
    floor, unit = floor_of(exact, hint), float(jnp.finfo(dtype).eps)
    theirs = {n: relative(want[n], exact[n], floor) for n in exact if n in want}
    finite = [e for e in theirs.values() if np.isfinite(e)]
    usual = float(np.sqrt(np.mean(np.square(finite)))) if finite else 0.0
    for leaf in leaves:
        if leaf.torch not in theirs or leaf.torch not in got:
            continue
        error = relative(got[leaf.torch], exact[leaf.torch], floor)
        allowed = max(theirs[leaf.torch], usual, unit)
        multiple = error / allowed if np.isfinite(allowed) else 0.0
        leaf.noise = max(leaf.noise or 0.0, multiple)


def _judge_result(name: str, leaves: list[Leaf], tolerance: float, limit: float, seconds: float) -> Result:
    """Give the verdict of a quantity."""
    result = Result(name, leaves, "agree", "", seconds)
    if any(not leaf.error <= tolerance for leaf in leaves):
        result.verdict = "differ"
    elif result.noise is not None and not result.noise <= limit:
        result.verdict = "noisy"
        result.reason = (
            f"the same in float64, but {result.noise:.0f} times torch's own rounding error at lower precision"
        )
    return result


def _steps(bound: Any, name: str, tolerance: float) -> Result:
    """Compare training steps."""
    begun = time.perf_counter()
    try:
        leaves = _training.compare_steps(bound, int(name[6:]) if ":" in name else 1, tolerance)
    except Exception as error:
        return Result(name, [], "failed", f"{type(error).__name__}: {str(error).splitlines()[:1]}"[:300])
    result = _judge_result(name, leaves, tolerance, np.inf, time.perf_counter() - begun)
    stage = _training.first_stage(leaves, tolerance)
    result.reason = f"first differs at {stage}" if stage else ""
    return result


def _watch(bound: Any) -> tuple[Passes | None, list[Layer], str]:
    """Run both models layer by layer."""
    try:
        passes = _divergence.watch(bound)
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return None, [], f"cannot be watched layer by layer: {type(error).__name__}: {lines[0] if lines else ''}"
    return passes, _divergence.layers(passes) if passes is not None else [], ""


def _inside(names: list[str], passes: Passes | None, rows: list[Layer], tolerance: float, failure: str) -> list[Result]:
    """Judge activations and their gradients."""
    results = []
    for name in (n for n in names if n in INSIDE):
        if passes is None:
            verdict = "failed" if failure else "agree"
            note = failure or "a plain function shows no layers: give the module itself to compare them"
            results.append(Result(name, [], verdict, note))
            continue
        forward = name == "activations"
        leaves = [Leaf(r.torch or "(output)", r.jax or "(output)", r.forward if forward else r.backward) for r in rows]
        results.append(_judge_result(name, leaves, tolerance, np.inf, 0.0))
    return results


def _first(passes: Passes | None, rows: list[Layer], results: list[Result], tolerance: float) -> Divergence | None:
    """Return the first divergence: of the passes where they show one, and else of the quantities in their order."""
    found = _divergence.find_first(passes, rows, tolerance) if passes is not None else None
    if found is not None:
        return found
    for result in results:
        if result.verdict != "differ":
            continue
        wrong = [leaf for leaf in result.leaves if not leaf.error <= tolerance]
        # the first of a step's stages; of a derivative the leaf that is furthest off
        leaf = wrong[0] if result.name.startswith("step") else max(wrong, key=lambda x: x.error)
        if result.name.startswith("step"):
            path, stage = _training.stage_of(leaf.torch), "step"
        else:
            path = "loss" if leaf.torch == "loss" else leaf.torch.rpartition(".")[0] or leaf.torch
            stage = "forward" if result.name == "value" else "backward"
        return Divergence(path, stage, result.name, leaf.jax, leaf.error)
    return None


def _meta(bound: Any, tolerance: float, noise: float, dtypes: Sequence[str], seconds: float) -> dict[str, Any]:
    """Return what a reader of the report needs to know about the run."""
    from jaxgrad.verify._doctor import doctor

    facts = doctor()
    count = sum(int(p.size) for p in bound.torch.params.values())
    return {
        "versions": facts["versions"],
        "notes": facts["notes"],
        "backend": jax.default_backend(),
        "dtypes": ["float64", *(d for d in dtypes if d != "float64")],
        "tolerance_f64": tolerance,
        "noise_limit": noise,
        "parameters": count,
        "batch": [list(a.shape) for a in bound.batch],
        "mode": bound.options["mode"],
        "weights": bound.options["weights"],
        "excited": bound.torch.excited,
        "seconds": seconds,
    }
