"""``python -m bench.optimizers``: which optax transformations can be differentiated at a gradient that is exactly zero.

A small network of which one unit, and one whole leaf, is dead: their gradients are exactly 0, at every step. Each
transformation of optax and optax.contrib takes a few steps on it, as optax has it and through
`jaxgrad.meta.maml_gradient`, in float32, bfloat16 and float16; in float64 the derivative is compared with central
differences of steps that optax alone takes.
"""

import inspect
import logging
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import typer
from rich.console import Console
from rich.progress import track

from bench._command import check_folder, leave
from jaxgrad import meta

STEPS = 2
PRECISIONS = ("float32", "bfloat16", "float16")
RATE = 0.01

WITH_A_RATE = (
    "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion nadam nadamw"
    " noisy_sgd novograd optimistic_adam optimistic_adam_v2 optimistic_gradient_descent polyak_sgd radam rmsprop rprop"
    " sgd sign_sgd signum sm3 yogi contrib.acprop contrib.ademamix contrib.adopt contrib.cocob contrib.dadapt_adamw"
    " contrib.galore contrib.madgrad contrib.momo contrib.momo_adam contrib.muon contrib.prodigy"
    " contrib.schedule_free_adamw contrib.schedule_free_sgd contrib.simplified_ademamix contrib.sophia"
    " contrib.dog contrib.dowg"
).split()
"""Optimizers that need nothing but a learning rate."""

AS_A_FACTOR = (
    "scale_by_adadelta scale_by_adam scale_by_adamax scale_by_adan scale_by_amsgrad scale_by_belief"
    " scale_by_distance_over_gradients scale_by_factored_rms scale_by_lbfgs scale_by_lion scale_by_novograd"
    " scale_by_optimistic_gradient scale_by_param_block_norm scale_by_param_block_rms scale_by_polyak scale_by_radam"
    " scale_by_rms scale_by_rss scale_by_sign scale_by_sm3 scale_by_stddev scale_by_trust_ratio scale_by_yogi"
    " apply_every centralize identity normalize_by_update_norm set_to_zero zero_nans contrib.normalize"
    " contrib.reduce_on_plateau contrib.scale_by_acprop contrib.scale_by_ademamix contrib.scale_by_adopt"
    " contrib.scale_by_cocob contrib.scale_by_galore contrib.scale_by_muon contrib.scale_by_simplified_ademamix"
    " contrib.hutchinson_estimator_diag_hessian"
).split()
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
    "contrib.dpsgd": lambda: optax.contrib.dpsgd(RATE, 1.0, 0.1, 0),
    "contrib.mechanize": lambda: optax.contrib.mechanize(optax.adam(RATE)),
    "contrib.sam": lambda: optax.contrib.sam(optax.adam(RATE), ascent(), sync_period=2),
    "contrib.sam, opaque_mode=True": lambda: optax.contrib.sam(optax.adam(RATE), ascent(), opaque_mode=True),
    "contrib.scale_by_madgrad": lambda: optax.contrib.scale_by_madgrad(RATE),
    "contrib.schedule_free": lambda: optax.contrib.schedule_free(optax.adam(RATE, b1=0.0), RATE),
    "contrib.split_real_and_imaginary": lambda: optax.contrib.split_real_and_imaginary(optax.adam(RATE)),
}
"""Those that need more, or are given something to work on; what stands after a comma is a variant."""

OF_ANOTHER_KIND = frozenset(
    "bias_correction matrix_inverse_pth_root sigmoid_binary_cross_entropy update_infinity_moment update_moment"
    " update_moment_per_elem_norm contrib.schedule_free_eval_params".split()
)
"""Functions that do not say what they return, and return no transformation."""

PARTS = {"adam": optax.adam(RATE), "sgd": optax.sgd(RATE)}
LABELS = {"last": "adam", "gate": "sgd"}

Tree = Any


def then_descend(transform: Any) -> Any:
    """Let a transformation be followed by a small step downwards."""
    return optax.chain(transform, optax.scale(-RATE))


def only(chosen: str) -> dict[str, bool]:
    """Mark one leaf."""
    return {name: name == chosen for name in LABELS}


def ascent() -> Any:
    """Return the inner optimizer of sharpness-aware minimization: a step of fixed length."""
    return optax.chain(optax.contrib.normalize(), optax.sgd(0.05))


def table() -> dict[str, Callable[[], Any]]:
    """Return how each of the transformations is made, in the order of their names."""
    plain = {name: _call(name, RATE) for name in WITH_A_RATE}
    factors = {name: _call(name, None) for name in AS_A_FACTOR}
    rows = {**plain, **factors, **OTHERS}
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
    return found - OF_ANOTHER_KIND


