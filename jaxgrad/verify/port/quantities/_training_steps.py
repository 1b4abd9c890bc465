"""One optimizer step taken apart, and several steps: the first stage at which two trainings part."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
import optax

from jaxgrad.verify._errors import first_line
from jaxgrad.verify.judge import floor_of, relative, size
from jaxgrad.verify.judge._arrays import flatten, to_float64, unflatten
from jaxgrad.verify.judge._tolerances import NO_GRADIENT, RECOGNISED, SMALL_LEAF, UPDATE_OF_ROUNDING
from jaxgrad.verify.port.frameworks._compile import quick
from jaxgrad.verify.port.frameworks._torch_module import running
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._measure import measure
from jaxgrad.verify.port.quantities._names import steps_of
from jaxgrad.verify.port.quantities._verdicts import judge_result
from jaxgrad.verify.report._records import Leaf, Result

__all__ = ["ADAM_RATE", "STAGES", "compare_steps", "differing", "first_stage", "judge_steps", "stage_of"]

STAGES = ("loss", "buffers", "gradient", "clipped gradient", "optimizer state", "update", "parameters")

ADAM_RATE = 0.001
"""The learning rate of the Adam that steps are taken with where the user gives no optimizer; both frameworks' own."""

NORMALISED = ("optimizer state", "update", "parameters")

STATE_NAMES = {
    "exp_avg": "mu",
    "exp_avg_sq": "nu",
    "max_exp_avg_sq": "nu_max",
    "exp_inf": "nu",
    "momentum_buffer": "trace",
    "square_avg": "nu",
    "sum": "sum_of_squares",
    "acc_delta": "e_x",
}
"""torch's names of an optimizer's state, and optax's."""


def compare_steps(bound: ModelPair, ours: JaxQuantities, steps: int, tolerance: float) -> list[Leaf]:
    """Train both sides for a number of steps, and compare every stage of each.

    Args:
        bound: The pair.
        ours: Its quantities in JAX, whose program of the gradient serves here too; torch trains at their precision.
        steps: How many steps.
        tolerance: The largest relative error.

    Returns:
        Leaves named ``step 1: gradient: fc.weight``; the stages stop at the first step that differs in more than
        running variances.
    """
    theirs, trained = _Torch(bound, ours.dtype), _Jax(bound, ours)
    found: list[Leaf] = []
    for step in range(1, steps + 1):
        want, got = theirs.step(), trained.step()
        for stage in STAGES:
            both = got[stage].keys() & want[stage].keys()
            # an update divides a gradient by its own size: where the gradient is rounding, so is the whole update
            whole = floor_of(want[stage].values()) / SMALL_LEAF**2 if stage in NORMALISED else 0.0
            leaves = measure(
                {n: got[stage][n] for n in both},
                {n: w for n, w in want[stage].items() if n in both},
                lambda n: bound.jax_path(n) or n,
                tolerance=tolerance,
                hint=whole,
            )
            still = _without_gradient(bound, want["gradient"]) if stage == "update" else set()
            for leaf in leaves:
                leaf.error *= UPDATE_OF_ROUNDING if leaf.torch in still else 1.0
                leaf.torch = f"step {step}: {stage}: {leaf.torch}" if leaf.torch else f"step {step}: {stage}"
            found += leaves
        wrong = differing(found, tolerance)
        # nothing in training reads a running variance: the steps after it are what they would be
        if wrong and not _is_variance_alone(wrong[0], wrong):
            break
    return found


def judge_steps(bound: ModelPair, ours: JaxQuantities, names: list[str], tolerance: float) -> list[Result]:
    """Compare training steps, and judge them by name; a single step is the first of several."""
    if not names:
        return []
    begun = time.perf_counter()
    try:
        leaves = compare_steps(bound, ours, max(map(steps_of, names)), tolerance)
    except Exception as error:
        reason = first_line(error)[:300]
        return [Result(name, [], "failed", reason) for name in names]
    spent = (time.perf_counter() - begun) / len(names)
    results = []
    for name in names:
        taken = [leaf for leaf in leaves if int(leaf.torch.split(":")[0].split()[1]) <= steps_of(name)]
        stage = first_stage(taken, tolerance)
        judged = judge_result(name, taken, tolerance, np.inf, spent)
        results.append(dataclasses.replace(judged, reason=f"first differs at {stage}" if stage else ""))
    return results


def _without_gradient(bound: ModelPair, gradient: dict[str, np.ndarray]) -> set[str]:
    """Return the JAX leaves whose gradient is zero but for rounding, such as the bias of an attention's keys."""
    nothing = NO_GRADIENT * floor_of(gradient.values()) / SMALL_LEAF
    still = {n for n, g in gradient.items() if size(g) <= nothing}
    return {e.jax for e in bound.mapping.entries if all(k in still for k in e.torch)}


