"""The gradient of one loss at the minimum of another, by what the inner loss depends on beside its parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, AxisName, Params, T, Tree, Wrt, X
from jaxgrad.meta._engine._dependence import depends
from jaxgrad.meta._engine._descent import Descent, descend, first_of, value_and_grad
from jaxgrad.meta._engine._implicit import Solver, System, implicit_slope
from jaxgrad.meta._engine._memory import Memory
from jaxgrad.meta._engine._tasks import arguments

__all__ = ["Hypergradient", "hypergradient"]

Method = Literal["implicit", "unrolled", "forward"]
"""How the outer loss is differentiated through the inner problem."""

METHODS = ("implicit", "unrolled", "forward")


class Hypergradient(NamedTuple, Generic[T, X]):
    """What `hypergradient` returns with ``full_output=True``."""

    gradient: X
    """The gradient, with the structure, shapes and dtypes of ``hyper``."""
    value: Array
    """The outer loss after the inner steps."""
    params: T
    """The parameters after the inner steps: start the next call from them, and a few steps are enough."""
    losses: Array
    """Of shape ``(num_steps,)``: the inner loss that each step started from."""
    residual_norm: Array | None
    """Of the linear system: ``|b - A x| / |b|``, by one more product; ``None`` where none was solved, as what follows.
    """
    products: Array | None
    """How many products with the inner Hessian the solver took."""
    converged: Array | None
    """Whether the residual is below ``tolerance``."""
    indefinite: Array | None
    """Whether a direction was met without positive curvature: the parameters are then no minimum."""
    inner_gradient_norm: Array | None
    """The norm of the inner gradient after the steps: 0 where the inner minimum was reached."""


@overload
def hypergradient(
    inner_loss: Callable[..., Array],
    outer_loss: Callable[..., Any],
    params: T,
    hyper: X,
    inner_data: Tree,
    outer_data: Tree,
    *,
    optimizer: optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    num_steps: int,
    method: Method = "implicit",
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    damping: ArrayLike = 0.0,
    memory: Memory = None,
    per_step: bool = False,
    full_output: Literal[False] = False,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> X: ...
@overload
def hypergradient(
    inner_loss: Callable[..., Array],
    outer_loss: Callable[..., Any],
    params: T,
    hyper: X,
    inner_data: Tree,
    outer_data: Tree,
    *,
    optimizer: optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    num_steps: int,
    method: Method = "implicit",
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    damping: ArrayLike = 0.0,
    memory: Memory = None,
    per_step: bool = False,
    full_output: Literal[True],
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Hypergradient[T, X]: ...
@jit(
    "inner_loss",
    "outer_loss",
    "optimizer",
    "num_steps",
    "method",
    "solver",
    "num_iterations",
    "memory",
    "per_step",
    "full_output",
    "inner_wrt",
    "axis_name",
    non_negative=("tolerance", "damping"),
)
def hypergradient(
    inner_loss: Callable[..., Array],
    outer_loss: Callable[..., Any],
    params: T,
    hyper: X,
    inner_data: Tree,
    outer_data: Tree,
    *,
    optimizer: optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    num_steps: int,
    method: Method = "implicit",
    solver: Solver = "cg",
    num_iterations: int = 20,
    tolerance: ArrayLike = 1e-5,
    damping: ArrayLike = 0.0,
    memory: Memory = None,
    per_step: bool = False,
    full_output: bool = False,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return the gradient of a bilevel problem: of the outer loss by the hyper-parameters of the inner one.

    .. math:: \nabla_h \, F(w^*(h), h), \qquad w^*(h) = \arg\min_w f(w, h)

    ``"implicit"`` takes the parameters after the steps for the minimum, however they came about, and solves one linear
    system with the inner Hessian:

    .. math:: \nabla_h F - \left( \nabla_h \nabla_w f \right)^T u, \qquad (\nabla_w^2 f + \delta I)\, u = \nabla_w F

    ``"unrolled"`` and ``"forward"`` are the exact gradient of the outer loss after these very steps, in reverse, and
    in forward mode, which keeps nothing of the steps and costs as much again for every number in ``hyper``. Only they
    reach the hyper-parameters of the optimizer, which do not move a minimum: ``optimizer`` is then a function of
    ``hyper``. All of them can be differentiated once more.

    Args:
        inner_loss: ``inner_loss(params, hyper, *inner_data) -> ()``, what the steps descend on. Static: pass a
            named function. More in ``help(jaxgrad)``.
        outer_loss: ``outer_loss(params, hyper, *outer_data) -> ()``, what the result is judged by. Static.
        params: Pytree of floating-point arrays, where the inner steps start.
        hyper: Pytree of floating-point arrays, by which the gradient is taken: regularisation strengths, weights of
            examples or losses, learned data, an initial learning rate.
        inner_data: What the inner loss is given, such as training data: the items of a plain tuple are arguments, any
            other pytree is one.
        outer_data: What the outer loss is given, such as validation data, likewise.
        optimizer: An optax transformation for the inner steps, as in `adapt`; or, where the method is not
            ``"implicit"``, a function that returns one of ``hyper``. Static: pass a named function.
        num_steps: How many inner steps, a Python integer; with 0 the theorem is applied at ``params``.
        method: ``"implicit"``, ``"unrolled"`` or ``"forward"``.
        solver: How the linear system is solved: ``"cg"``, conjugate gradients; ``"neumann"``, the Neumann series,
            scaled by the largest eigenvalue; ``"identity"``, which takes the identity for the Hessian
            (T1-T2): right up to a factor where the inner loss is about as curved in all directions.
        num_iterations: How many iterations of the solver at most, a Python integer; one product with the Hessian each.
        tolerance: The residual at which the solver ends, relative to the right-hand side; not negative.
        damping: The number :math:`\delta` that is added to the Hessian's diagonal, not negative; may be traced.
        memory: For ``"unrolled"``, what is kept of the inner steps: ``"unrolled"``, ``"checkpoint"``, ``"nested"``,
            ``"mixed-mode"``, or ``None`` for the rule of `value_and_maml_gradient`.
        per_step: Whether ``inner_data`` has a leading axis of steps: each step has a batch of its own. Not for
            ``"implicit"``, whose inner problem is one.
        full_output: Whether to return a `Hypergradient`: the value, the parameters, and how far to trust the gradient.
        inner_wrt: Which leaves of ``params`` the inner steps move: glob patterns on their paths, a predicate
            ``inner_wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both losses are the means of the
            devices' losses; ``None``: they are the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``hyper``; with ``full_output`` a `Hypergradient`.

    Raises:
        ValueError: If a loss is no scalar, the inner loss does not depend on ``hyper`` (and the optimizer is no
            function of it), ``num_steps`` is negative, ``num_iterations`` below 1, ``damping`` or ``tolerance``
            negative, ``inner_wrt`` selects nothing, a method, solver or mode is unknown, an optimizer that is a
            function of ``hyper`` or ``per_step`` meets ``method="implicit"``, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``hyper``, or one of ``params`` that moves, is no real floating-point array,
            ``optimizer`` is neither a transformation nor a function that returns one, or a loss is no function.

    Cost:
        ``num_steps`` gradients, and for ``"implicit"`` about 2.6 for each product and 5 more, in the memory of a
        product; for ``"unrolled"`` about 2.7 more for every step, in that of its mode (`value_and_maml_gradient` has
        them); for ``"forward"`` about 1.6 more for every step and number of ``hyper``, in the memory of as many copies
        of one step, whatever their number.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import jaxgrad
        >>> def ridge(w, strength, x, y):
        ...     return 0.5 * jnp.mean((w * x - y) ** 2) + 0.5 * strength * w**2
        >>> def error(w, strength, x, y):
        ...     return 0.5 * jnp.mean((w * x - y) ** 2)
        >>> train, held_out = (jnp.ones(2), jnp.ones(2)), (jnp.ones(2), jnp.zeros(2))
        >>> found = jaxgrad.meta.hypergradient(
        ...     ridge, error, jnp.array(0.0), jnp.array(1.0), train, held_out,
        ...     optimizer=optax.sgd(0.5), num_steps=1, full_output=True
        ... )
        >>> found.params.item(), found.gradient.item(), found.inner_gradient_norm.item()
        (0.5, -0.125, 0.0)

    References:
        Pedregosa (2016), Hyperparameter optimization with approximate gradient, ICML: implicit.
        Franceschi et al. (2017), Forward and reverse gradient-based hyperparameter optimization, ICML.
        Lorraine, Vicol and Duvenaud (2020), Optimizing millions of hyperparameters by implicit differentiation,
        AISTATS: the Neumann series.
        Luketina et al. (2016), Scalable gradient-based tuning of continuous regularization hyperparameters, ICML: the
        identity.
    """
    _check.choice(method, "method", METHODS)
    _static.refuse_no_function(outer_loss, "hypergradient: outer_loss", {})
    _check.moving(hyper=hyper)
    _check.differentiable(params=_tree.held(_same, params, inner_wrt).active)
    if method == "implicit":
        _refuse_without_theorem(optimizer, per_step)
    inner = _of_both(inner_loss, "inner_loss", axis_name)
    judge = _of_both(outer_loss, "outer_loss", axis_name)
    batch = arguments(first_of(inner_data, num_steps, "inner_data") if per_step else inner_data)

    def on_batch(both: tuple[Params, Tree]) -> Array:
        return inner(both, *batch)

    def outer(params: Params, hyper: Tree) -> Array:
        return judge((params, hyper), *arguments(outer_data))

    both = _sharding.replicated((params, hyper), axis_name)
    # inside of shard_map the derivative is that of the device's own losses
    params, hyper = _sharding.own(lambda both: (on_batch(both), outer(*both)), both)
    _refuse_constant(on_batch, outer, params, hyper, in_optimizer=callable(optimizer))

    def adapted(hyper: Tree, memory: Memory) -> Descent:
        # cast here and not in the program of a step, whose constants mixed mode casts itself
        constants = _sharding.vary(hyper, frozenset(_sharding.names(axis_name)))

        def loss_fn(params: Params, *data: Any) -> Array:
            return inner((params, constants), *data)

        steps: Any = {"num_steps": num_steps, "per_step": per_step, "wrt": inner_wrt, "memory": memory}
        rule = optimizer(hyper) if callable(optimizer) else optimizer
        return descend(loss_fn, params, inner_data, optimizer=rule, **steps)

    def total(hyper: Tree, memory: Memory) -> tuple[Array, Descent]:
        after = adapted(hyper, memory)
        return outer(after.params, hyper), after

    told: Any = (None,) * 5
    if method == "unrolled":
        (value, after), gradient = value_and_grad(lambda hyper: total(hyper, memory), hyper)
    elif method == "forward":
        (value, after), gradient = _forward(lambda hyper: total(hyper, "unrolled"), hyper)
    else:
        after = adapted(hyper, "checkpoint")
        system = System(solver, num_iterations, tolerance, damping)
        value, gradient, told = _at_minimum(on_batch, outer, after.params, hyper, inner_wrt, system)
    return Hypergradient(gradient, value, after.params, after.losses, *told) if full_output else gradient


