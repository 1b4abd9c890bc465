"""Checks of structure, shape and dtype, made while a function is traced, and their messages.

No check looks at a traced value. A message names the argument and the path of every leaf that is wrong, says what
was found, what was expected, and what to write instead.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from jaxgrad import _jaxpr
from jaxgrad._types import Tree

__all__ = [
    "batch",
    "choice",
    "complain",
    "count",
    "differentiable",
    "floating",
    "is_complex",
    "is_real_float",
    "key",
    "mirrors",
    "moving",
    "number",
    "numbers_like",
    "optimizer",
    "pair",
    "positive",
    "real_scalar",
    "same_arrays",
    "same_leading",
    "scalar_loss",
    "share",
    "state",
]


def x64_is_on() -> bool:
    """Say whether JAX keeps float64."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def describe(leaf: Any) -> str:
    """Return a leaf's dtype and shape, ``float32[3,4]``, or its Python type."""
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        # NumPy calls float0 by what it is made of
        name = "float0" if leaf.dtype == jax.dtypes.float0 else leaf.dtype
        return f"{name}[{','.join(map(str, leaf.shape))}]"
    return f"a {type(leaf).__name__}"


def locate(name: str, path: Any) -> str:
    """Return the path of a leaf below an argument: ``params['dense']['kernel']``."""
    return f"{name}{jtu.keystr(path)}"


def complain(error: type[Exception], headline: str, lines: list[str]) -> None:
    """Raise one error that lists every wrong leaf, a line each, where there is one."""
    if lines:
        message = "\n  ".join([headline, *lines])
        raise error(message)


def differentiable(**trees: Tree) -> None:
    """Refuse trees without a leaf, and leaves that have no derivative.

    Raises:
        TypeError: If a leaf is an integer, a bool, a random key, complex, 8 bits wide or no array at all.
        ValueError: If a tree has no leaf.
    """
    advice = "is differentiated, so its leaves must be {}; hold the others with wrt=, or pass them in the data:"
    _refuse_all_but_floats(trees, advice)


def floating(**trees: Tree) -> None:
    """Refuse trees without a leaf, and leaves that are no real floating-point numbers.

    Raises:
        TypeError: If a leaf is an integer, a bool, a random key, complex, 8 bits wide or no array at all.
        ValueError: If a tree has no leaf.
    """
    _refuse_all_but_floats(trees, "must have leaves that are {}:")


def moving(*, complex_too: bool = False, **trees: Tree) -> None:
    """Refuse a point of a function of arrays that cannot move along a line.

    Raises:
        TypeError: If a leaf is an integer, a bool, a random key, 8 bits wide or no array at all, or is complex where
            complex numbers are not taken.
        ValueError: If a tree has no leaf.
    """
    advice = "moves, so its leaves must be {}; write 1.0 in place of 1, and pass what stays through the data:"
    _refuse_all_but_floats(trees, advice, complex_too)


def _refuse_all_but_floats(trees: dict[str, Tree], requirement: str, complex_too: bool = False) -> None:
    """Raise with every leaf that is no floating-point array, or with the tree that has no leaf."""
    kinds = f"real {'or complex ' * complex_too}floating-point arrays of 16 bits or more"
    for name, tree in trees.items():
        leaves = jtu.tree_leaves_with_path(tree)
        if not leaves:
            message = f"{name} has no differentiable leaves: it is an empty tree ({jax.tree.structure(tree)})"
            raise ValueError(message)
        wrong = [
            f"{locate(name, path)}: got {describe(leaf)}"
            for path, leaf in leaves
            if not (is_real_float(leaf) or (complex_too and is_complex(leaf)))
        ]
        complain(TypeError, f"{name} {requirement.format(kinds)}", wrong)


def is_complex(leaf: Any) -> bool:
    """Say whether a leaf is a complex array or number."""
    return isinstance(leaf, complex) or jnp.issubdtype(getattr(leaf, "dtype", np.int32), jnp.complexfloating)


