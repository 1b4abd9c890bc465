"""Gauss-Newton steps with adaptive damping, as an optax transformation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Array, AxisName, Params, Tree, Wrt
from jaxgrad._uses._map_examples import map_examples, one_example
from jaxgrad.curvature._engine import _stacks
from jaxgrad.curvature._engine._least_squares import Equations, damped_step
from jaxgrad.curvature._engine._linear import linear_map
from jaxgrad.curvature._engine._update_arguments import refuse_misuse

__all__ = ["GaussNewtonState", "gauss_newton"]

SOLVERS = ("auto", "dense", "cg")

FIRST = 1e-3
"""What damping starts from where it was zero, in the curvature along the gradient (Nielsen's tau)."""


class GaussNewtonState(NamedTuple):
    """What a step leaves to the next one, numbers, and what it tells."""

    damping: Array
    """Of the next step."""
    growth: Array
    """The factor of the damping where the next step is rejected: 2, and twice that after every rejection."""
    loss: Array
    """Half the sum of the squares of the residuals at ``optax.apply_updates(params, update)`` of the last update."""
    gain_ratio: Array
    """How much the last step lowered the loss, in what the linear model foretold; 1 where that is right."""
    accepted: Array
    """Whether the last step lowered the loss; else its update is zero."""
    solve_residual: Array
    """The norm of the residual of the last linear system, in that of its right-hand side: the gradient."""
    steps: Array
    """How many steps were tried."""
    aux: Any = None
    """With ``has_aux`` the second of the pair there, ``None`` before the first update; no step reads it."""


class _Options(NamedTuple):
    """The arguments of `gauss_newton`."""

    residual_fn: Callable[..., Any]
    damping: ArrayLike
    solver: str
    max_products: int
    tolerance: ArrayLike
    per_example: bool
    has_aux: bool
    wrt: Wrt
    axis_name: AxisName


def gauss_newton(
    residual_fn: Callable[..., Any],
    *,
    damping: ArrayLike = 1e-3,
    solver: Literal["auto", "dense", "cg"] = "auto",
    max_products: int = 100,
    tolerance: ArrayLike = 1e-3,
    per_example: bool = False,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build an optax transformation that takes Gauss-Newton steps on residuals, damped as Levenberg and Marquardt do.

    .. math:: (J^\top J + \lambda I)\, \delta = -J^\top r, \qquad J = \frac{\partial r}{\partial \theta}, \quad
              f(\theta) = \tfrac12 \lVert r(\theta) \rVert^2, \qquad
              \rho = \frac{f(\theta) - f(\theta + \delta)}
                          {\tfrac12 \lVert r \rVert^2 - \tfrac12 \lVert r + J \delta \rVert^2}

    It computes the residuals itself: call ``update(params, state, params, batch=(x, y))``, with ``params`` in the place
    of gradients (``None`` will do where no wrapper wants a tree), alone or at the head of an ``optax.chain``. What
    stands in that place is not read, and gradients are refused where they can be told from ``params``: not where they
    come into a compiled ``update`` from outside. `optax.MultiSteps`, `optax.masked` and `optax.partition` cannot be
    around it: join the batches, and choose leaves by ``wrt``.

    A step that does not lower the loss is rejected, inside of a compiled program: its update is zero and the damping
    rises. Where it does, the gain ratio :math:`\rho` adapts the damping by Nielsen's rule,
    :math:`\lambda \leftarrow \lambda \max(\tfrac13, 1 - (2 \rho - 1)^3)`. A step is judged where
    ``optax.apply_updates(params, update)`` leads, rounded as the parameters are, also to 16 bits. So the loss of one
    batch never rises, unless what follows in a chain changes the update; the steps are for a whole data set, or
    collocation points, and not for small random batches.

    ``"dense"`` forms the Jacobian and solves by a QR factorisation of it with the damping below, in the space of the
    residuals where these are fewer than the parameters: the condition number is not squared. ``"cg"`` forms nothing,
    and takes products with :math:`J` and its transpose. Damping 0 is kept for as long as steps are accepted.

    Args:
        residual_fn: ``residual_fn(params, *batch)`` returns the residuals, any pytree of floating-point arrays. Half
            the sum of their squares is the loss: scale them where it is to be a mean. Every leaf of a tuple counts, a
            second one too, unless ``has_aux`` is set. Pass a named function. More in ``help(jaxgrad)``.
        damping: The first :math:`\lambda`, not negative.
        solver: ``"dense"``, ``"cg"``, or ``"auto"``: dense up to 2048 residuals or parameters, whichever are fewer.
        max_products: For ``"cg"``: how many iterations at most.
        tolerance: For ``"cg"``: the residual of the linear system to reach, relative to the gradient.
        per_example: Whether ``residual_fn(params, *example)`` takes ONE example of the batch, along whose leading axes
            it is mapped. The rows of the Jacobian are then those of single examples, and all of them together cost as
            much as one gradient for every residual of an example.
        has_aux: Whether ``residual_fn`` returns a pair ``(residuals, aux)``. The aux at the parameters that the update
            leads to, with ``per_example`` one for every example, is the ``aux`` of the state: ``None`` before the first
            update, so that a scan carries ``state._replace(aux=None)`` and gives ``state.aux`` beside it.
        wrt: Which leaves move: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all; the
            updates of the others are zero.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the batch is spread: the
            residuals are those of all devices, each at its own examples, and update and state are the same on all of
            them; ``None``: the device's own.

    Returns:
        The transformation. Its state is a `GaussNewtonState` with ``damping``, ``growth``, ``loss``, ``gain_ratio``,
        ``accepted``, ``solve_residual``, ``steps`` and ``aux``.

    Raises:
        ValueError: If ``damping`` or ``tolerance`` is negative, ``solver`` is unknown or ``max_products`` below 1; and
            in ``update`` if ``params`` is missing or has masked leaves, gradients are given, which would be lost, or
            ``axis_name`` is no axis around.
        TypeError: If ``residual_fn`` is no function; and in ``update`` if ``batch`` is no tuple of what it takes, a
            leaf that moves or a residual is no real floating-point array, or ``has_aux`` is set and there is no pair.

    Cost:
        The residuals twice, and four products with the Jacobian; for n residuals and P parameters ``"dense"``
        ``min(n, P)`` more (with ``per_example`` one for every residual of an example) and about
        ``2 (n + P) min(n, P)**2`` operations; ``"cg"`` two more an iteration. Between devices ``"dense"`` sends the
        rows of the Jacobian, or a triangle of P x P where a device has more of them than that, and ``"cg"`` one tree an
        iteration.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def residuals(w, x, y):
        ...     return x @ w - y
        >>> x, y, w = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), jnp.array([3.0, 4.0, 1.0]), jnp.zeros(2)
        >>> optimizer = jaxgrad.curvature.gauss_newton(residuals, damping=0.0)
        >>> update, state = optimizer.update(None, optimizer.init(w), w, batch=(x, y))
        >>> jnp.round(optax.apply_updates(w, update), 4).tolist(), round(float(state.loss), 4)
        ([3.0, 2.0], 0.5)

    References:
        Marquardt (1963), An algorithm for least-squares estimation of nonlinear parameters, J. SIAM 11;
        Nielsen (1999), Damping parameter in Marquardt's method, IMM-REP-1999-05, equation 2.4.
    """
    if not callable(residual_fn):
        message = f"residual_fn must be a function; got {_check.describe(residual_fn)}"
        raise TypeError(message)
    _check.choice(solver, "solver", SOLVERS)
    for name, value in (("damping", damping), ("tolerance", tolerance)):
        _check.number(value, name)
        _check.non_negative(value, name)
    most = _check.count(max_products, "max_products", least=1)
    options = _Options(residual_fn, damping, solver, most, tolerance, per_example, has_aux, wrt, axis_name)

    def init(params: Params) -> GaussNewtonState:
        _check.differentiable(params=_tree.held(residual_fn, params, wrt).active)
        kinds = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)]
        kept = _tree.accumulator(*(kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)))
        first, two, unknown = (jnp.asarray(value, kept) for value in (damping, 2.0, jnp.inf))
        zero = jnp.zeros((), kept)
        return GaussNewtonState(first, two, unknown, zero, jnp.zeros((), bool), zero, jnp.zeros((), jnp.int32))

    def update(
        updates: Any, state: GaussNewtonState, params: Any = None, *, batch: Any = (), **extra: Any
    ) -> tuple[Any, GaussNewtonState]:
        refuse_misuse(residual_fn, GaussNewtonState, updates, state, params, batch, extra)
        return _step(options, state, params, tuple(batch))

    return optax.GradientTransformationExtraArgs(init, update)


def _step(options: _Options, state: GaussNewtonState, params: Params, batch: tuple[Any, ...]) -> Any:
    """Try one step, and return its update, or zeros, and the state."""
    axis_name = options.axis_name
    params = _sharding.replicated(params, axis_name)
    # whether the last step was accepted is not read
    numbers = _sharding.replicated((state.damping, state.growth, state.steps), axis_name)
    state = state._replace(damping=numbers[0], growth=numbers[1], steps=numbers[2])
    subset = _tree.restrict(_flat(options), params, options.wrt, batch, has_aux=options.has_aux)
    _check.differentiable(params=subset.active)

    def own(active: Tree) -> Tree:
        # each device has residuals of its own, also where its batch is that of the others
        return _sharding.vary(_tree.widened(active), frozenset(_sharding.names(axis_name)))

    def residuals(point: Tree) -> tuple[Array, Any]:
        value, aux = subset.pair(_stacks.with_dtypes(point, subset.active), *batch)
        return value.astype(state.loss.dtype), aux

    def rows() -> Tree:
        def of_one(example: Any) -> Tree:
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            return jax.jacrev(lambda at: subset.fun(_stacks.with_dtypes(at, subset.active), *alone))(point)

        return jax.vmap(of_one)(batch)

    point = own(subset.active)
    linear = linear_map(residuals, point)
    equations = Equations(linear, rows if options.per_example else None, axis_name)
    slope = equations.pull(linear.outputs)
    step = damped_step(equations, slope, state.damping, options.solver, options.tolerance, options.max_products)
    update, reached = _rounded(step, subset.active)
    there, aux = residuals(own(reached))
    after = _judged(equations, there, step, slope, state)
    update, aux = (
        jax.tree.map(functools.partial(jnp.where, after.accepted), new, old)
        for new, old in ((update, jax.tree.map(jnp.zeros_like, update)), (aux, linear.aux))
    )
    return subset.embed(update), after._replace(aux=aux)


def _rounded(step: Tree, active: Tree) -> tuple[Tree, Tree]:
    """Return an update in the dtypes of the parameters, and those that `optax.apply_updates` makes of it."""
    # XLA may keep more digits than 16 bits have inside of a program (xla_allow_excess_precision): not across a barrier
    update = lax.optimization_barrier(_stacks.with_dtypes(step, active))
    return update, lax.optimization_barrier(optax.apply_updates(active, update))


def _judged(equations: Equations, there: Array, step: Tree, slope: Tree, state: GaussNewtonState) -> GaussNewtonState:
    """Compare what a step gained with what was foretold, and return the state after it."""
    here, moved, inner = equations.linear.outputs, equations.push(step), equations.inner
    # differences of squares as products: those of two nearly equal sums have no digits left
    gained = 0.5 * inner(here - there, here + there)
    foretold = -inner(here + 0.5 * moved, moved)
    accepted = gained > 0
    reached = jnp.where(accepted, there, here)
    loss = 0.5 * inner(reached, reached)
    ratio = jnp.where(foretold > 0, gained / jnp.where(foretold > 0, foretold, 1), 0)
    # what is foretold is below the rounding of the loss: there is nothing to learn from it
    ended = foretold <= jnp.finfo(loss.dtype).eps * loss
    along, size = equations.push(slope), _tree.norm(slope).astype(loss.dtype)
    curvature = inner(along, along) / jnp.where(size > 0, size**2, 1)
    damping, growth = _adapted(state, ratio, accepted, FIRST * curvature, ended)
    failed = _tree.add(_stacks.axpy(state.damping, step, equations.pull(moved)), slope)
    relative = _tree.norm(failed).astype(loss.dtype) / jnp.where(size > 0, size, 1)
    return GaussNewtonState(damping, growth, loss, ratio, accepted, relative, state.steps + 1, None)


def _flat(options: _Options) -> Callable[..., Any]:
    """Return the residuals as one vector, example by example where they are those of examples; with an aux a pair."""

    def one(params: Params, *batch: Any) -> Any:
        result, aux = options.residual_fn(params, *batch), None
        if options.has_aux:
            result, aux = _check.pair(result, "residual_fn", "the pair (residuals, aux), since has_aux=True")
        if isinstance(result, tuple) and not options.has_aux:
            _check.floating(**{"the result of residual_fn, all of it without has_aux=True,": result})
        _check.floating(**{"the result of residual_fn": result})
        vector = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(_tree.widened(result))])
        return (vector, aux) if options.has_aux else vector

    def every(params: Params, *batch: Any) -> Any:
        _check.batch(batch)
        found = map_examples(one_example(one), params, batch)
        return (found[0].ravel(), found[1]) if options.has_aux else found.ravel()

    return every if options.per_example else one


def _adapted(state: GaussNewtonState, ratio: Array, accepted: Array, first: Array, ended: Array) -> tuple[Array, Array]:
    """Return the damping of the next step, and its growth where that is rejected."""
    falls = state.damping * jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3)
    rises = jnp.where(state.damping > 0, state.damping * state.growth, first)
    damping = jnp.where(accepted, falls, rises)
    growth = jnp.where(accepted, 2, 2 * state.growth)
    limit = jnp.finfo(damping.dtype).max ** 0.5
    return jnp.where(ended, state.damping, jnp.minimum(damping, limit)), jnp.where(ended, 2, jnp.minimum(growth, limit))
