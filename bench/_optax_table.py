"""How each transformation of optax and optax.contrib is made, for ``bench.optimizers``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

__all__ = ["table", "transformations"]

RATE = 0.01

WITH_A_RATE = (
    "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion nadam nadamw"
    " noisy_sgd novograd optimistic_adam optimistic_adam_v2 optimistic_gradient_descent radam rmsprop rprop"
    " sgd sign_sgd signum sm3 yogi contrib.acprop contrib.ademamix contrib.adopt contrib.cocob contrib.dadapt_adamw"
    " contrib.galore contrib.madgrad contrib.momo contrib.momo_adam contrib.muon contrib.prodigy"
    " contrib.schedule_free_adamw contrib.schedule_free_sgd contrib.simplified_ademamix contrib.sophia"
    " contrib.dog contrib.dowg"
)
"""Optimizers that need nothing but a learning rate."""

AS_A_FACTOR = (
    "scale_by_adadelta scale_by_adam scale_by_adamax scale_by_adan scale_by_amsgrad scale_by_belief"
    " scale_by_distance_over_gradients scale_by_factored_rms scale_by_lbfgs scale_by_lion scale_by_novograd"
    " scale_by_optimistic_gradient scale_by_param_block_norm scale_by_param_block_rms scale_by_polyak scale_by_radam"
    " scale_by_rms scale_by_rss scale_by_sign scale_by_sm3 scale_by_stddev scale_by_trust_ratio scale_by_yogi"
    " apply_every centralize identity normalize_by_update_norm set_to_zero zero_nans contrib.normalize"
    " contrib.reduce_on_plateau contrib.scale_by_acprop contrib.scale_by_ademamix contrib.scale_by_adopt"
    " contrib.scale_by_cocob contrib.scale_by_galore contrib.scale_by_simplified_ademamix"
    " contrib.hutchinson_estimator_diag_hessian"
)
"""Transformations that need nothing, to be followed by ``optax.scale(-0.01)``."""

OTHERS: dict[str, Callable[[], Any]] = {
    "adaptive_grad_clip": lambda: then_descend(optax.adaptive_grad_clip(0.1)),
    "add_decayed_weights": lambda: then_descend(optax.add_decayed_weights(0.1)),
    "add_noise": lambda: then_descend(optax.add_noise(0.01, 0.55, 0)),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(RATE), 3),
    "chain": lambda: optax.chain(optax.clip(0.1), optax.adam(RATE)),
    "clip": lambda: then_descend(optax.clip(0.1)),
    "clip_by_block_rms": lambda: then_descend(optax.clip_by_block_rms(0.1)),
    "clip_by_global_norm": lambda: then_descend(optax.clip_by_global_norm(0.1)),
    "conditionally_mask": lambda: optax.conditionally_mask(optax.adam(RATE), lambda step, **_: step < 2),
    "conditionally_transform": lambda: optax.conditionally_transform(optax.adam(RATE), lambda step, **_: step < 2),
    "ema": lambda: then_descend(optax.ema(0.9)),
    "flatten": lambda: optax.flatten(optax.adam(RATE)),
    "freeze": lambda: optax.chain(optax.adam(RATE), optax.freeze(only("gate"))),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(RATE),
    "inject_stateful_hyperparams": lambda: optax.inject_stateful_hyperparams(optax.adam)(RATE),
    "keep_params_nonnegative": lambda: optax.chain(optax.sgd(RATE), optax.keep_params_nonnegative()),
    "lbfgs": lambda: optax.lbfgs(),
    "lbfgs, linesearch=None": lambda: optax.lbfgs(RATE, linesearch=None),
    "lookahead": lambda: optax.lookahead(optax.adam(RATE), 2, 0.5),
    "masked": lambda: optax.masked(optax.adam(RATE), only("last")),
    "measure_with_ema": lambda: optax.chain(optax.measure_with_ema(optax.tree.norm, 0.9), optax.sgd(RATE)),
    "monitor": lambda: optax.chain(optax.monitor({"size": optax.tree.norm}), optax.sgd(RATE)),
    "multi_transform": lambda: optax.multi_transform(PARTS, LABELS),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(RATE), 2),
    "named_chain": lambda: optax.named_chain(("clip", optax.clip(0.1)), ("adam", optax.adam(RATE))),
    "partition": lambda: optax.partition(PARTS, LABELS),
    "polyak_sgd": lambda: optax.polyak_sgd(max_learning_rate=RATE),
    "scale": lambda: optax.scale(-RATE),
    "scale_by_backtracking_linesearch": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
    "scale_by_learning_rate": lambda: optax.scale_by_learning_rate(RATE),
    "scale_by_rprop": lambda: optax.scale_by_rprop(RATE),
    "scale_by_schedule": lambda: optax.scale_by_schedule(lambda count: -RATE / (1 + count)),
    "scale_by_zoom_linesearch": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(5)),
    "selective_transform": lambda: optax.selective_transform(optax.adam(RATE), freeze_mask=only("gate")),
    "snapshot": lambda: optax.chain(optax.snapshot("size", optax.tree.norm), optax.sgd(RATE)),
    "stateless": lambda: optax.stateless(lambda updates, _: optax.tree.scale(-RATE, updates)),
    "stateless_with_tree_map": lambda: optax.stateless_with_tree_map(lambda g, _: -RATE * jnp.sinh(g)),
    "trace": lambda: then_descend(optax.trace(0.9)),
    "with_extra_args_support": lambda: optax.with_extra_args_support(optax.adam(RATE)),
    "contrib.differentially_private_aggregate": lambda: then_descend(
        optax.contrib.differentially_private_aggregate(1.0, 0.1, jax.random.key(0))
    ),
    "contrib.dpsgd": lambda: optax.contrib.dpsgd(RATE, 1.0, 0.1, seed=0),
    "contrib.mechanize": lambda: optax.contrib.mechanize(optax.adam(RATE)),
    "contrib.sam": lambda: optax.contrib.sam(optax.adam(RATE), ascent(), sync_period=2),
    "contrib.sam, opaque_mode=True": lambda: optax.contrib.sam(optax.adam(RATE), ascent(), opaque_mode=True),
    "contrib.scale_by_madgrad": lambda: optax.contrib.scale_by_madgrad(RATE),
    # it takes matrices, and a tree that says which of their axes are summed over
    "contrib.scale_by_muon": lambda: then_descend(
        optax.contrib.scale_by_muon(weight_dimension_numbers=axes_of_matrices)
    ),
    "contrib.schedule_free": lambda: optax.contrib.schedule_free(optax.adam(RATE, b1=0.0), RATE),
    "contrib.split_real_and_imaginary": lambda: optax.contrib.split_real_and_imaginary(optax.adam(RATE)),
}
"""Those that need more, or are given something to work on; what stands after a comma is a variant."""

OF_ANOTHER_KIND = (
    "bias_correction matrix_inverse_pth_root sigmoid_binary_cross_entropy update_infinity_moment update_moment"
    " update_moment_per_elem_norm contrib.schedule_free_eval_params WrappedSchedule"
)
"""What does not say what it returns, and returns no transformation, and schedules with a state of their own."""

PARTS = {"adam": optax.adam(RATE), "sgd": optax.sgd(RATE)}
LABELS = {"last": "adam", "gate": "sgd"}


def then_descend(transform: Any) -> Any:
    """Let a transformation be followed by a small step downwards."""
    return optax.chain(transform, optax.scale(-RATE))


def axes_of_matrices(params: Any) -> Any:
    """Give every leaf the axes that a matrix has."""
    return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(), params)


def only(chosen: str) -> dict[str, bool]:
    """Mark one leaf."""
    return {name: name == chosen for name in LABELS}


def ascent() -> Any:
    """Return the inner optimizer of sharpness-aware minimization: a step of fixed length."""
    return optax.chain(optax.contrib.normalize(), optax.sgd(0.05))


def table() -> dict[str, Callable[[], Any]]:
    """Return how each of the transformations is made, in the order of their names."""
    plain = {name: _call(name, RATE) for name in WITH_A_RATE.split()}
    factors = {name: _call(name, None) for name in AS_A_FACTOR.split()}
    rows = {**plain, **factors, **OTHERS}
    known = transformations()
    # an older optax does not have them all
    rows = {name: make for name, make in rows.items() if name.split(",")[0] in known}
    return {name: rows[name] for name in sorted(rows, key=lambda name: (name.startswith("contrib."), name.lower()))}


def _call(name: str, rate: float | None) -> Callable[[], Any]:
    if rate is None:
        return lambda: then_descend(_named(name)())
    return lambda: _named(name)(learning_rate=rate)


def _named(name: str) -> Any:
    module = optax.contrib if name.startswith("contrib.") else optax
    return getattr(module, name.removeprefix("contrib."))


def transformations() -> set[str]:
    """Return the names of all that optax and optax.contrib offer as a transformation, or to make one."""
    found = set()
    for prefix, module in {"": optax, "contrib.": optax.contrib}.items():
        for name, item in vars(module).items():
            if not name.startswith("_") and _makes_a_transformation(item):
                found.add(prefix + name)
    return found - set(OF_ANOTHER_KIND.split())


def _makes_a_transformation(item: Any) -> bool:
    """Say whether something is a class with both methods, or a function that returns one, or does not say what."""
    if inspect.isclass(item):
        # the types of transformations are tuples of their functions
        return callable(getattr(item, "init", None)) and callable(getattr(item, "update", None))
    if not (inspect.isfunction(item) or isinstance(item, functools.partial) or hasattr(item, "__wrapped__")):
        return False
    said = inspect.signature(item).return_annotation
    return said is inspect.Signature.empty or "GradientTransformation" in str(said)
