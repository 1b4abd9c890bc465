r"""What every layer of the JAX model takes, returns and is told by the backward pass, without an edit of the model.

Two passes. The natural pass adds a zero perturbation to every output: the gradient with respect to it is the
cotangent of that output. The forced pass feeds every layer the reference's input and hands the reference's output on,
so that the error of a layer, or of the code between two layers, is its own and not inherited. There

.. math:: S = \sum_c \langle g_c, y_c \rangle + \sum_c \langle h_c, a_c \rangle + L

with the own output ``y``, the arriving input ``a`` and the reference's cotangents ``g`` of outputs and ``h`` of
inputs. Every call starts from constants, so one gradient of ``S`` gives every layer's own pull-back.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad.verify.judge import relative
from jaxgrad.verify.judge._tolerances import NOT_ZERO
from jaxgrad.verify.port.frameworks._compile import quick, run_once
from jaxgrad.verify.port.frameworks._outputs import is_floating, main_array, replace_main
from jaxgrad.verify.port.frameworks._recorded import CallCounter, CallOutline, Seen, apply_recorded, noting
from jaxgrad.verify.report._records import Slot

__all__ = ["Forced", "Natural", "Reference", "alone", "force", "natural", "outline", "run"]


@dataclasses.dataclass
class Natural:
    """The natural pass."""

    outputs: dict[Slot, np.ndarray]
    inputs: dict[Slot, list[np.ndarray | None]]
    cotangents: dict[Slot, np.ndarray]
    loss: float
    output: Any


@dataclasses.dataclass
class Reference:
    """What the reference saw in one call, in JAX's layout."""

    inputs: dict[int, np.ndarray]
    input_cotangents: dict[int, np.ndarray]
    output: np.ndarray
    cotangent: np.ndarray
    through: frozenset[int] = frozenset()
    """Inputs that JAX has in another form, such as a padded image: torch tells no cotangent of them, and what the layer
    sends back goes on to the code before it."""


@dataclasses.dataclass
class Forced:
    """The forced pass: everything here is a layer's own."""

    arrived: dict[Slot, dict[int, np.ndarray]]
    """Inputs as the code between the layers made them from the reference's outputs."""
    outputs: dict[Slot, np.ndarray]
    output_cotangents: dict[Slot, np.ndarray]
    """What the code behind a layer sends back to its output."""
    input_cotangents: dict[Slot, dict[int, np.ndarray]]
    """What a layer sends back to its input."""
    gradients: dict[str, Any]
    loss: float
    steps: dict[Slot, np.ndarray] = dataclasses.field(default_factory=dict)
    """Outputs of the cells of a recurrence, each given the reference's state of the step before."""


def outline(bound: Any, dtype: str) -> list[CallOutline]:
    """Return every call in order, with the shape of its output, from an abstract trace."""
    params, rest = bound.weights(dtype)
    inputs, _ = bound.torch.parts.split(bound.adapt(*bound.data(dtype)))
    found: list[CallOutline] = []
    jax.eval_shape(lambda p, r, *x: bound.jax.apply(p, r, *x, watch=noting(found))[0], params, rest, *inputs)
    return found


def run(bound: Any, calls: Sequence[CallOutline], dtype: str) -> Natural:
    """Run the natural pass, compiled once."""
    params, rest = bound.weights(dtype)
    zeros = {slot: np.zeros(shape, dtype) for slot, shape in calls if shape is not None}

    def passes(zeros: Any, params: Any, rest: Any, *batch: Any) -> Any:
        inputs, targets = bound.torch.parts.split(bound.adapt(*batch))
        output, _, seen = apply_recorded(bound.jax, params, rest, zeros, *inputs)
        return bound.jax_loss(output, *targets), (seen, output)

    # keys of a dictionary under jit must sort, and slots do: pairs of a string and a number
    program = jax.value_and_grad(bound.wide(passes, dtype), has_aux=True)
    (loss, (seen, output)), cotangents = run_once(program, zeros, params, rest, *bound.data(dtype))
    return natural(seen, cotangents, loss, output)


def natural(seen: Seen, cotangents: Any, loss: Any, output: Any) -> Natural:
    """Return the natural pass of what a program has seen."""
    (outputs, arrived), cotangents = jax.tree.map(np.asarray, (seen, cotangents))
    return Natural(outputs, arrived, cotangents, float(loss), output)


def _given(own: Any, dtype: str) -> Any:
    """Return the dtype in which a layer is given the reference's input: what is made of integers is exact."""
    return dtype if own == np.float32 else own