def is_real_float(leaf: Any) -> bool:
    """Say whether a leaf is a real floating-point array or number, 16 bits or wider."""
    if isinstance(leaf, bool | int | complex | str | bytes):
        return False
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float)
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize > 1


def mirrors(**trees: Tree) -> None:
    """Refuse a tree that does not have the structure, shapes and dtypes of the first one.

    Raises:
        ValueError: With every leaf that is missing, not expected, or of another shape or dtype.
    """
    (expected_name, expected), *others = trees.items()
    wanted = dict(jtu.tree_leaves_with_path(expected))
    for name, tree in others:
        found = dict(jtu.tree_leaves_with_path(tree))
        wrong = [
            f"{locate(name, path)}: got {describe(found[path]) if path in found else 'nothing'},"
            f" expected {describe(leaf)}"
            for path, leaf in wanted.items()
            if path not in found or _signature(found[path]) != _signature(leaf)
        ]
        wrong += [
            f"{locate(name, p)}: got {describe(x)}, expected nothing" for p, x in found.items() if p not in wanted
        ]
        complain(ValueError, f"{name} must have the structure, shapes and dtypes of {expected_name}:", wrong)
        if str(jax.tree.structure(tree)) != str(jax.tree.structure(expected)):
            got, want = jax.tree.structure(tree), jax.tree.structure(expected)
            message = f"{name} must have the structure of {expected_name}: got {got}, expected {want}"
            raise ValueError(message)


def _signature(leaf: Any) -> tuple[Any, ...]:
    """Return what two leaves must share to be combined: shape and dtype, or the type of what is no array."""
    if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
        return (type(leaf),)
    return jnp.shape(leaf), jnp.result_type(leaf)


def real_scalar(out: Any, name: str = "loss_fn") -> Any:
    """Return ``out`` as it is, after refusing what is not one real number.

    Raises:
        TypeError: If ``out`` is no array, an integer, a bool or complex.
        ValueError: If ``out`` has a shape other than ``()``.
    """
    if isinstance(out, tuple | list | dict) or out is None or not hasattr(jnp.asarray(out), "dtype"):
        kind = "None" if out is None else f"a {type(out).__name__}"
        message = f"{name} must return one real scalar; got {kind}: return the loss alone"
        if isinstance(out, tuple):
            message += ", or pass has_aux=True with a loss that returns the pair (loss, aux)"
        raise TypeError(message)
    if jnp.shape(out) != ():
        advice = (
            "drop its axes with .squeeze()"
            if jnp.size(out) == 1
            else "reduce it with .mean() or .sum(), or ask for a Jacobian"
        )
        message = f"{name} must return a scalar, an array of shape (); got {describe(jnp.asarray(out))}: {advice}"
        raise ValueError(message)
    if not jnp.issubdtype(jnp.result_type(out), jnp.floating):
        message = f"{name} must return a real floating-point scalar; got {describe(jnp.asarray(out))}"
        raise TypeError(message)
    return out


def pair(
    out: Any, name: str = "loss_fn", expected: str = "the pair (loss, aux), since has_aux=True"
) -> tuple[Any, Any]:
    """Return ``out`` as it is, after refusing what is no pair.

    Raises:
        TypeError: If ``out`` is no tuple of two.
    """
    if not isinstance(out, tuple) or len(out) != 2:
        kind = f"a tuple of {len(out)}" if isinstance(out, tuple) else describe(out)
        message = f"{name} must return {expected}; got {kind}"
        raise TypeError(message)
    return out


def scalar_loss(loss_fn: Callable[..., Any], name: str = "loss_fn", has_aux: bool = False) -> Callable[..., Any]:
    """Return ``loss_fn`` with its result, or the first of the pair that it returns, checked by `real_scalar`."""

    def checked(params: Any, *data: Any) -> Any:
        out = loss_fn(params, *data)
        if not has_aux:
            return real_scalar(out, name)
        value, aux = pair(out, name)
        return real_scalar(value, name), aux

    return checked


