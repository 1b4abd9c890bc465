"""The outputs of a one-example function, by a loop."""

from typing import Any

from torch_ref.per_example._gradients import examples, stack


def values(fun: Any, params: Any, *batch: Any) -> Any:
    """Apply the function to one example after the other, and stack."""
    return stack([fun(params, *example) for example in examples(batch)])
