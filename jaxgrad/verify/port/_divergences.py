"""Where two models part: of their layers where these show it, or else of the quantities."""

from collections.abc import Sequence

from jaxgrad.verify.port._question import Question
from jaxgrad.verify.port._record_layers import Recording, differs
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities import _training_steps
from jaxgrad.verify.port.tracing import _first_divergence
from jaxgrad.verify.report._records import Divergence, Result

__all__ = ["divergences", "first_of_results"]


def divergences(pair: ModelPair, recording: Recording, results: Sequence[Result], asked: Question) -> list[Divergence]:
    """Return every divergence, the weightiest first; none where nothing differs."""
    if not differs(results):
        return []
    passes, rows = recording.passes, list(recording.layers)
    found = _first_divergence.find_all(pair, passes, rows, asked.tolerance) if passes is not None else []
    first = first_of_results(results, asked.tolerance)
    return found or ([first] if first is not None else [])


def first_of_results(results: Sequence[Result], tolerance: float) -> Divergence | None:
    """Return the first divergence of the quantities in their order."""
    for result in results:
        if result.verdict != "differ":
            continue
        wrong = _training_steps.differing(result.leaves, tolerance)
        # the first of a step's stages; of a derivative the leaf that is furthest off
        leaf = wrong[0] if result.name.startswith("step") else max(wrong, key=lambda x: x.error)
        if result.name.startswith("step"):
            path, stage = _training_steps.stage_of(leaf.torch), "step"
        else:
            # an output goes by its whole name, a weight by that of its layer
            layer = "" if result.name == "value" else leaf.torch.rpartition(".")[0]
            path = layer or leaf.torch or leaf.jax
            stage = "forward" if result.name == "value" else "backward"
        return Divergence(path, stage, result.name, leaf.jax, leaf.error)
    return None
