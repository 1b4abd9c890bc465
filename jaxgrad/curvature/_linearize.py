"""A product with its work on the parameters done: only what depends on the vector is left."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic

import jax
import jax.numpy as jnp

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, T, Tree
from jaxgrad.curvature._engine import _stacks, _vectors
from jaxgrad.curvature._engine._memory import bytes_of, peak_bytes
from jaxgrad.curvature._engine._symmetric import over_floats

__all__ = ["Linearized", "linearize"]


@dataclass(frozen=True, eq=False)
class _Program:
    """What is left to do for a vector; compared by identity, so that one program is compiled once."""

    jaxpr: Any
    """The open jaxpr: its constants are what is kept."""
    product: _tree.Subset
    """Which leaves of a product are floating-point numbers, and the shapes of all."""
    bytes_cached: int
    bytes_recomputed: int
    times: Callable[..., Tree] = field(init=False)
    """The compiled product, of what is kept and a vector; it goes when the program does."""

    def __post_init__(self) -> None:
        """Compile the product at its first call."""
        object.__setattr__(self, "times", jit("chunk", name="linearize")(self._multiply))

    def _multiply(self, kept: list[Array], params: Tree, vector: Tree, *, chunk: int | None) -> Tree:
        """Multiply one vector, or several."""
        count = _vectors.count_of(params, vector)
        chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)

        floats = over_floats(params)

        def times(vector: Tree) -> Tree:
            laid_out = jax.tree.map(_sharding.like, floats.pick(vector), floats.active)
            found = jax.core.eval_jaxpr(self.jaxpr, kept, *jax.tree.leaves(laid_out))
            product = jax.tree.unflatten(jax.tree.structure(self.product.active), found)
            return self.product.embed(product, _stacks.still(None))

        return _vectors.Vectors(vector, count, chunk).each(times)


@dataclass(frozen=True)
class Linearized(Generic[T]):
    """A matrix at a point, to be called on vectors: a pytree, which goes into compiled functions and out of them."""

    params: T
    """The point."""
    kept: list[Array]
    """What does not depend on the vector: activations and weights, mostly."""
    value: Array | None
    """The loss, where the product is of one that it gives (`hvp`, `ggn_product`, `fisher_product`); else ``None``."""
    gradient: T | None
    """Its gradient."""
    program: _Program
    """What is left to do; static."""

    def __call__(self, vector: T, *, chunk: int | None = None) -> T:
        """Multiply a vector, or several along one more leading axis, ``chunk`` at once."""
        return self.program.times(self.kept, self.params, vector, chunk=chunk)

    @property
    def bytes_cached(self) -> int:
        """Return what is held between products, in bytes, beside the parameters and the data themselves."""
        return self.program.bytes_cached

    @property
    def bytes_recomputed(self) -> int:
        """Return what one product that computes everything anew holds at its peak, in bytes, and none in between.

        Counted in the traced program, each result from where it is made to where it is last read; XLA fuses some away.
        """
        return self.program.bytes_recomputed


jax.tree_util.register_dataclass(
    Linearized, data_fields=["params", "kept", "value", "gradient"], meta_fields=["program"]
)


@jit("product")
def linearize(product: Callable[..., Any], params: T, *data: Any) -> Linearized[T]:
    r"""Do the part of a product that does not depend on the vector, once, and return the rest as a function.

    .. math:: v \mapsto A(\theta)\, v \quad \text{with } A(\theta) \text{ evaluated}

    For products in a loop of the host: SciPy's Lanczos, conjugate gradients driven from Python. Neither a second vector
    nor a second point traces anything. Inside of one ``jax.jit`` XLA does the same by itself with a loop over plain
    products, unless they have ``cache=False``.

    Args:
        product: ``product(params, vector, *data)``, linear in the vector: ``functools.partial(jaxgrad.curvature.hvp,
            loss_fn)``, or the like of `ggn_product`, `fisher_product`, `jacobian_product` or `over_dataset`. Static, as
            a function is in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the point; leaves that are others, ``product`` must hold by ``wrt=``.
        *data: What the product takes after the vector.

    Returns:
        A `Linearized`: call it on a vector with the structure of ``params``, or on several along one more leading axis,
        with ``chunk=`` so many at once. It has ``value`` and ``gradient``, the loss and its gradient from the same pass
        where the product gives them, ``bytes_cached``, what it holds between products beside the parameters and the
        data, and ``bytes_recomputed``, what a product that computes everything anew would hold at its peak.

    Raises:
        ValueError: If the product is not linear in the vector: ``mode="finite-difference"`` is not, and has no part to
            do in advance.
        TypeError: If a leaf of ``params`` that ``product`` does not hold is no real floating-point array, or
            ``product`` returns an aux.

    Cost:
        One gradient (FLOPs) once, with the value and the gradient; 1.9 for each product with the Hessian (convolutional
        networks 1.5), 1.3 for each with the Gauss-Newton matrix. ``bytes_cached`` of memory.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return jnp.sum(w**3)
        >>> hessian = jaxgrad.curvature.linearize(functools.partial(jaxgrad.curvature.hvp, loss), jnp.array([1.0, 2.0]))
        >>> hessian(jnp.array([1.0, 1.0])).tolist(), hessian.value.item(), hessian.gradient.tolist()
        ([6.0, 12.0], 9.0, [3.0, 12.0])

    References:
        Griewank and Walther (2008), Evaluating Derivatives, 2nd ed., section 12.1: preaccumulation.
    """
    floats = over_floats(params)
    of, asked = _asked(product)
    captured: list[Any] = []

    def known(params: T, data: tuple[Any, ...], vector: Tree) -> tuple[list[Any], Any]:
        def moving(vector: Tree) -> tuple[Tree, Any]:
            product, beside = of(params, floats.embed(vector), *data)
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), product)
            captured[:] = [over_floats(shapes, "the result of product")]
            return captured[0].pick(product), beside

        # the vector stands for any: the product is linear, so what is kept does not depend on it
        _, push, beside = jax.linearize(moving, vector, has_aux=True)
        linear = jax.make_jaxpr(push)(vector)
        captured.append(linear.jaxpr)
        return linear.consts, beside

    closed, shapes = jax.make_jaxpr(known, return_shape=True)(params, data, floats.active)
    jaxpr, read = _jaxpr.needed(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    given = jax.tree.leaves((params, data, floats.active))
    _refuse_what_is_not_linear(read[len(given) - len(jax.tree.leaves(floats.active)) :])
    arguments = [leaf for leaf, used in zip(given, read, strict=True) if used]
    found = _jaxpr.jaxpr_as_fun(_jaxpr.ClosedJaxpr(jaxpr, closed.consts))(*arguments)
    kept, beside = jax.tree.unflatten(jax.tree.structure(shapes), found)
    value, gradient = beside if asked else (None, None)
    result, linear = captured
    whole = jax.make_jaxpr(lambda p, v, d: of(p, v, *d))(params, params, data)
    program = _Program(
        linear,
        result,
        bytes_of({v for v in jaxpr.outvars[: len(kept)] if isinstance(v, _jaxpr.Var)} - set(jaxpr.invars)),
        peak_bytes(_jaxpr.needed(whole.jaxpr, [True] * len(whole.jaxpr.outvars))[0]),
    )
    return Linearized(params, kept, value, gradient, program)


def _asked(product: Callable[..., Any]) -> tuple[Callable[..., tuple[Tree, Any]], bool]:
    """Return the product with what it gives beside itself as an aux, and whether that is the loss and its gradient.

    Raises:
        TypeError: If the product returns an aux of its own.
    """
    if getattr(product, "keywords", {}).get("has_aux"):
        message = "linearize takes a product without an aux; leave has_aux=True out of it"
        raise TypeError(message)
    known = inspect.signature(product).parameters
    asked = "full_output" in known
    # a product that is to compute everything anew would keep nothing here
    options = {name: True for name in ("full_output", "cache") if name in known}

    def of(params: Tree, vector: Tree, *data: Any) -> tuple[Tree, Any]:
        result = product(params, vector, *data, **options)
        return (result.product, (result.value, result.gradient)) if asked else (result, None)

    return of, asked


def _refuse_what_is_not_linear(read: list[bool]) -> None:
    """Refuse a product of which more than the linear part depends on the vector.

    Raises:
        ValueError: With what to write instead.
    """
    if any(read):
        message = (
            'the product is not linear in its vector (mode="finite-difference" is not): there is nothing to linearize;'
            " take another mode, or call the product itself"
        )
        raise ValueError(message)
