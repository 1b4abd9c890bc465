"""The gradient after an adaptation that runs to its end, by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, Literal, NamedTuple, overload

import optax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Params, T, Tree, Wrt
from jaxgrad.meta._engine._descent import descend, first_failure
from jaxgrad.meta._engine._implicit import Solver, System, implicit_slope
from jaxgrad.meta._engine._objective import refuse_constant
from jaxgrad.meta._engine._proximal import check_fixed_statistics, check_start, proximal, undefined_without
from jaxgrad.meta._engine._statistics import of_state
from jaxgrad.meta._engine._tasks import arguments, check_tasks, mean_of_each, of_one_task

__all__ = ["ImplicitGradient", "implicit_gradient"]

STATIC = (
    "optimizer",
    "num_steps",
    "solver",
    "num_iterations",
    "has_aux",
    "full_output",
    "wrt",
    "inner_wrt",
    "statistics",
)


class ImplicitGradient(NamedTuple, Generic[T]):
    """What `implicit_gradient` returns with ``full_output=True``; what belongs to a task has a leading axis of them."""

    gradient: T
    """The gradient, with the structure, shapes and dtypes of ``params``."""
    value: Array
    """The meta-loss: the mean over tasks of the query loss at the adapted parameters."""
    params: T
    """The adapted parameters of every task: hand them on as ``start`` to go on from there."""
    residual_norm: Array
    """Of every task's linear system: ``|b - A x| / |b|``, by one more product."""
    products: Array
    """How many products with the Hessian the solver took for each task."""
    converged: Array
    """Whether the residual is below ``tolerance``."""
    indefinite: Array
    """Whether a direction was met without positive curvature: the adapted parameters are then no minimum."""
    inner_gradient_norm: Array
    """The norm of every task's inner gradient, the proximal term in it: 0 where the inner minimum was reached."""
    diverged_at: Array
    """Of every task, the first step that starts from an objective which is infinite or NaN, an integer; ``num_steps``
    where only the parameters after the last step are; -1 where nothing is."""