def _same(leaf: Any) -> Any:
    return leaf


def _of_both(loss_fn: Callable[..., Any], name: str, axis_name: AxisName) -> Callable[..., Array]:
    """Return a loss of the pair of parameters and hyper-parameters, which `_sharding` then takes for parameters."""

    def of_both(both: tuple[Params, Tree], *data: Any) -> Array:
        return _check.real_scalar(loss_fn(*both, *data), name)

    return _sharding.mean_of(of_both, axis_name)


def _at_minimum(
    inner: Callable[..., Array], outer: Callable[..., Array], params: Params, hyper: Tree, wrt: Wrt, system: System
) -> tuple[Array, Tree, tuple[Array, ...]]:
    """Return the outer loss, its gradient by the theorem, and how far to trust that."""
    subset = _tree.held(_same, params, wrt)

    def of_active(active: Params, hyper: Tree) -> Array:
        return inner((subset.embed(active, _same), hyper))

    def judged(active: Params, hyper: Tree) -> tuple[Array, None]:
        return outer(subset.embed(active, _same), hyper), None

    slope = implicit_slope(of_active, judged, subset.active, hyper, system)
    found = slope.solution
    told = found.residual_norm, found.products, found.converged, found.indefinite, slope.inner_gradient_norm
    return slope.value, slope.gradient, told


