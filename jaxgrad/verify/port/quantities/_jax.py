"""The quantities of a check in JAX, each one compiled program; trees like the parameters are carried back to torch."""

import contextlib
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import curvature, nth
from jaxgrad.curvature._engine._second import forward
from jaxgrad.verify.port.frameworks._compile import quick, run_once
from jaxgrad.verify.port.frameworks._jax_model import cast
from jaxgrad.verify.port.frameworks._outputs import main_array, named, replace_main
from jaxgrad.verify.port.frameworks._recorded import Seen, apply_recorded
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.quantities._directions import direction
from jaxgrad.verify.port.quantities._torch import EXAMPLES, RATE, STEPS, examples

__all__ = ["JaxQuantities"]

Named = dict[str, Any]


class Gradient(NamedTuple):
    """What the program of the gradient returns."""

    value: Any
    output: Any
    rest: Any
    """The collections as the call leaves them."""
    seen: Seen
    """What the layers returned and were given, where they are recorded."""
    params: Any
    """The gradient with respect to the parameters."""
    inputs: Any
    """And to the inputs, by their place in the batch."""
    layers: Any
    """And to what the recorded layers return."""


class JaxQuantities:
    """Every quantity of a pair at one precision; results are arrays by torch name.

    The model is traced once for all of them (an inner ``jit`` keeps its trace and its derivatives' traces), and the
    program of the gradient serves at every point where one is needed. What else is asked for at the given weights,
    a Hessian product or a record of the layers, comes out of that same program: compiling takes most of a check.
    """

    def __init__(self, bound: ModelPair, dtype: str, *, product: bool = False, record: bool = False) -> None:
        """Prepare the quantities; nothing is computed yet.

        Args:
            bound: The pair.
            dtype: The precision.
            product: Whether the program of the gradient at the given weights gives the Hessian product too.
            record: Whether every program of the whole batch's gradient gives what the layers do too.
        """
        self.bound, self.dtype = bound, dtype
        self.kept: dict[str, Any] = {}
        self.names: list[str] = []
        self.params, self.rest = bound.weights(dtype)
        self.batch = bound.data(dtype)
        self.output = bound.wide(jax.jit(self._output), dtype)  # noqa: TID251 - goes with this object
        self.loss_of = bound.wide(bound.jax_loss, dtype)
        self.loss = jax.jit(self._loss)  # noqa: TID251 - goes with this object
        self.program = quick(self._gradient)
        self.forward_product, self.reverse_product = (
            quick(functools.partial(self._product, mode)) for mode in ("forward-over-reverse", "reverse-over-reverse")
        )
        self.back = quick(bound.pull_back)
        self.back_rows = quick(jax.vmap(bound.pull_back))
        calls = bound.islands.calls if record and bound.islands is not None else ()
        self.zeros = {slot: np.zeros(shape, dtype) for slot, shape in calls if shape is not None}
        self.with_product = product

    def get(self, name: str) -> Any:
        """Return a quantity, the user's own where there is one; each is computed once."""
        if name not in self.kept:
            self.kept[name] = self.own(name) or getattr(self, name)()
        return self.kept[name]

    def direction(self, seed: int = 0) -> Any:
        """The pair's seeded direction, as a tree like the parameters; drawn once."""
        name = f"direction {seed}"
        if name not in self.kept:
            self.kept[name] = cast(self.bound.push(direction(self.bound, seed), self.params), self.dtype)
        return self.kept[name]

    def _output(self, params: Any, rest: Any, zeros: Any, *batch: Any) -> tuple[Any, tuple[Any, ...], Any, Seen]:
        """The model's output, the loss's targets, the collections as the call leaves them, and what layers did."""
        inputs, targets = self.bound.torch.parts.split(self.bound.adapt(*batch))
        output, changed, seen = apply_recorded(self.bound.jax, params, rest, zeros, *inputs)
        # a dict loses its order on the way out of a program
        self.names = list(named(output))
        return output, targets, changed, seen

    def plain_output(self, params: Any, *batch: Any) -> tuple[Any, tuple[Any, ...]]:
        """The model's output and the loss's targets as a function of the parameters."""
        return self.output(params, self.rest, {}, *batch)[:2]

    def _loss(self, params: Any, *batch: Any) -> Any:
        """The loss as a function of the parameters."""
        output, targets = self.plain_output(params, *batch)
        return self.loss_of(output, *targets)

    def _gradient(self, zeros: Any, params: Any, rest: Any, *batch: Any) -> Gradient:
        """The loss and what else the model makes, with the gradients of parameters, inputs and recorded layers."""
        inputs, _ = self.bound.torch.parts.split(batch)
        floating = {i: x for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating)}

        def loss(params: Any, floating: Any, zeros: Any) -> Any:
            batch_of = (floating.get(i, x) for i, x in enumerate(batch))
            output, targets, changed, seen = self.output(params, rest, zeros, *batch_of)
            return self.loss_of(output, *targets), (output, changed, seen)

        (value, others), grads = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, floating, zeros)
        return Gradient(value, *others, *grads)

    def _both(self, zeros: Any, vector: Any, params: Any, rest: Any, *batch: Any) -> tuple[Gradient, Any]:
        """The gradient and the library's Hessian product, out of one pass."""

        def gradient(params: Any) -> tuple[Any, Gradient]:
            found = self._gradient(zeros, params, rest, *batch)
            return found.params, found._replace(params=None)

        slope, product, others = jax.jvp(forward(gradient, params), (params,), (vector,), has_aux=True)
        return others._replace(params=slope), product

    @property
    def first(self) -> Gradient:
        """The gradient at the given weights, with all that is wanted of its program; computed once."""
        if "first" not in self.kept:
            self.kept["first"] = self._first()
        return self.kept["first"]

    def _first(self) -> Gradient:
        """Compute the gradient at the given weights, and as much of the rest as there is."""
        given = self.params, self.rest, *self.batch
        if self.with_product:
            with contextlib.suppress(Exception):  # no forward rule, or layers that cannot be watched
                found, self.kept["product"] = run_once(self._both, self.zeros, self.direction(), *given)
                return found
        if self.zeros:
            with contextlib.suppress(Exception):
                return self.program(self.zeros, *given)
        self.zeros = {}
        return self.program(self.zeros, *given)

    def at(self, params: Any, rest: Any) -> Gradient:
        """The gradient of the whole batch's loss at any parameters."""
        first = self.first
        same = params is self.params and rest is self.rest
        return first if same else self.program(self.zeros, params, rest, *self.batch)

    def gradient_at(self, params: Any) -> Any:
        """The gradient of the loss at any parameters."""
        return self.at(params, self.rest).params

    @property
    def recorded(self) -> Gradient | None:
        """What the layers did at the given weights, where they could be recorded."""
        return self.first if self.zeros and self.first.seen[0] else None

    def _product(self, mode: Any, params: Any, vector: Any, *batch: Any) -> Any:
        """The library's Hessian product."""
        return curvature.hvp(self.loss, params, vector, *batch, mode=mode)

    def basic(self) -> dict[str, Named]:
        """Output, loss, and the gradients of parameters and inputs."""
        made = self.first
        found = named(made.output)
        return {
            "value": {"loss": made.value, **{name: found[name] for name in self.names}},
            "gradient": self.back(made.params),
            "input_gradient": {f"input[{i}]": g for i, g in made.inputs.items()},
        }

    def hvp(self) -> Named:
        """The library's product, forward over reverse."""
        if self.with_product:
            _ = self.first
        known = self.kept.get("product")
        return self.back(self.product(self.params, self.direction()) if known is None else known)

    def product(self, params: Any, vector: Any) -> Any:
        """``H v`` at any point, by one program; reverse over reverse where the model has no forward rule."""
        try:
            return self.forward_product(params, vector, *self.batch)
        except TypeError:
            return self.reverse_product(params, vector, *self.batch)

    def ggn(self) -> Named:
        """``J^T H J v`` with one linearisation; ``J v`` transposes its transpose, which asks for no forward rule."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            output, targets = self.plain_output(params, *batch)

            def main_output(params: Any) -> Any:
                return main_array(self.plain_output(params, *batch)[0])

            point, pull = jax.vjp(main_output, params)
            tangent = jax.vjp(lambda u: pull(u)[0], jnp.zeros_like(point))[1](vector)[0]
            slope = jax.grad(lambda z: self.loss_of(replace_main(output, z), *targets))
            return pull(jax.jvp(slope, (point,), (tangent,))[1])[0]

        return self.back(run_once(program, self.params, self.direction(), *self.batch))

    def nth(self) -> Named:
        """The derivatives 1, 2 and 3 of the loss along a line in the parameters, by the library's Taylor series."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            return nth.taylor_coefficients(self.loss, params, vector, 3, *batch)

        series = run_once(program, self.params, self.direction(), *self.batch)
        return {f"order {order}": math.factorial(order) * series[order] for order in (1, 2, 3)}

    def per_example(self) -> Named:
        """A gradient for every example, one at a time by one program."""
        whole = examples(self.batch)
        ones = [
            [np.asarray(x)[i : i + 1] if x.ndim and len(x) == whole else x for x in self.batch]
            for i in range(min(whole, EXAMPLES))
        ]
        rows = [self.program({}, self.params, self.rest, *one).params for one in ones]
        return self.back_rows(on_host(lambda *leaves: np.stack(leaves), *rows))

    def per_example_norms(self) -> Named:
        """The norm of every example's gradient, in torch's parameters."""
        rows = [np.asarray(r, np.float64).reshape(len(r), -1) for r in self.get("per_example").values()]
        return {"norms": np.sqrt(sum(np.einsum("bk,bk->b", r, r) for r in rows)).astype(self.dtype)}

    def meta(self) -> Named:
        """Two gradient steps, differentiated through: the pull-back of ``p - r m g(p)`` is ``c - r H m c``."""
        points, cotangent = self.adapted
        for params in reversed(points):
            curved = self.product(params, on_host(np.multiply, self.live(), cotangent))
            cotangent = on_host(self._step, cotangent, curved)
        return self.back(cotangent)

    def meta_second_order(self) -> Named:
        """The meta-gradient less its first-order approximation."""
        first, whole = self.back(self.adapted[1]), self.get("meta")
        return {n: np.asarray(whole[n]) - np.asarray(first[n]) for n in first}

    @functools.cached_property
    def adapted(self) -> tuple[list[Any], Any]:
        """The points of the inner loop, and the gradient where it ends: the first-order meta-gradient."""
        points, params = [], self.params
        for _ in range(STEPS):
            points.append(params)
            slope = on_host(np.multiply, self.live(), self.gradient_at(params))
            params = on_host(self._step, params, slope)
        return points, self.gradient_at(params)

    def _step(self, x: Any, slope: Any) -> Any:
        """One leaf of a step of gradient descent, or of its pull-back."""
        return x - x.dtype.type(RATE) * slope

    def live(self) -> Any:
        """Say of every leaf, as 1.0 or 0.0, whether torch trains anything that flows into it; the others stay."""
        frozen = self.bound.torch.frozen
        moving = {e.jax for e in self.bound.mapping.entries if any(k not in frozen for k in e.torch)}
        paths = self.bound.jax_paths
        structure = jax.tree.structure(self.params)
        return jax.tree.unflatten(structure, [np.asarray(p in moving, self.dtype) for p in paths])

    def shift(self) -> Named:
        """The gradient at a shifted point."""
        moved = on_host(lambda p, v: p + p.dtype.type(0.1) * v, self.params, self.direction(1))
        return self.back(self.gradient_at(moved))

    def multi_loss(self) -> Named:
        """Gradients of three losses from one forward."""

        def program(params: Any, *batch: Any) -> Any:
            def losses(params: Any) -> Any:
                output, targets = self.plain_output(params, *batch)
                loss = self.loss_of(output, *targets)
                return jnp.stack([loss, jnp.mean(main_array(output) ** 2), loss**2])

            values, pull = jax.vjp(losses, params)
            return jax.vmap(lambda row: pull(row)[0])(jnp.eye(3, dtype=values.dtype))

        return self.back_rows(run_once(program, self.params, *self.batch))

    def own(self, name: str) -> Named | None:
        """Call the user's own function for a quantity, where there is one; its tree is like the parameters."""
        functions = self.bound.options.own.get(name)
        if functions is None:
            return None
        tree = functions[1](self.loss, self.params, *self.batch)
        same = str(jax.tree.structure(tree)) == str(jax.tree.structure(self.params))
        if not same:
            return {"": tree} if not isinstance(tree, dict) else tree
        first = (jax.tree.leaves(tree)[0], jax.tree.leaves(self.params)[0])
        return self.back(tree) if first[0].ndim == first[1].ndim else self.back_rows(tree)


def on_host(fun: Any, *trees: Any) -> Any:
    """Map leaves in NumPy: an eager operation of JAX would compile a program for every shape."""
    return jax.tree.map(lambda *leaves: fun(*map(np.asarray, leaves)), *trees)
