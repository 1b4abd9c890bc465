"""A product with a symmetric matrix, as a function of the vector alone, and what of it may be differentiated."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxgrad import _check, _jaxpr, _sharding, _tree
from jaxgrad._types import Array, Params, Tree
from jaxgrad.curvature._engine import _stacks

__all__ = ["ProductFn", "Times", "held", "over_floats", "times", "with_slopes"]

ProductFn = Callable[..., Any]
"""``product(params, vector, *data)``: a symmetric matrix times a vector that mirrors ``params``; so is the result."""

Times = Callable[[Tree], Tree]
"""A matrix, as the function that multiplies a vector by it."""


def over_floats(params: Params, name: str = "params") -> _tree.Subset:
    """Hold the leaves that no matrix is over, such as integers: a product holds them by its ``wrt=``, or refuses them.

    Where all leaves are real floating-point numbers the part that counts is ``params`` itself; its vectors are trees
    like it. Else both are lists of the others.

    Raises:
        TypeError: If no leaf is a real floating-point array.
    """
    counting = [_check.is_real_float(leaf) for leaf in jax.tree.leaves(params)]
    if not any(counting):
        _check.floating(**{name: params})
    return _tree.held(lambda tree: tree, params, None if all(counting) else lambda _, leaf: _check.is_real_float(leaf))


def times(product: ProductFn, params: Params, data: tuple[Any, ...]) -> Times:
    """Return the function of the vector alone; vectors of 16 bits are kept in float32 outside of the product.

    It takes and returns the part of a vector that `over_floats` picks.

    Raises:
        TypeError: If no leaf of ``params`` is a real floating-point array.
        ValueError: When called, if the result does not mirror ``params``.
    """
    floats = over_floats(params)

    def apply(vector: Tree) -> Tree:
        whole = floats.embed(_stacks.with_dtypes(vector, floats.active))
        try:
            result = product(params, whole, *data)
        except TypeError as error:
            # raised by the call, and not within it: the function takes other arguments
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                error.add_note(
                    f"A product is called as product(params, vector, *data), here with {len(data)} of data: hand in"
                    " one, such as functools.partial(curvature.hvp, loss_fn), and not a loss."
                )
            raise
        _check.mirrors(**{"params": params, "product(params, vector)": result})
        return _tree.widened(jax.tree.map(_sharding.like, floats.pick(result), floats.active))

    return apply


def held(apply: Times, like: Tree) -> tuple[Times, Callable[..., Tree], list[Any]]:
    """Split a product into itself without derivatives, and a function of whatever it depends on.

    Returns:
        The product as a constant of differentiation; ``moving(vector, *inputs)``; and ``inputs``, all arrays that it
        depends on and that may be differentiated, also those that it closes over.
    """
    # inside of shard_map a product differs from device to device where its vector does not, and then goes on as one
    point = _sharding.settled(apply, like)
    # jax.closure_convert would do, but keeps the last 4096 of its functions, with every array that they close over
    program, shapes = jax.make_jaxpr(apply, return_shape=True)(point)
    moves = [isinstance(one, jax.core.Tracer) and _jaxpr.is_inexact(one) for one in program.consts]
    inputs = [one for one, moved in zip(program.consts, moves, strict=True) if moved]
    constants = [lax.stop_gradient(one) for one in inputs]

    def moving(vector: Tree, *inputs: Any) -> Tree:
        given = iter(inputs)
        whole = [next(given) if moved else one for one, moved in zip(program.consts, moves, strict=True)]
        leaves = jax.tree.leaves(jax.tree.map(_sharding.like, vector, point))
        multiply = _jaxpr.jaxpr_as_fun(_jaxpr.ClosedJaxpr(program.jaxpr, whole))
        return jax.tree.unflatten(jax.tree.structure(shapes), multiply(*leaves))

    return lambda vector: moving(vector, *constants), moving, inputs


def with_slopes(values: Array, left: Tree, right: Tree, moving: Callable[..., Tree], inputs: list[Any]) -> Array:
    """Return numbers that move by ``left . (dA) right`` where the matrix does, for stacks of as many trees.

    Args:
        values: Constants of differentiation, of shape ``(count,)``.
        left: A stack of constants.
        right: A stack of constants.
        moving: The product, and what it depends on, as `held` returns them.
        inputs: What the product depends on.
    """

    @jax.custom_jvp
    def attached(values: Array, _pairs: tuple[Tree, Tree], *_inputs: Any) -> Array:
        return values

    @attached.defjvp
    def slopes(primals: Any, tangents: Any) -> tuple[Array, Array]:
        values, pairs, *inputs = primals
        along = tuple(tangents[2:])

        def slope(pair: tuple[Tree, Tree]) -> Array:
            _, moved = jax.jvp(lambda *inputs: moving(pair[1], *inputs), tuple(inputs), along)
            return _tree.dot(pair[0], moved)

        return values, lax.map(slope, pairs).astype(values.dtype)

    return attached(values, (left, right), *inputs) if inputs else values
