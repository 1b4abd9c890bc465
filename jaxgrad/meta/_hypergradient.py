"""The gradient of one loss at the minimum of another, by what the inner loss depends on beside its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, overload

import optax
from jax.typing import ArrayLike

from jaxgrad import _check, _static, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, T, Tree, Wrt, X
from jaxgrad.meta._engine._bilevel import METHODS, Method, bilevel, refuse_without_theorem
from jaxgrad.meta._engine._descent import first_failure
from jaxgrad.meta._engine._implicit import Solver, System
from jaxgrad.meta._engine._memory import Memory

__all__ = ["Hypergradient", "hypergradient"]

STATIC = (
    "optimizer",
    "num_steps",
    "method",
    "solver",
    "num_iterations",
    "memory",
    "per_step",
    "has_aux",
    "full_output",
)


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
    diverged_at: Array
    """The first step that starts from an inner loss which is infinite or NaN, an integer; ``num_steps`` where only the
    parameters after the last step are; -1 where nothing is."""
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
    has_aux: Literal[False] = False,
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
    has_aux: Literal[False] = False,
    full_output: Literal[True],
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Hypergradient[T, X]: ...
@overload
def hypergradient(
    inner_loss: Callable[..., Array],
    outer_loss: Callable[..., tuple[Array, Aux]],
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
    has_aux: Literal[True],
    full_output: Literal[False] = False,
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[X, Aux]: ...
@overload
def hypergradient(
    inner_loss: Callable[..., Array],
    outer_loss: Callable[..., tuple[Array, Aux]],
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
    has_aux: Literal[True],
    full_output: Literal[True],
    inner_wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Hypergradient[T, X], Aux]: ...
@jit("inner_loss", "outer_loss", *STATIC, "inner_wrt", "axis_name", non_negative=("tolerance", "damping"))
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
    has_aux: bool = False,
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
        has_aux: Whether ``outer_loss`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        full_output: Whether to return a `Hypergradient`: the value, the parameters, and how far to trust the gradient.
        inner_wrt: Which leaves of ``params`` the inner steps move: glob patterns on their paths, a predicate
            ``inner_wrt(path, leaf)``, or ``None`` for all.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over which both losses are the means of the
            devices' losses; ``None``: they are the device's own.

    Returns:
        The gradient, with the structure, shapes and dtypes of ``hyper``; with ``full_output`` a `Hypergradient`. With
        ``has_aux``, the pair of this and the aux of the outer loss after the steps; the device's own in `shard_map`.

    Raises:
        ValueError: If a loss is no scalar, the inner loss does not depend on ``hyper`` (and the optimizer is no
            function of it), the outer one not on a parameter that the inner steps move, ``num_steps`` is negative,
            ``num_iterations`` below 1, ``damping`` or ``tolerance`` negative, ``inner_wrt`` selects nothing, a method,
            solver or mode is unknown, an optimizer that is a function of ``hyper`` or ``per_step`` meets
            ``method="implicit"``, or ``axis_name`` is no axis around.
        TypeError: If a leaf of ``hyper``, or one of ``params`` that moves, is no real floating-point array,
            ``optimizer`` is neither a transformation nor a function that returns one, a loss is no function, or
            ``outer_loss`` returns a pair without ``has_aux``, or none with it.

    Cost:
        ``num_steps`` gradients, and one of the outer loss. Beside these (FLOPs) ``"implicit"`` takes about 2.6 for each
        product, up to 2 for the mixed derivative, and with ``full_output`` a product and a gradient more, in the memory
        of a product; ``"unrolled"`` about 2.7 for every step, in that of its mode (`value_and_maml_gradient` has them).
        ``"forward"`` takes an evaluation of the outer loss in place of its gradient, and for every number of ``hyper``
        about 1.9 a step and 2/3 at the end, in the memory of as many copies of one step, whatever their number.

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
    _check.differentiable(params=_tree.held(lambda leaf: leaf, params, inner_wrt).active)
    if method == "implicit":
        refuse_without_theorem(optimizer, per_step)
    how: Any = {"method": method, "memory": memory, "has_aux": has_aux, "inner_wrt": inner_wrt, "axis_name": axis_name}
    how |= {"system": System(solver, num_iterations, tolerance, damping), "optimizer": optimizer}
    steps: Any = {"num_steps": num_steps, "per_step": per_step}
    found = bilevel(inner_loss, outer_loss, params, hyper, inner_data, outer_data, **how, **steps)
    after = found.after
    first = first_failure(after, params)
    told = Hypergradient(found.gradient, found.value, after.params, after.losses, first, *found.told)
    result = told if full_output else found.gradient
    return (result, found.aux) if has_aux else result
