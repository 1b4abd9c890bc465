"""The methods of ``bench.multi_task``: every rule and scalarizer of ``multi_loss``, as a gradient with a state."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgrad import multi_loss

__all__ = ["METHODS", "Method", "Problem", "shared_gram"]


class Problem(NamedTuple):
    """Several losses of one network."""

    losses: Callable[..., dict[str, Any]]
    params: Any
    draw: Callable[[Any], tuple[Any, ...]]
    """Returns the batch of a key."""
    kept: tuple[Any, ...]
    """The data that the losses are told of."""
    scores: Callable[[Any], dict[str, Any]]
    """What is judged, the smaller the better."""
    trunk: str | None
    """The part of the parameters that all losses share; ``None``: all of it."""


class Method(NamedTuple):
    """One way to train."""

    init: Callable[[int, Any], Any]
    """``init(num_losses, params) -> state``."""
    gradient: Callable[[Problem, Any, Any, Any], tuple[Any, Any]]
    """``gradient(problem, params, state, key) -> (gradient, state)``."""


def rows_of(problem: Problem, params: Any, data: Any) -> Any:
    """Return the gradient of every loss."""
    return multi_loss.gradients(problem.losses, params, *data)


def shared_gram(problem: Problem, params: Any, data: Any) -> Any:
    """Return the inner products of the gradients of the trunk."""
    return multi_loss.gram(problem.losses, params, *data, wrt=problem.trunk)


def aggregated(problem: Problem, params: Any, data: Any, **how: Any) -> Any:
    """Return what a rule makes of the gradients of the trunk, and each head's own."""
    return multi_loss.aggregated_gradient(problem.losses, params, *data, shared=problem.trunk, **how)


def keyed(key: Any, is_drawn: bool) -> dict[str, Any]:
    """Return the key as an option for a rule that draws."""
    return {"key": key} if is_drawn else {}


def stateless(*_: Any) -> tuple[()]:
    """Return the state of what has none."""
    return ()


def of_gram(rule: Callable[..., Any], is_drawn: bool = False) -> Method:
    """A rule of the Gram matrix."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        data = problem.draw(key)
        return aggregated(problem, params, data, weighting=rule, options=keyed(key, is_drawn)), state

    return Method(stateless, gradient)


def of_rows(rule: Callable[..., Any], is_drawn: bool = False) -> Method:
    """A rule of the rows themselves."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        data = problem.draw(key)
        return aggregated(problem, params, data, aggregator=rule, options=keyed(key, is_drawn)), state

    return Method(stateless, gradient)


def weighting(made: Any, is_drawn: bool = False) -> Method:
    """A weighting with a state."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        how = {"weighting": made, "state": state, "options": keyed(key, is_drawn), "full_output": True}
        found = aggregated(problem, params, problem.draw(key), **how)
        return found.gradient, found.state

    return Method(lambda count, _: made.init(count), gradient)


def of_two_batches(made: Any) -> Method:
    """A weighting that reads the products of two batches; both are stepped along."""

    def products(problem: Problem, first: Any, second: Any) -> Any:
        pair = (first, second) if problem.trunk is None else (first[problem.trunk], second[problem.trunk])
        return jax.vmap(lambda row: jax.vmap(lambda other: optax.tree.vdot(row, other))(pair[1]))(pair[0])

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        first, second = (rows_of(problem, params, problem.draw(key)) for key in jax.random.split(key))
        weights, state = made.update(products(problem, first, second), state)
        return weighed(problem, jax.tree.map(lambda a, b: (a + b) / 2, first, second), weights), state

    return Method(lambda count, _: made.init(count), gradient)


def weighed(problem: Problem, rows: Any, weights: Any) -> Any:
    """Return the gradient that weights make of the trunk, with each head's own."""
    found = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), rows)
    if problem.trunk is None:
        return found
    return {**jax.tree.map(lambda leaf: jnp.sum(leaf, 0), rows), problem.trunk: found[problem.trunk]}


