"""Proof of the entries of a mapping that shapes alone do not prove: by value, or by the gradients of both models."""

import dataclasses
from typing import Any

import jax
import jax.extend.core
import numpy as np

from jaxgrad.verify.judge import floor_of, relative
from jaxgrad.verify.judge._arrays import to_array
from jaxgrad.verify.judge._axes import layout_of
from jaxgrad.verify.judge._tolerances import DEFINITION_F64, OWN_WEIGHT, RECOGNISED
from jaxgrad.verify.port.frameworks._compile import run_once
from jaxgrad.verify.port.frameworks._outputs import named, renamed
from jaxgrad.verify.port.frameworks._perturb import is_statistic
from jaxgrad.verify.port.mapping._compare_weights import compare_weights
from jaxgrad.verify.port.quantities._jax import JaxQuantities
from jaxgrad.verify.port.quantities._torch import TorchQuantities

__all__ = ["agrees", "first_examples", "proofs", "trace"]


def first_examples(bound: Any) -> Any:
    """Return the pair with two examples of its batch, which prove as much as all."""
    lengths = {len(a) if a.ndim else 0 for a in bound.batch}
    # an edge list or a mask for all examples has no axis of examples, and neither have the nodes that it goes with
    if bound.options.mode == "eval" and len(lengths) == 1 and min(lengths) > 2:
        few = tuple(a[:2] for a in bound.batch)
        try:
            bound.torch.value(few)
        except Exception:
            return bound
        return dataclasses.replace(bound, batch=few)
    return bound


def trace(bound: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the jaxpr of the JAX model's outputs in float64, and its arguments."""
    params, rest = bound.weights("float64")
    inputs, _ = bound.torch.parts.split(bound.adapt(*bound.data("float64")))

    def forward(params: Any, rest: Any, *inputs: Any) -> dict[str, Any]:
        return named(bound.jax.apply(params, rest, *inputs)[0])

    return jax.make_jaxpr(forward, return_shape=True)(params, rest, *inputs), (params, rest, *inputs)


def proofs(bound: Any, traced: Any) -> dict[str, str]:
    """Say of every JAX leaf how its entry is proven, or that it is not.

    With weights of its own the port is compared by value. Otherwise torch's generic weights are: equal outputs prove
    every entry that the loss depends on. Where the outputs differ, the gradients tell which entries are right.
    """
    if bound.options.weights == "own":
        return {
            row["jax"]: "proven by value" if row["error"] < OWN_WEIGHT else f"wrong by value: {row['note']}"
            for row in compare_weights(bound)
        }
    theirs = TorchQuantities(bound, "float64").basic()
    want = {n: g.numpy() for n, g in theirs["gradient"].items()}
    by_output = _same_output(theirs["value"], traced, bound.wide)
    got = want if by_output else JaxQuantities(bound, "float64").basic()["gradient"]
    floor = floor_of(want.values())
    read = _read(bound, want) if by_output else set()
    found = {}
    for entry in bound.mapping.entries:
        keys = [k for k in entry.torch if k in want]
        if read & set(entry.torch):
            found[entry.jax] = "proven by value"
        elif not keys and set(entry.torch) & set(bound.torch.buffers):
            found[entry.jax] = "not proven: " + ("the loss does not read it" if by_output else "the outputs differ")
        elif not any(want[k].any() for k in keys):
            found[entry.jax] = "not proven: it has no gradient"
        elif max(relative(np.asarray(got[k]), want[k], floor) for k in keys) < RECOGNISED:
            found[entry.jax] = "proven by gradient"
        else:
            found[entry.jax] = "not proven: the gradients differ, here or further on"
    return found


def _read(bound: Any, gradient: dict[str, Any]) -> set[str]:
    """Return the tensors that are not trained on which torch's loss depends.

    A norm that is not in training takes its statistics where it takes its weight and bias, and torch differentiates no
    loss by them: a gradient of the layer's other tensors shows that they are read.

    Args:
        bound: The pair.
        gradient: The gradient of the loss by name.
    """
    import torch

    params, buffers = bound.torch.tensors("float64")
    still = {**buffers, **{name: params[name] for name in bound.torch.frozen}}
    live = {
        name: x.requires_grad_()
        for name, x in still.items()
        if (x.is_floating_point() or x.is_complex()) and not is_statistic(name)
    }
    read = {name for name, slope in gradient.items() if slope.any()}
    if live:
        loss = bound.torch.loss("float64", buffers)(params, *bound.torch.batch(bound.batch, "float64"))
        slopes = torch.autograd.grad(loss, list(live.values()), allow_unused=True) if loss.requires_grad else ()
        read |= {name for name, slope in zip(live, slopes, strict=False) if slope is not None and slope.any()}
    layers = {name.rpartition(".")[0] for name in read}
    statistics = {n for n in buffers if is_statistic(n) and n.rpartition(".")[0] in layers}
    return read | (statistics if bound.options.mode == "eval" else set())


def agrees(bound: Any, traced: Any) -> bool:
    """Say whether both models return the same in float64."""
    return _same_output(TorchQuantities(bound, "float64").basic()["value"], traced, bound.wide)


def _same_output(theirs: dict[str, Any], traced: Any, wide: Any) -> bool:
    """Say whether both models return the same, by running the jaxpr that was traced."""
    (program, shapes), arguments = traced
    made = run_once(wide(jax.extend.core.jaxpr_as_fun(program)), *jax.tree.leaves(arguments))
    expected = {name: to_array(x) for name, x in theirs.items() if name != "loss"}
    ours = renamed(dict(zip(sorted(shapes), made, strict=True)), expected)
    if ours.keys() != expected.keys():
        return False
    for name, array in ours.items():
        want, got = expected[name], np.asarray(array)
        axes = layout_of(want, got)
        if axes is None or not relative(got, want.transpose(axes)) <= DEFINITION_F64:
            return False
    return True