class _Torch:
    """Training in torch; parameters and updates are given in JAX's layout, for there they are compared."""

    def __init__(self, bound: ModelPair, dtype: str) -> None:
        import torch

        self.torch, self.bound, self.side, self.dtype = torch, bound, running(bound.torch), dtype
        params, self.buffers = self.side.tensors(dtype)
        self.params = {n: torch.nn.Parameter(p, n not in self.side.frozen) for n, p in params.items()}
        make = (bound.options.optimizer or (lambda p: torch.optim.Adam(p, lr=ADAM_RATE), None))[0]
        self.optimizer = make([p for p in self.params.values() if p.requires_grad])
        self.batch = self.side.batch(bound.batch, dtype)
        self.given: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None = None
        """The gradient of the last step, and what clipping left of it."""

    def step(self) -> dict[str, dict[str, np.ndarray]]:
        """Take a step, and return its stages."""
        before = {n: to_float64(p) for n, p in self.params.items()}
        self.optimizer.zero_grad()
        loss = self.side.loss(self.dtype, self.buffers, detach_buffers=False)(self.params, *self.batch)
        loss.backward()
        gradient = self._gradients()
        clip = self.bound.options.clip
        if clip is not None:
            clip[0]([p for p in self.params.values() if p.requires_grad])
        clipped = self._gradients()
        self.given = gradient, clipped
        self.optimizer.step()
        after = {n: to_float64(p) for n, p in self.params.items()}
        paths = [e.jax for e in self.bound.mapping.entries]
        held = set(self.bound.jax_paths)

        def laid_out(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return self.bound.mapping.fill(tensors, [p for p in paths if p in held])

        statistics = self.bound.mapping.fill(
            {n: to_float64(b) for n, b in self.buffers.items()}, [p for p in paths if p not in held]
        )
        return {
            "loss": {"": to_float64(loss)},
            "gradient": gradient,
            "clipped gradient": clipped,
            "optimizer state": self._state(),
            "update": laid_out({n: after[n] - before[n] for n in after}),
            "parameters": laid_out(after),
            "buffers": statistics,
        }

    def _gradients(self) -> dict[str, np.ndarray]:
        """Return the gradients; a parameter that the loss does not reach has none, and counts as zero."""
        live = {n: p for n, p in self.params.items() if p.requires_grad}
        return {n: np.zeros(p.shape) if p.grad is None else to_float64(p.grad) for n, p in live.items()}

    def _state(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state under optax's names."""
        found = {}
        for name, param in self.params.items():
            for key, value in self.optimizer.state.get(param, {}).items():
                if key in STATE_NAMES and self.torch.is_tensor(value):
                    found[f"{STATE_NAMES[key]} of {name}"] = to_float64(value)
        return found


class _Jax:
    """Training in JAX."""

    def __init__(self, bound: ModelPair, quantities: JaxQuantities) -> None:
        self.bound, self.quantities = bound, quantities
        self.params, self.rest = quantities.params, quantities.rest
        self.optimizer = bound.options.optimizer[1] if bound.options.optimizer else optax.adam(ADAM_RATE)
        self.clip = bound.options.clip[1] if bound.options.clip else optax.identity()
        self.state = quick(lambda p: (self.optimizer.init(p), self.clip.init(p)))(self.params)
        self.descend, self.use = quick(self._descend), quick(self._use)

    def step(self, given: Any = None) -> dict[str, dict[str, np.ndarray]]:
        """Take a step, and return its stages.

        Args:
            given: torch's gradient and clipped gradient, by torch name, to clip and to use in place of JAX's own, so
                that a difference of the clipping or the optimizer is its own.
        """
        made = self.quantities.at(self.params, self.rest)
        loss, rest, gradient = made.value, made.rest, made.params
        if given is not None:
            gradient = self._carried(given[0], gradient)
        clipped, state, update, params = self.descend(self.params, self.state, gradient)
        if given is not None:
            state, update, params = self.use(self.params, self.state, self._carried(given[1], clipped))
        self.params, self.rest, self.state = params, rest, state
        names = set(
            self.bound.mapping.fill({**self.bound.torch.params, **self.bound.torch.buffers}, list(flatten(rest)))
        )
        filled = {e.jax for e in self.bound.mapping.entries}
        return {
            "loss": {"": loss},
            "gradient": self._back(gradient),
            "clipped gradient": self._back(clipped),
            "optimizer state": self._named(state[0]),
            "update": {p: x for p, x in flatten(update).items() if p in filled},
            "parameters": {p: x for p, x in flatten(params).items() if p in filled},
            "buffers": {p: x for p, x in flatten(rest).items() if p in names},
        }

    def _descend(self, params: Any, state: Any, gradient: Any) -> Any:
        """Clip a gradient, and let the optimizer use it."""
        clipped, clip_state = self.clip.update(gradient, state[1], params)
        return clipped, *self._use(params, (state[0], clip_state), clipped)

    def _use(self, params: Any, state: Any, gradient: Any) -> Any:
        """Let the optimizer use a gradient."""
        update, new_state = self.optimizer.update(gradient, state[0], params)
        return (new_state, state[1]), update, optax.apply_updates(params, update)

    def _carried(self, tensors: dict[str, np.ndarray], own: Any) -> Any:
        """Return torch's gradient as a tree like JAX's; where two of torch's tensors are one sum, either is its own.

        A leaf of which torch holds every tensor frozen keeps JAX's own: that it is trained is to be seen.
        """
        sums = {e.jax: len(e.torch) for e in self.bound.mapping.entries}
        frozen = {e.jax for e in self.bound.mapping.entries if not any(k in tensors for k in e.torch)}
        tensors = {n: np.zeros(shape) for n, shape in self.bound.torch.outline.items()} | tensors
        made = self.bound.mapping.fill(tensors, [p for p in self.bound.jax_paths if p not in frozen])
        back = self._back(self.bound.push(tensors, own))
        double = {
            e.jax for e in self.bound.mapping.entries if sums[e.jax] > 1 and self._doubled(e.torch, tensors, back)
        }
        mine = flatten(own)
        leaves = {p: np.asarray(made[p]) / (sums[p] if p in double else 1) if p in made else x for p, x in mine.items()}
        return unflatten(own, {p: np.asarray(x, mine[p].dtype) for p, x in leaves.items()})

    @staticmethod
    def _doubled(keys: Any, tensors: dict[str, np.ndarray], back: dict[str, np.ndarray]) -> bool:
        """Say whether tensors that went to one leaf come back as multiples of what they were."""
        return all(k in back and relative(back[k], len(keys) * tensors[k]) <= RECOGNISED for k in keys if k in tensors)

    def _back(self, tree: Any) -> dict[str, np.ndarray]:
        """Return gradients by torch name."""
        return {n: np.asarray(g) for n, g in self.quantities.back(tree).items()}

    def _named(self, state: Any) -> dict[str, np.ndarray]:
        """Return every part of an optax state that mirrors the parameters, under its field's name."""
        found: dict[str, np.ndarray] = {}
        structure = str(jax.tree.structure(self.params))

        def walk(node: Any) -> None:
            if hasattr(node, "_fields"):
                for name in node._fields:
                    part = getattr(node, name)
                    if name in STATE_NAMES.values() and str(jax.tree.structure(part)) == structure:
                        found.update({f"{name} of {n}": x for n, x in self._back(part).items()})
                    else:
                        walk(part)
            elif isinstance(node, tuple | list):
                for part in node:
                    walk(part)

        walk(state)
        return found


def first_stage(leaves: list[Leaf], tolerance: float) -> str:
    """Return the first stage that differs, ``step 1: clipped gradient``, or nothing."""
    wrong = [leaf.torch for leaf in differing(leaves, tolerance)]
    return ": ".join(wrong[0].split(": ")[:2]) if wrong else ""


def differing(leaves: list[Leaf], tolerance: float) -> list[Leaf]:
    """Return the leaves that differ, in their order, but running variances alone last.

    torch keeps the unbiased variance and Flax the biased one, and no setting of a port changes that: it must not stand
    before what can be mended.
    """
    wrong = [leaf for leaf in leaves if not leaf.error <= tolerance]
    return sorted(wrong, key=lambda leaf: _is_variance_alone(leaf, wrong))


def _is_variance_alone(leaf: Leaf, wrong: list[Leaf]) -> bool:
    """Say whether a leaf is a running variance whose mean agrees, which another momentum would change too."""
    means = {other.torch for other in wrong if other.torch.endswith("/mean")}
    name = leaf.torch.removesuffix("/var")
    return stage_of(leaf.torch) == "buffers" and name != leaf.torch and f"{name}/mean" not in means


def stage_of(name: str) -> str:
    """Return the stage in the name of a leaf."""
    return name.split(": ")[1] if ": " in name else name


def relative_to_tree(got: Any, want: Any, tree: dict[str, Any]) -> float:
    """Return the error of one leaf of a stage, relative to the leaf or a thousandth of the whole stage."""
    return relative(np.asarray(got), np.asarray(want), floor_of(tree.values()))
