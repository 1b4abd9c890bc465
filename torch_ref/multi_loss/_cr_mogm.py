"""A running mean of the weights of another rule."""

from typing import Any


def cr_mogm(weighting: Any, *, decay: float = 0.9) -> Any:
    """Return the pair of functions."""

    def init(num_losses: int) -> Any:
        return {"weights": None, "num_losses": num_losses}

    def update(gram: Any, state: Any) -> Any:
        new, before = weighting(gram), state["weights"]
        weights = new if before is None else decay * before + (1 - decay) * new
        return weights, {**state, "weights": weights}

    return init, update