def _forward(total: Callable[[Tree], tuple[Array, Any]], hyper: Tree) -> tuple[tuple[Array, Any], Tree]:
    """Return the value with its aux, and the gradient: one tangent for every number, pushed forward side by side."""
    leaves, structure = jax.tree.flatten(hyper)
    treedef: Any = structure
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))

    def along(index: Array) -> tuple[Array, Array, Any]:
        def unit(leaf: Array, end: int) -> Array:
            places = jnp.arange(end - leaf.size, end).reshape(leaf.shape)
            return _sharding.like((places == index).astype(leaf.dtype), leaf)

        tangent = treedef.unflatten([unit(leaf, end) for leaf, end in zip(leaves, ends, strict=True)])
        value, slope, after = jax.jvp(total, (hyper,), (tangent,), has_aux=True)
        return slope, value, after

    # what is not differentiated is the same for all of them, and computed once
    slopes, value, after = jax.vmap(along, out_axes=(0, None, None))(jnp.arange(ends[-1]))
    parts = jnp.split(slopes, ends[:-1])
    gradient = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    return (value, after), treedef.unflatten(gradient)


def _refuse_without_theorem(optimizer: Any, per_step: bool) -> None:
    """Refuse what says nothing about a minimum.

    Raises:
        ValueError: If the optimizer is a function of the hyper-parameters, or the batch changes from step to step.
    """
    if callable(optimizer):
        message = (
            'method="implicit" cannot reach the hyper-parameters of the optimizer, which do not move the minimum that'
            ' it leads to; write method="unrolled", or "forward" for few of them, or hand in an optimizer that is no'
            " function of hyper"
        )
        raise ValueError(message)  # noqa: TRY004 (the type is right, the method is not)
    if per_step:
        message = (
            'method="implicit" needs one inner problem, and with per_step=True every step has its own; reach the'
            " minimum with meta.adapt(..., per_step=True), and hand in its result as params, the whole of the data as"
            ' inner_data, and num_steps=0; or write method="unrolled"'
        )
        raise ValueError(message)


def _refuse_constant(inner: Any, outer: Any, params: Params, hyper: Tree, in_optimizer: bool) -> None:
    """Refuse losses whose hypergradient would be zero, or its direct part alone, and nobody would know.

    Raises:
        ValueError: If the inner loss does not depend on the hyper-parameters, or the outer one not on the parameters.
    """
    if not in_optimizer and not depends(lambda hyper: inner((params, hyper)), hyper):
        message = (
            "inner_loss does not depend on hyper, its second argument, so that the inner minimum does not move with"
            " it; use it there, or, where it sets the optimizer, hand in optimizer as a function of hyper"
        )
        raise ValueError(message)
    if not depends(lambda params: outer(params, hyper), params):
        message = (
            "outer_loss does not depend on params, its first argument, so that the inner problem does not matter:"
            " use it there, and not parameters that it closes over or stops the gradient of"
        )
        raise ValueError(message)
