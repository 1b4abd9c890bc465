"""More of case S6: the exact gradient of SAM, its relatives with a state, and estimates from many shifts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import shift
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, extend
from jaxgrad.verify.cases.families._networks import mlp_params
from jaxgrad.verify.cases.families._shift import mean_square, mean_square_torch


def problem() -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Draw weights, a tree like them and data: of two layers, since every layer takes time to compile."""
    rng = np.random.default_rng(3)
    return mlp_params((5, 6, 2), 0), mlp_params((5, 6, 2), 1), rng.normal(size=(16, 5)), rng.normal(size=(16, 2))


def squares(tree: Any) -> Any:
    """Return the square of every entry: a diagonal that is not negative."""
    return jax.tree.map(lambda leaf: leaf**2, tree)


@extend("S6")
def relatives_of_sam(dtype: np.dtype) -> list[Quantity | Criterion]:
    """With the derivative of the shift, in groups, and from states that are given."""
    import torch_ref.shift as theirs

    p, kept, *data = to_jax(problem(), dtype)
    pt, kept_torch, *data_torch = to_torch(problem(), dtype)
    uphill: dict[str, Any] = {"radius": 0.5, "adaptive": True, "groups": 4, "exact": True}

    @jax.jit
    def with_states(p: Any, kept: Any, *data: Any) -> Any:
        slope, after = shift.msam_gradient(mean_square, p, shift.MSAMState(kept), *data, radius=0.1)
        state = shift.LookSAMState(jnp.array(1), kept)
        return {
            "Fisher": shift.fisher_sam_gradient(mean_square, p, squares(kept), *data, radius=0.1),
            "Look": shift.looksam_gradient(mean_square, p, state, *data, radius=0.1)[0],
            "Momentum": (slope, after.trace),
        }

    def with_states_torch() -> Any:
        rest: Any = data_torch
        return {
            "Fisher": theirs.fisher_sam_gradient(mean_square_torch, pt, squares(kept_torch), *rest, radius=0.1),
            "Look": theirs.looksam_gradient(mean_square_torch, pt, (1, kept_torch), *rest, radius=0.1)[0],
            "Momentum": theirs.msam_gradient(mean_square_torch, pt, kept_torch, *rest, radius=0.1),
        }

    return [
        Quantity(
            "ASAM in 4 groups, the derivative of the shift included",
            lambda: shift.sam_gradient(mean_square, p, *data, **uphill),
            lambda: theirs.sam_gradient(mean_square_torch, pt, *data_torch, **uphill),
        ),
        Quantity("Fisher-SAM, LookSAM, Momentum-SAM", lambda: with_states(p, kept, *data), with_states_torch),
    ]


def rank_one(params: Any, *data: Any) -> Any:
    """Draw 4 shifts of rank 1 in NumPy: JAX's generator compiles slowly."""
    rng = np.random.default_rng(4)

    def shapes(p: Any, *data: Any) -> Any:
        return shift.low_rank_shifts(mean_square, p, *data, key=jax.random.key(0), num_shifts=4, rank=1)

    # numbers of float32, the same in every precision
    return jax.tree.map(lambda x: np.float32(0.3 * rng.normal(size=x.shape)), jax.eval_shape(shapes, params, *data))


def dense(shifts: Any) -> Any:
    """Return shifts of low rank in the shapes of the leaves."""

    def of(node: Any) -> Any:
        return node.dense() if isinstance(node, shift.LowRank) else node

    return jax.tree.map(of, shifts, is_leaf=lambda node: isinstance(node, shift.LowRank))


@extend("S6")
def estimates(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Shifts of rank 1 at the uses of the weights on our side, their sums with the weights on torch's; and IVON."""
    import torch_ref.shift as theirs

    p, slopes, *data = to_jax(problem(), dtype)
    pt, slopes_torch, *data_torch = to_torch(problem(), dtype)
    drawn = rank_one(p, *data)
    summed = jax.jit(dense)(to_jax(drawn, np.float64))
    moves, moves_torch = to_jax(drawn, dtype), to_torch(summed, dtype)

    @jax.jit
    def from_values(p: Any, moves: Any, *data: Any) -> Any:
        return {
            "pairs": shift.evolution_gradient(mean_square, p, moves, *data, scale=0.3),
            "score": shift.score_function_gradient(mean_square, p, moves, *data, scale=0.3),
        }

    def from_values_torch() -> Any:
        return {
            "pairs": theirs.evolution_gradient(mean_square_torch, pt, moves_torch, *data_torch, scale=0.3),
            "score": theirs.score_function_gradient(mean_square_torch, pt, moves_torch, *data_torch, scale=0.3),
        }

    @jax.jit
    def ivon_step(p: Any, slopes: Any, moves: Any) -> Any:
        method = shift.ivon(0.1, 100.0, beta2=0.9)
        updates, state = method.update(slopes, moves, method.init(p), p)
        return updates, state.momentum, state.hessian

    def ivon_step_torch() -> Any:
        method = theirs.ivon(0.1, 100.0, beta2=0.9)
        updates, state = method.update(
            slopes_torch, jax.tree.map(lambda leaf: leaf[0], moves_torch), method.init(pt), pt
        )
        return updates, state["momentum"], state["hessian"]

    first = to_jax(jax.tree.map(lambda leaf: np.asarray(leaf)[0], summed), dtype)
    return [
        Quantity(
            "4 shifts of rank 1, both ways",
            lambda: shift.expected_gradient(mean_square, p, moves, *data, antithetic=True),
            lambda: theirs.expected_gradient(mean_square_torch, pt, moves_torch, *data_torch, antithetic=True),
        ),
        Quantity(
            "evolution strategies and score function of rank 1",
            lambda: from_values(p, moves, *data),
            from_values_torch,
        ),
        Quantity("a step of IVON", lambda: ivon_step(p, slopes, first), ivon_step_torch),
    ]