def count(value: Any, name: str, *, least: int = 0, most: int | None = None, advice: str = "") -> int:
    """Return a static whole number, such as an order or a number of steps.

    Raises:
        TypeError: If it is no Python integer (a bool, a float or a traced value).
        ValueError: If it lies outside ``least`` to ``most``.
    """
    try:
        number = None if isinstance(value, bool | np.bool_ | jax.core.Tracer) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        message = f"{name} must be a Python integer that is known when the function is traced; got {value!r}"
        raise TypeError(message)
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        message = f"{name} must be {limits}; got {number}{advice and '. '}{advice}"
        raise ValueError(message)
    return number


def optimizer(value: Any, name: str = "optimizer") -> Any:
    """Return an optax transformation, after refusing what is none.

    Raises:
        TypeError: If it has no functions ``init`` and ``update``.
    """
    if not all(callable(getattr(value, name, None)) for name in ("init", "update")):
        message = (
            f"{name} must be an optax transformation, with init and update, such as optax.sgd(1e-2);"
            f" got {describe(value)}"
        )
        raise TypeError(message)
    return value


def state(value: Any, kind: type, init: str) -> None:
    """Refuse what is no state of a kind, such as that of another method.

    Raises:
        TypeError: If it is of another type.
    """
    if not isinstance(value, kind):
        message = f"state must be the {kind.__name__} that {init} or the last step returned; got {describe(value)}"
        raise TypeError(message)


