"""The check: every quantity in float64 for the definition, then at working precision for the rounding."""

import time
from typing import Any

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.port._about import about
from jaxgrad.verify.port._divergences import divergences
from jaxgrad.verify.port._judge_mapping import judge_mapping
from jaxgrad.verify.port._question import Question
from jaxgrad.verify.port._record_layers import Recording, judge_layers, record
from jaxgrad.verify.port.diagnosis import _diagnose
from jaxgrad.verify.port.frameworks._contexts import precision, threads_beside_jax
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._torch import TorchQuantities
from jaxgrad.verify.port.quantities._training_steps import ADAM_RATE, judge_steps
from jaxgrad.verify.port.quantities._verdicts import Sides, judge_quantities
from jaxgrad.verify.report._records import Cause, Divergence, Report, Result

__all__ = ["check"]


NO_STEP = "an optimizer was given, and no step was compared: ask for what=[..., 'step']"
ASSUMED = (
    f"no optimizer was given: the step is that of Adam at the rate {ADAM_RATE} on both sides, and says nothing of yours"
)


def check(pair: ModelPair, asked: Question) -> Report:
    """Compare both models in what is asked, and find where and why they differ: `Pair.check` says how."""
    begun = time.perf_counter()
    with precision(), threads_beside_jax(pair.size):
        pair = pair.prepared
        sides = {dtype: (TorchQuantities(pair, dtype), _in_jax(pair, dtype, asked)) for dtype in asked.dtypes}
        results = _judge_numbers(pair, sides, asked)
        results += judge_mapping(pair)
        results += _judge_steps(pair, sides, asked)
        recording = record(pair, asked, results, sides["float64"][1])
        results += judge_layers(recording, asked)
        found = divergences(pair, recording, results, asked)
        causes = _explain(pair, recording, results, found, asked)
    meta = _meta(pair, asked, time.perf_counter() - begun)
    asked.tell("done", 1.0)
    return Report(_in_order(results, asked), list(recording.layers), found[0] if found else None, causes, meta, found)


def _in_jax(pair: ModelPair, dtype: str, asked: Question) -> JaxQuantities:
    """Return JAX's side; one program gives all that is asked of it at the given weights."""
    product = "hvp" in asked.numbers and pair.trains and asked.at_one_point
    return JaxQuantities(pair, dtype, product=product, record=bool(asked.inside) and dtype == "float64")


def _judge_numbers(pair: ModelPair, sides: Sides, asked: Question) -> list[Result]:
    """Compute and judge what either side computes by itself."""
    absent = [] if pair.trains else asked.of_parameters
    wanted = [name for name in asked.numbers if name not in absent]
    results = judge_quantities(pair, sides, wanted, asked.tolerance, asked.noise, asked.tell)
    why = "the torch model has no parameters" + (" that are trained" if pair.torch.params else "")
    return results + [Result(name, [], "agree", why) for name in absent]


def _judge_steps(pair: ModelPair, sides: Sides, asked: Question) -> list[Result]:
    """Train both sides where that is asked for, and judge every step."""
    names = asked.steps if pair.trains else []
    if names:
        asked.tell("training steps", 0.7)
    return judge_steps(pair, sides["float64"][1], names, asked.tolerance)


def _explain(
    pair: ModelPair, recording: Recording, results: list[Result], found: list[Divergence], asked: Question
) -> list[Cause]:
    """Explain what differs; an explanation that fails is told, and what was found stands."""
    asked.tell("causes", 0.95)
    if not any(result.verdict in ("differ", "noisy") for result in results):
        return []
    try:
        return _diagnose.explain(pair, recording.passes, results, found, asked.tolerance)
    except Exception as error:
        text = f"the search for a cause failed ({first_line(error)}); what was found stands."
        return [Cause("unknown", text, "Please report it.", found[0].path if found else "")]


def _in_order(results: list[Result], asked: Question) -> list[Result]:
    """Return the results in the order in which they were asked for; what nobody asked for comes last."""
    order = {name: place for place, name in enumerate(asked.names)}
    return sorted(results, key=lambda result: order.get(result.name, len(order)))


def _remarks(pair: ModelPair, asked: Question) -> list[str]:
    """Return what a reader should know of what was compared, and of what was not."""
    no_step = bool(pair.options.optimizer) and not asked.steps
    assumed = pair.options.optimizer is None and bool(asked.steps) and pair.trains
    told = [text for text, holds in ((NO_STEP, no_step), (ASSUMED, assumed)) if holds]
    return [*told, *pair.mapping.undecided]


def _meta(pair: ModelPair, asked: Question, seconds: float) -> dict[str, Any]:
    """Return what a reader of the report needs to know about the run."""
    return {
        **about(pair),
        "remarks": [*_remarks(pair, asked), *pair.torch.remarks()],
        "dtypes": list(asked.dtypes),
        "tolerance_f64": asked.tolerance,
        "noise_limit": asked.noise,
        "islands": list(pair.islands.notes) if pair.islands is not None else [],
        "seconds": seconds,
    }