def _makes_a_transformation(item: Any) -> bool:
    """Say whether something is a class with both methods, or a function that returns one, or does not say what."""
    if inspect.isclass(item):
        # the types of transformations are tuples of their functions
        return callable(getattr(item, "init", None)) and callable(getattr(item, "update", None))
    if not inspect.isfunction(item) and not hasattr(item, "__wrapped__"):
        return False
    said = inspect.signature(item).return_annotation
    return said is inspect.Signature.empty or "GradientTransformation" in str(said)


class Row(NamedTuple):
    """What was found about one of them."""

    name: str
    forward: list[str]
    """The update at the dead weights as optax has it: of float32, bfloat16, float16."""
    plain: list[str]
    """The meta-gradient through optax's steps as they are, likewise."""
    guarded: list[str]
    """`maml_gradient`, likewise."""
    differences: str
    """`maml_gradient` in float64 against central differences."""
    told: str
    """The sentence that a user gets, where it is refused."""


def problem() -> tuple[Tree, Tree, Tree, Tree]:
    """Return parameters with dead weights, data to adapt to, data to judge by, and a direction.

    The inputs are positive in the data to adapt to, and partly negative in the others: one row of ``last`` and all of
    ``gate`` are dead in the steps, and count in the loss after them, so that what comes back to their updates is not 0.
    """
    rng = np.random.default_rng(0)
    params = {"last": rng.normal(size=(3, 2)), "gate": rng.normal(size=(2, 2))}
    x, y = 1 + rng.uniform(size=(2, 4, 2)), rng.normal(size=(2, 4, 2))
    x[1, ::2] *= -1
    direction = {name: rng.normal(size=leaf.shape) for name, leaf in params.items()}
    # what all precisions hold exactly, for their results to be of the same problem
    exact = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(np.float64), (params, x, y))
    return exact[0], (exact[1][0], exact[2][0]), (exact[1][1], exact[2][1]), direction


def loss(params: Tree, x: Any, y: Any) -> Any:
    """Mean square of a network whose last hidden unit, and whose gate, are 0 where the inputs are positive."""
    hidden = jax.nn.relu(x @ jnp.array([[0.5, -1.0, -1.0], [0.5, 1.5, -0.5]], x.dtype))
    return jnp.mean((jnp.tanh(hidden @ params["last"] + jax.nn.relu(-x) @ params["gate"]) - y) ** 2)


def steps_of_optax(rule: Any, params: Tree, task: Tree) -> tuple[Tree, Tree]:
    """Take the steps with optax alone, as its manual says; return the parameters and the first updates."""
    rule = optax.with_extra_args_support(rule)

    def of(params: Tree, obj_fn: Any = None, grad_fn: Any = None) -> Any:
        del obj_fn, grad_fn
        return loss(params, *task)

    state, found = rule.init(params), []
    for _ in range(STEPS):
        value, slope = jax.value_and_grad(of)(params)
        more = {"value": value, "grad": slope, "value_fn": of, "obj_fn": of}
        more["grad_fn"] = lambda params, _: jax.grad(of)(params)
        updates, state = rule.update(slope, state, params, **more)
        params = optax.apply_updates(params, updates)
        found.append(updates)
    return params, found[0]


def plain(rule: Any, params: Tree, support: Tree, query: Tree) -> tuple[Tree, Tree]:
    """Return the meta-gradient through optax's steps, and the first update."""

    def after(params: Tree) -> Any:
        last, first = steps_of_optax(rule, params, support)
        return loss(last, *query), first

    return jax.grad(after, has_aux=True)(params)


def guarded(rule: Any, params: Tree, support: Tree, query: Tree) -> Any:
    """Return the meta-gradient of one task."""
    tasks = jax.tree.map(lambda leaf: leaf[None], (support, query))
    return meta.maml_gradient(loss, params, *tasks, optimizer=rule, num_steps=STEPS)


def slope_by_differences(rule: Any, params: Tree, support: Tree, query: Tree, direction: Tree) -> Any:
    """Return the derivative of the loss after optax's steps along a direction, by differences of fourth order."""

    def at(t: Any) -> Any:
        moved = jax.tree.map(lambda leaf, d: leaf + t * d, params, direction)
        return loss(steps_of_optax(rule, moved, support)[0], *query)

    h, run = 1e-4, jax.jit(at)
    values = [run(t) for t in (h, -h, 2 * h, -2 * h)]
    return (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)