def choice(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse an option that is not one of the allowed words.

    Raises:
        ValueError: With the allowed words.
    """
    if value not in allowed:
        message = f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}"
        raise ValueError(message)


def same_arrays(tree: Tree, other: Tree) -> bool:
    """Say whether a tree holds the very arrays of another, as far as that can be told.

    Values are not known in a trace. An array that was computed there is another; of one that came in from outside it
    cannot be told: ``jax.jit(update)(params, state, params)`` is given the same arrays, and makes two tracers of each.
    """
    mine, others = jax.tree.leaves(tree), jax.tree.leaves(other)
    return len(mine) == len(others) and all(
        a is b or (_jaxpr.is_argument(a) and jnp.shape(a) == jnp.shape(b)) for a, b in zip(mine, others, strict=True)
    )


def number(value: Any, name: str) -> None:
    """Refuse what is not one real number: a Python number, or an array of shape ``()``, traced or not.

    Raises:
        TypeError: If it is no number, a bool or complex.
        ValueError: If it is an array with axes.
    """
    kind = jnp.result_type(value) if isinstance(value, int | float | np.generic | np.ndarray | jax.Array) else None
    if kind is None or not (jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer)):
        message = f"{name} must be a real number; got {describe(value)}"
        raise TypeError(message)
    if jnp.shape(value) != ():
        message = f"{name} must be one number, of shape (); got {describe(value)}"
        raise ValueError(message)


def key(value: Any, name: str) -> None:
    """Refuse what is not one random key: a typed one of shape ``()``, or the raw words of one.

    Raises:
        TypeError: If it is a number, several keys or anything else.
    """
    kind, axes = getattr(value, "dtype", None), jnp.ndim(value) if isinstance(value, jax.Array | np.ndarray) else -1
    typed = kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key)
    if not ((typed and axes == 0) or (kind == np.uint32 and axes == 1)):
        message = f"{name} must be one random key, such as jax.random.key(0); got {describe(value)}"
        raise TypeError(message)


def numbers_like(value: Any, name: str, like: Any) -> None:
    """Refuse coefficients that cannot be taken in the dtype of another array; integers and bools can.

    Raises:
        TypeError: If a leaf is no number (a float0, a random key), or complex where the other is real.
    """
    wanted = jnp.complexfloating if jnp.issubdtype(jnp.result_type(like), jnp.complexfloating) else jnp.floating
    kinds = (wanted, jnp.floating, jnp.integer, jnp.bool_)
    wrong = []
    for path, leaf in jtu.tree_leaves_with_path(value):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.result_type(type(leaf))
        if dtype == jax.dtypes.float0 or not any(jnp.issubdtype(dtype, kind) for kind in kinds):
            wrong.append(f"{locate(name, path)}: got {describe(leaf)}")
    of = "complex" if wanted is jnp.complexfloating else "real"
    complain(TypeError, f"{name} must hold {of} numbers, to be taken in {jnp.result_type(like)}:", wrong)


def non_negative(value: Any, name: str) -> None:
    """Refuse a number below zero, or NaN, alone or in a tree: Python's or NumPy's; one of JAX passes unseen.

    Raises:
        ValueError: If a number is negative or NaN.
    """
    if type(value) in (int, float) and value >= 0:
        return  # a direct call asks at every turn
    for path, number in jtu.tree_leaves_with_path(value):
        of_numpy = isinstance(number, np.number | np.ndarray) and number.ndim == 0
        if (of_numpy or isinstance(number, int | float)) and not number >= 0:
            message = f"{locate(name, path)} must not be negative or NaN; got {number!r}"
            raise ValueError(message)


def positive(value: Any, name: str) -> None:
    """Refuse a number that is not above zero, alone or in a tree: Python's or NumPy's; one of JAX passes unseen.

    Raises:
        ValueError: If a number is negative, zero or NaN.
    """
    non_negative(value, name)
    for path, number in jtu.tree_leaves_with_path(value):
        of_numpy = isinstance(number, np.number | np.ndarray) and number.ndim == 0
        if (of_numpy or isinstance(number, int | float)) and number == 0:
            message = f"{locate(name, path)} must be positive; got {number!r}"
            raise ValueError(message)


def share(value: Any, name: str, *, below_one: bool = False) -> None:
    """Refuse a number that does not lie from 0 to 1, alone or in a tree: Python's or NumPy's; one of JAX passes unseen.

    Args:
        value: The number, such as the decay of a running mean.
        name: What the caller's argument is called.
        below_one: Whether 1 is refused too.

    Raises:
        ValueError: If a number is negative, NaN, above 1, or 1 where it must be below.
    """
    non_negative(value, name)
    for path, number in jtu.tree_leaves_with_path(value):
        of_numpy = isinstance(number, np.number | np.ndarray) and number.ndim == 0
        if (of_numpy or isinstance(number, int | float)) and (number > 1 or (below_one and number == 1)):
            message = f"{locate(name, path)} must be from 0 to {'below ' * below_one}1; got {number!r}"
            raise ValueError(message)


def same_leading(**trees: Tree) -> int:
    """Return the length of the leading axis that every leaf of every tree shares.

    Raises:
        ValueError: If a leaf has no axes, the lengths differ, or there is no leaf.
    """
    leaves = [
        (locate(name, path), leaf) for name, tree in trees.items() for path, leaf in jtu.tree_leaves_with_path(tree)
    ]
    shapes = [(where, leaf, jnp.shape(leaf)) for where, leaf in leaves]
    if not shapes:
        message = f"{', '.join(trees) or 'the batch'} must have at least one array with a leading axis"
        raise ValueError(message)
    lengths = {shape[0] for _, _, shape in shapes if shape}
    if len(lengths) > 1 or any(not shape for _, _, shape in shapes):
        complain(
            ValueError,
            "every leaf must have the same leading axis:",
            [f"{where}: got {describe(leaf)}" for where, leaf, _ in shapes],
        )
    return lengths.pop()


def batch(data: tuple[Tree, ...], *, allow_empty: bool = False) -> int:
    """Return the batch size of positional data, which lies along the leading axis of every leaf.

    Raises:
        ValueError: If the axes are ragged, missing, or (where it matters) of length zero.
    """
    size = same_leading(**{f"batch[{i}]": tree for i, tree in enumerate(data)})
    if size == 0 and not allow_empty:
        message = "the batch is empty: its leading axis has length 0, and a mean over no example is undefined"
        raise ValueError(message)
    return size
