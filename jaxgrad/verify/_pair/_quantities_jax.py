"""The quantities of a check in JAX, each one compiled program; trees like the parameters are carried back to torch."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgrad import curvature
from jaxgrad.verify._pair._directions import direction
from jaxgrad.verify._pair._jax_side import cast
from jaxgrad.verify._pair._program import run_once
from jaxgrad.verify._pair._quantities_torch import EXAMPLES, RATE
from jaxgrad.verify._pair._torch_side import split
from jaxgrad.verify._pair._watch_jax import main_array

__all__ = ["JaxQuantities"]

Named = dict[str, Any]


class JaxQuantities:
    """Every quantity of a pair at one precision; results are arrays by torch name."""

    def __init__(self, bound: Any, dtype: str) -> None:
        self.bound, self.dtype = bound, dtype
        self.kept: dict[str, Any] = {}
        self.params, self.rest = bound.weights(dtype)
        self.batch = bound.data(dtype)
        self.loss = bound.jax_loss_of(self.rest)

    def get(self, name: str) -> Any:
        """Return a quantity, the user's own where there is one; each is computed once."""
        if name not in self.kept:
            self.kept[name] = self.own(name) or getattr(self, name)()
        return self.kept[name]

    def direction(self, seed: int = 0) -> Any:
        """The pair's seeded direction, as a tree like the parameters."""
        return cast(self.bound.push(direction(self.bound, seed), self.params), self.dtype)

    def back(self, tree: Any) -> Named:
        """Carry a tree like the parameters to torch's names."""
        return self.bound.pull_back(tree)

    def back_rows(self, tree: Any) -> Named:
        """Carry rows of such trees."""
        return jax.vmap(self.back)(tree)

    def output(self, params: Any, *batch: Any) -> tuple[Any, tuple[Any, ...]]:
        """The model's output and the loss's targets."""
        inputs, targets = split(self.bound.adapt(*batch))
        return self.bound.jax.apply(params, self.rest, *inputs)[0], targets

    def basic(self) -> dict[str, Named]:
        """Output, loss, and the gradients of parameters and inputs."""
        inputs, targets = split(self.batch)
        floating = {i: x for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating)}

        def program(params: Any, floating: Any, *batch: Any) -> Any:
            def loss(params: Any, floating: Any) -> Any:
                given = tuple(floating.get(i, x) for i, x in enumerate(batch))
                output, targets = self.output(params, *given)
                return self.bound.jax_loss(output, *targets), output

            (value, output), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, floating)
            return value, output, self.back(grads[0]), grads[1]

        value, output, gradient, ours = run_once(program, self.params, floating, *self.batch)
        del targets
        return {
            "value": {"loss": value, **outputs(output)},
            "gradient": gradient,
            "input_gradient": {f"input[{i}]": g for i, g in ours.items()},
        }

    def hvp(self) -> Named:
        """The library's product, forward over reverse."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            return self.back(curvature.hvp(self.loss, params, vector, *batch))

        return run_once(program, self.params, self.direction(), *self.batch)

    def ggn(self) -> Named:
        """``J^T H J v`` with one linearisation."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            def output(params: Any) -> Any:
                return main_array(self.output(params, *batch)[0])

            targets = self.output(params, *batch)[1]
            point, tangent = jax.jvp(output, (params,), (vector,))
            slope = jax.grad(lambda z: self.bound.jax_loss(z, *targets))
            curved = jax.jvp(slope, (point,), (tangent,))[1]
            return self.back(jax.vjp(output, params)[1](curved)[0])

        return run_once(program, self.params, self.direction(), *self.batch)

    def nth(self) -> Named:
        """The derivatives 1, 2 and 3 of the loss along a line in the parameters, by nested forward mode."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            def line(t: Any) -> Any:
                return self.loss(jax.tree.map(lambda p, v: p + t * v, params, vector), *batch)

            rows, fun = {}, line
            for order in (1, 2, 3):
                fun = _slope(fun)
                rows[f"order {order}"] = fun(jnp.zeros((), self.dtype))
            return rows

        return run_once(program, self.params, self.direction(), *self.batch)

    def per_example(self) -> Named:
        """A gradient for every example, all at once."""

        def program(params: Any, *batch: Any) -> Any:
            def one(*example: Any) -> Any:
                return jax.grad(self.loss)(params, *(x[None] for x in example))

            return self.back_rows(jax.vmap(one)(*(x[:EXAMPLES] for x in batch)))

        return run_once(program, self.params, *self.batch)

    def per_example_norms(self) -> Named:
        """The norm of every example's gradient, in torch's parameters."""
        rows = self.get("per_example").values()
        return {"norms": jnp.sqrt(sum(jnp.sum(r.reshape(len(r), -1) ** 2, axis=1) for r in rows))}

    def meta(self) -> Named:
        """Two gradient steps, differentiated through."""

        def program(params: Any, *batch: Any) -> Any:
            def outer(params: Any) -> Any:
                for _ in range(2):
                    params = self._step(params, batch)
                return self.loss(params, *batch)

            return self.back(jax.grad(outer)(params))

        return run_once(program, self.params, *self.batch)

    def meta_second_order(self) -> Named:
        """The meta-gradient less its first-order approximation."""

        def program(params: Any, *batch: Any) -> Any:
            for _ in range(2):
                params = self._step(params, batch)
            return self.back(jax.grad(self.loss)(params, *batch))

        first = run_once(program, self.params, *self.batch)
        whole = self.get("meta")
        return {n: whole[n] - first[n] for n in first}

    def _step(self, params: Any, batch: Any) -> Any:
        """One step of gradient descent; leaves that torch holds frozen stay."""
        gradient = jax.grad(self.loss)(params, *batch)
        return jax.tree.map(lambda p, g, m: p - RATE * m * g, params, gradient, self.live())

    def live(self) -> Any:
        """Say of every leaf, as 1.0 or 0.0, whether anything that torch trains flows into it."""
        frozen = self.bound.torch.frozen
        moving = {e.jax for e in self.bound.mapping.entries if any(k not in frozen for k in e.torch)}
        paths = self.bound.jax_paths
        structure = jax.tree.structure(self.params)
        return jax.tree.unflatten(structure, [jnp.asarray(float(p in moving), self.dtype) for p in paths])

    def shift(self) -> Named:
        """The gradient at a shifted point."""

        def program(params: Any, vector: Any, *batch: Any) -> Any:
            moved = jax.tree.map(lambda p, v: p + jnp.asarray(0.1, p.dtype) * v, params, vector)
            return self.back(jax.grad(self.loss)(moved, *batch))

        return run_once(program, self.params, self.direction(1), *self.batch)

    def multi_loss(self) -> Named:
        """Gradients of three losses from one forward."""

        def program(params: Any, *batch: Any) -> Any:
            def losses(params: Any) -> Any:
                output, targets = self.output(params, *batch)
                loss = self.bound.jax_loss(output, *targets)
                return jnp.stack([loss, jnp.mean(main_array(output) ** 2), loss**2])

            values, pull = jax.vjp(losses, params)
            return self.back_rows(jax.vmap(lambda row: pull(row)[0])(jnp.eye(3, dtype=values.dtype)))

        return run_once(program, self.params, *self.batch)

    def own(self, name: str) -> Named | None:
        """Call the user's own function for a quantity, where there is one; its tree is like the parameters."""
        functions = self.bound.options["own"].get(name)
        if functions is None:
            return None
        tree = functions[1](self.loss, self.params, *self.batch)
        same = str(jax.tree.structure(tree)) == str(jax.tree.structure(self.params))
        if not same:
            return {"": tree} if not isinstance(tree, dict) else tree
        first = (jax.tree.leaves(tree)[0], jax.tree.leaves(self.params)[0])
        return self.back(tree) if first[0].ndim == first[1].ndim else self.back_rows(tree)


def _slope(fun: Any) -> Any:
    """Return the derivative of a function of one number."""
    return lambda t: jax.jvp(fun, (t,), (jnp.ones_like(t),))[1]


def outputs(output: Any) -> Named:
    """Return the floating-point arrays of an output, numbered where there are several."""
    leaves = [x for x in jax.tree.leaves(output) if jnp.issubdtype(x.dtype, jnp.floating)]
    return {"output" if len(leaves) == 1 else f"output[{i}]": leaf for i, leaf in enumerate(leaves)}