@overload
def implicit_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    strength: ArrayLike,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    start: T | None = None,
    has_aux: Literal[False] = False,
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    state: Tree = None,
    statistics: Literal["frozen", "transductive"] = "frozen",
    axis_name: AxisName = None,
) -> T: ...
@overload
def implicit_gradient(
    loss_fn: Callable[Concatenate[T, ...], Array],
    params: T,
    support: Tree,
    query: Tree,
    *,
    strength: ArrayLike,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    start: T | None = None,
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    state: Tree = None,
    statistics: Literal["frozen", "transductive"] = "frozen",
    axis_name: AxisName = None,
) -> ImplicitGradient[T]: ...
@overload
def implicit_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    strength: ArrayLike,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    start: T | None = None,
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    state: Tree = None,
    statistics: Literal["frozen", "transductive"] = "frozen",
    axis_name: AxisName = None,
) -> tuple[T, Aux]: ...
@overload
def implicit_gradient(
    loss_fn: Callable[Concatenate[T, ...], tuple[Array, Aux]],
    params: T,
    support: Tree,
    query: Tree,
    *,
    strength: ArrayLike,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    start: T | None = None,
    has_aux: Literal[True],
    full_output: Literal[True],
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    state: Tree = None,
    statistics: Literal["frozen", "transductive"] = "frozen",
    axis_name: AxisName = None,
) -> tuple[ImplicitGradient[T], Aux]: ...
@jit("loss_fn", *STATIC, "chunk", "axis_name", positive=("strength",), non_negative=("tolerance",))
def implicit_gradient(
    loss_fn: Callable[Concatenate[T, ...], Any],
    params: T,
    support: Tree,
    query: Tree,
    *,
    strength: ArrayLike,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    start: T | None = None,
    has_aux: bool = False,
    full_output: bool = False,
    wrt: Wrt = None,
    inner_wrt: Wrt = None,
    chunk: int | None = None,
    state: Tree = None,
    statistics: Literal["frozen", "transductive"] = "frozen",
    axis_name: AxisName = None,
) -> Any:
    r"""Return the gradient of the meta-loss where every task adapts to the minimum of a proximal problem: iMAML.

    .. math:: M(\theta) = \frac{1}{T} \sum_{t=1}^{T} L(w_t;\, \text{query}_t), \qquad
              w_t = \arg\min_w L(w;\, \text{support}_t) + \frac{\lambda}{2} |w - \theta|^2

    .. math:: \nabla_\theta M = \frac{1}{T} \sum_{t=1}^{T} \lambda \left( H_t + \lambda I \right)^{-1}
              \nabla L(w_t;\, \text{query}_t), \qquad H_t = \nabla^2 L(w_t;\, \text{support}_t)

    The path to the minimum does not count: memory does not grow with the steps, and the optimizer need not be
    differentiable. The proximal term of ``strength`` :math:`\lambda` stands in the inner problem and in the linear
    system alike. Without it a minimum would not know where the search began, and the gradient would be zero.

    The gradient is that of the meta-loss as far as the steps have reached the minimum and the solver the solution: look
    at ``inner_gradient_norm`` and ``converged`` of the full output. It can be differentiated once more: the steps are
    then differentiated as they are, and the solution by the theorem, to ``tolerance``.

    Args:
        loss_fn: ``loss_fn(params, *data) -> ()``, the loss of ONE task, for both levels. ``data`` are the items of
            ``support`` or ``query`` where that is a plain tuple; any other pytree is handed on as one argument.
            Static: pass a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, where every task starts, and what it is held to.
        support: What the tasks adapt to; tasks along the leading axis of every leaf.
        query: What the adapted parameters are judged on; tasks along the leading axis of every leaf.
        strength: The number :math:`\lambda`, above zero; may be traced, and an array that is not above zero gives NaN.
            Along directions of negative curvature it must be larger than that curvature, or there is no minimum.
        optimizer: An optax transformation for the inner steps, as in `adapt`; the proximal term is in the gradients
            that it gets. Static.
        num_steps: How many inner steps, a Python integer: enough to reach the minimum.
        solver: How the linear system is solved. ``"cg"``: conjugate gradients, exact after as many iterations as there
            are different eigenvalues. ``"neumann"``: the Neumann series, scaled by the largest eigenvalue.
            ``"identity"``: the Hessian counts as zero, which leaves the gradient at the adapted parameters.
        num_iterations: How many iterations of the solver at most, a Python integer; one product with the Hessian each.
        tolerance: The residual at which the solver ends, relative to the right-hand side; not negative.
        start: Where the inner steps start, a tree like ``params`` with tasks along one more leading axis: the
            ``params`` of an earlier full output, or minima that were found elsewhere, with ``num_steps=0``. Only leaves
            that the inner steps move are read. ``None``: at ``params``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return an `ImplicitGradient`: the value, the adapted parameters, and how far to trust
            the gradient.
        wrt: Which leaves the gradient is taken with respect to: glob patterns on their paths, a predicate
            ``wrt(path, leaf)``, or ``None`` for all; zero on the other leaves.
        inner_wrt: Which leaves the inner steps move, given likewise. The others are shared by all tasks; their
            gradient is the total one, in which the minimum moves with them.
        chunk: How many tasks at a time, a Python integer; it need not divide their number. ``None``: all at once.
        state: The model's state beside its parameters, which the loss then takes and returns, as in
            `value_and_maml_gradient`.
        statistics: ``"frozen"`` or ``"transductive"``: what becomes of that state. There is no ``"carried"`` here: a
            state that the steps change makes another inner problem of every step, and no minimum.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which the mean over tasks is that over all
            devices' tasks; ``None``: over the device's own. The inner problem is always that of one task, on its
            device.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``params``; with ``full_output`` an `ImplicitGradient`.
        With ``has_aux``, the pair of this and the aux of the query loss at the adapted parameters, tasks along its
        leading axis.

    Raises:
        ValueError: If ``strength`` is a Python number that is not above zero, the tasks do not share one leading axis
            or there are none, ``start`` does not mirror ``params`` with that axis, ``num_steps`` is negative, the loss
            is no scalar or, that of the query, does not depend on a parameter that the inner steps move, ``wrt`` or
            ``inner_wrt`` selects nothing, the solver is unknown, ``num_iterations`` is below 1,
            ``statistics="carried"``, or ``axis_name`` is no axis around.
        TypeError: If ``num_steps`` or ``num_iterations`` is no Python integer, ``strength`` is no number, ``optimizer``
            is no optax transformation, a leaf that counts is no real floating-point array, or ``loss_fn`` returns a
            pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps + 1`` gradients, and about 2.6 for each product; with ``full_output`` a product and a gradient more.
        The memory of a product for every task, whatever the number of steps.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def loss(params, target):
        ...     return 0.5 * (params["w"] - target) ** 2
        >>> params, targets = {"w": jnp.array(0.0)}, jnp.array([1.0, 3.0])
        >>> found = jaxgrad.meta.implicit_gradient(
        ...     loss, params, targets, targets, strength=1.0, optimizer=optax.sgd(0.5), num_steps=1, full_output=True
        ... )
        >>> found.gradient["w"].item(), found.params["w"].tolist(), found.inner_gradient_norm.tolist()
        (-0.5, [0.5, 1.5], [0.0, 0.0])

    References:
        Rajeswaran, Finn, Kakade and Levine (2019), Meta-learning with implicit gradients, NeurIPS, equation 6.
        Lorraine, Vicol and Duvenaud (2020), Optimizing millions of hyperparameters by implicit differentiation,
        AISTATS: the Neumann series.
        Luketina et al. (2016), Scalable gradient-based tuning of continuous regularization hyperparameters, ICML: the
        identity.
    """
    _check.positive(strength, "strength")
    _check.number(strength, "strength")
    loss_fn = of_one_task(loss_fn)
    num_tasks = check_tasks(support, query)
    params = _sharding.replicated(params, axis_name)
    subset = _tree.held(_same, params, wrt)
    _check.differentiable(params=subset.active)
    check_fixed_statistics(statistics, state)
    judge = of_state(loss_fn, state is not None, statistics == "transductive", has_aux)
    refuse_constant(judge, params, state, query, inner_wrt)
    search: Any = {"optimizer": optimizer, "num_steps": num_steps, "wrt": inner_wrt}
    system = System(solver, num_iterations, tolerance, scale=strength)

    pick = _tree.held(_same, params, inner_wrt).pick

    def near(value: Array, fast: Params, centre: Params) -> Array:
        return proximal(value, pick(fast), pick(centre), strength)

    def of_task(support: Tree, query: Tree, start: Params | None) -> tuple[Any, Tree]:
        def whole(active: Params, moving: Params) -> tuple[Params, Params]:
            centre = subset.embed(moving, _same)
            return _tree.held(_same, centre, inner_wrt).embed(active, _same), centre

        def inner(active: Params, moving: Params) -> Array:
            fast, centre = whole(active, moving)
            return near(judge(fast, state, *arguments(support))[0], fast, centre)

        def outer(active: Params, moving: Params) -> tuple[Array, Tree]:
            value, (aux, _) = judge(whole(active, moving)[0], state, *arguments(query))
            return value, aux

        def objective(fast: Params, *task: Any) -> Array:
            return near(judge(fast, state, *task)[0], fast, params)

        first = params if start is None else whole(pick(start), subset.active)[0]
        after = descend(objective, first, support, **search)
        slope = implicit_slope(inner, outer, pick(after.params), subset.active, system)
        found = slope.solution
        told = found.residual_norm, found.products, found.converged, found.indefinite, slope.inner_gradient_norm
        return (slope.gradient, slope.value), (slope.aux, after.params, (*told, first_failure(after, first)))

    check_start(start, params, num_tasks)
    mean, (aux, fast, told) = mean_of_each(of_task, (support, query, start), chunk)
    slope, value = _sharding.mean_over(mean, axis_name)
    slope = subset.embed(undefined_without(strength, slope))
    result = ImplicitGradient(slope, value, fast, *told) if full_output else slope
    return (result, aux) if has_aux else result


def _same(leaf: Any) -> Any:
    return leaf