def excess(made: Any) -> Method:
    """The weighting that reads the rows."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        rows = rows_of(problem, params, problem.draw(key))
        weights, state = made.update(rows, state)
        return weighed(problem, rows, weights), state

    return Method(made.init, gradient)


def scalarizer(join: Callable[..., Any]) -> Method:
    """A function of the losses."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        data = problem.draw(key)
        return jax.grad(lambda params: join(problem.losses(params, *data)))(params), state

    return Method(stateless, gradient)


def stateful(made: Any, more: Callable[..., dict[str, Any]] = lambda *_: {}) -> Method:
    """A scalarizer with a state, beside the key of the last step."""

    def gradient(problem: Problem, params: Any, state: Any, key: Any) -> Any:
        inner, before = state
        data = problem.draw(key)
        extra = more(problem, params, before, data)
        found, inner = jax.grad(
            lambda params: made.update(problem.losses(params, *data), inner, **extra), has_aux=True
        )(params)
        return found, (inner, key)

    return Method(lambda count, _: (made.init(count), jax.random.key(0)), gradient)


def losses_after(problem: Problem, params: Any, before: Any, _: Any) -> dict[str, Any]:
    """The losses of the last step's batch where that step has led."""
    return {"after": problem.losses(params, *problem.draw(before))}


def norms(problem: Problem, params: Any, _: Any, data: Any) -> dict[str, Any]:
    """The norms of the gradients of the trunk."""
    return {"norms": jnp.sqrt(jnp.diagonal(shared_gram(problem, params, data)))}


def equal(losses: Any) -> Any:
    """The plain sum."""
    return sum(losses.values())


def trimmed(rows: Any) -> Any:
    """Each coordinate's median, or mean of two."""
    return multi_loss.trimmed_mean(rows, trim=(len(jax.tree.leaves(rows)[0]) - 1) // 2)


PART = functools.partial
LEARN = optax.adam(0.025)

METHODS = {
    "sum": scalarizer(equal),
    "stch": scalarizer(PART(multi_loss.stch, mu=0.1)),
    "cosmos": scalarizer(lambda losses: multi_loss.cosmos(losses, weights=jnp.ones(len(losses)), penalty=0.1)),
    "pbi": scalarizer(lambda losses: multi_loss.pbi(losses, weights=jnp.ones(len(losses)), penalty=1.0)),
    "geometric_mean": scalarizer(multi_loss.geometric_mean),
    "uncertainty": stateful(multi_loss.uncertainty(optimizer=LEARN)),
    "imtl_l": stateful(multi_loss.imtl_l(optimizer=LEARN)),
    "dwa": stateful(multi_loss.dwa(steps_per_epoch=10)),
    "famo": stateful(multi_loss.famo(), losses_after),
    "gradnorm": stateful(multi_loss.gradnorm(optimizer=LEARN), norms),
    "mean_weights": of_gram(multi_loss.mean_weights),
    "random_weights": of_gram(multi_loss.random_weights, is_drawn=True),
    "mgda": of_gram(multi_loss.mgda),
    "upgrad": of_gram(multi_loss.upgrad),
    "dual_projection": of_gram(multi_loss.dual_projection),
    "pcgrad": of_gram(multi_loss.pcgrad, is_drawn=True),
    "cagrad": of_gram(PART(multi_loss.cagrad, radius=0.5)),
    "imtl_g": of_gram(multi_loss.imtl_g),
    "nash_mtl": of_gram(multi_loss.nash_mtl),
    "aligned_mtl": of_gram(multi_loss.aligned_mtl),
    "fairgrad": of_gram(PART(multi_loss.fairgrad, alpha=1.0)),
    "config": of_gram(multi_loss.config),
    "graddrop": of_rows(multi_loss.graddrop, is_drawn=True),
    "trimmed_mean": of_rows(trimmed),
    "gradvac": weighting(multi_loss.gradvac(), is_drawn=True),
    "cr_mogm": weighting(multi_loss.cr_mogm(multi_loss.mgda)),
    "pcd": weighting(multi_loss.pcd()),
    "excess_mtl": excess(multi_loss.excess_mtl()),
    "modo": of_two_batches(multi_loss.modo()),
    "sdmgrad": of_two_batches(multi_loss.sdmgrad()),
}
"""By name; a new rule is one line. Krum chooses among more losses than there are here."""