def force(
    bound: Any, plan: dict[Slot, Reference], dtype: str = "float64", states: dict[Slot, np.ndarray] | None = None
) -> Forced:
    """Run the forced pass over the calls of the plan, compiled once.

    Args:
        bound: The pair.
        plan: What the reference saw in every call.
        dtype: The precision.
        states: What the reference has after each step of a recurrence that is one layer there: every step starts from
            it, and the gradient goes through as it would.
    """
    # What is differentiated is loss + sum over calls of <g, y> + <h, x>: g is the reference's cotangent at a call's own
    # output y, and h the one at what arrived as its input x. The rest of the network takes the reference's y in place
    # of the call's own, so that no error passes from one call to another, forward or backward: the gradient of a weight
    # is the one its own layer makes of g, the gradient of an added zero is what the code behind the call sends back.
    states = states or {}
    params, rest = bound.weights(dtype)
    # x: inputs, h: cotangents of the inputs, y: output, g: cotangent of the output, all the reference's
    known = {
        slot: {
            "x": r.inputs,
            "h": r.input_cotangents,
            "y": r.output,
            "g": r.cotangent,
        }
        for slot, r in plan.items()
    }
    # added to what is fed in and to what is passed on, to read the gradient there
    deltas = {slot: {i: np.zeros_like(x) for i, x in r.inputs.items()} for slot, r in plan.items()}
    zeros = {slot: np.zeros_like(r.output) for slot, r in plan.items()}

    def passes(free: Any, known: Any, rest: Any, *batch: Any) -> Any:
        params, zeros, deltas = free
        counter, outputs, arrived = CallCounter(), {}, {}
        terms: list[Any] = []
        stepped: dict[Slot, Any] = {}

        def watch(path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            slot = counter.next(path)
            # a step of a recurrence: it starts from the reference's state, and its gradient goes on through time
            if slot in states:
                output = call(*args, **kwargs)
                stepped[slot] = main_array(output)
                return replace_main(output, _valued(stepped[slot], states[slot]))
            if slot not in known:
                return call(*args, **kwargs)
            # 1. what the code before the call hands to it is kept: its distance from x is the error of that code alone
            ref = known[slot]
            arrived[slot] = {i: args[i] for i in ref["x"] if _fits(args, i, ref["x"][i])}
            # 2. <h, x> sends the reference's cotangent back into that code, and into the calls before it no further
            terms.extend(jnp.vdot(ref["h"][i], a) for i, a in arrived[slot].items() if i in ref["h"])
            # 3. the call is fed the reference's x; an input that a port pads by hand keeps its gradient, since torch's
            # input has no such shape and so no cotangent there
            fed = [
                _valued(a, ref["x"][i])
                if i in arrived[slot] and i in plan[slot].through
                else (ref["x"][i] + deltas[slot][i]).astype(_given(a.dtype, dtype))
                if i in arrived[slot]
                else a
                for i, a in enumerate(args)
            ]
            output = call(*fed, **kwargs)
            array = main_array(output)
            if array is None or array.shape != ref["y"].shape:
                return output
            # 4. <g, y> gives the layer the reference's cotangent, and the code behind it the reference's y
            outputs[slot] = array
            terms.append(jnp.vdot(ref["g"], array))
            return replace_main(output, (ref["y"] + zeros[slot]).astype(array.dtype))

        inputs, targets = bound.torch.parts.split(bound.adapt(*batch))
        output, _ = bound.jax.apply(params, rest, *inputs, watch=watch)
        loss = bound.jax_loss(output, *targets)
        return sum(terms, loss), (arrived, outputs, loss, stepped)

    program = jax.grad(bound.wide(passes, dtype), has_aux=True)
    grads, (arrived, outputs, loss, stepped) = run_once(
        program, (params, zeros, deltas), known, rest, *bound.data(dtype)
    )
    gradients, back_out, back_in = grads
    arrived, outputs, back_out, back_in = jax.tree.map(np.asarray, (arrived, outputs, back_out, back_in))
    return Forced(arrived, outputs, back_out, back_in, gradients, float(loss), jax.tree.map(np.asarray, stepped))


def _valued(array: Any, value: Any) -> Any:
    """Return an array with another value, through which the gradient goes as it did."""
    return array + jax.lax.stop_gradient(value.astype(array.dtype) - array)


def alone(bound: Any, plan: dict[Slot, Reference], forced: Forced, places: list[tuple[Slot, str]]) -> list[float]:
    """Return what each of several errors does to the output, the others taken away, in parts of what all of them do.

    Args:
        bound: The pair.
        plan: What the reference saw.
        forced: The layers' own errors.
        places: Calls, each with ``"input"`` for the code before it or ``"output"`` for the layer itself.
    """
    params, rest = bound.weights("float64")
    mend: dict[Slot, dict[str, Any]] = {}
    for i, (slot, where) in enumerate(places):
        ref, arrived = plan[slot], forced.arrived.get(slot, {})
        missing: Any = {j: ref.inputs[j] - a for j, a in arrived.items()}
        mend.setdefault(slot, {})[where] = (np.eye(len(places))[i], missing if where == "input" else
                                            ref.output - forced.outputs[slot])  # fmt: skip

    def passes(on: Any, mend: Any, params: Any, rest: Any, *batch: Any) -> Any:
        counter = CallCounter()

        def watch(path: str, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            slot = counter.next(path)
            if slot not in mend:
                return call(*args, **kwargs)
            if "input" in mend[slot]:
                place, missing = mend[slot]["input"]
                args = tuple(a + (on @ place) * missing[j] if j in missing else a for j, a in enumerate(args))
            output = call(*args, **kwargs)
            if "output" not in mend[slot]:
                return output
            place, missing = mend[slot]["output"]
            return replace_main(output, main_array(output) + (on @ place) * missing)

        inputs, _ = bound.torch.parts.split(bound.adapt(*batch))
        return main_array(bound.jax.apply(params, rest, *inputs, watch=watch)[0])

    program = quick(bound.wide(passes))

    def output(on: np.ndarray) -> np.ndarray:
        return np.asarray(program(on, mend, params, rest, *bound.data("float64")))

    right, every = output(np.ones(len(places))), np.eye(len(places))
    whole = relative(output(np.zeros(len(places))), right)
    shares = [relative(output(1 - row), right) for row in every]
    return [share / max(whole, *shares, NOT_ZERO) for share in shares]


def _fits(args: tuple[Any, ...], index: int, wanted: Any) -> bool:
    """Say whether an argument is a floating-point array of the reference's shape."""
    return index < len(args) and is_floating(args[index]) and args[index].shape == wanted.shape
