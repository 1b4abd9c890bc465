"""What a loss of a model's outputs is asked for, and what outputs, labels, weights and samples it takes."""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Tree

__all__ = [
    "KINDS",
    "NAMES",
    "Kind",
    "are_classes",
    "check_draws",
    "checked",
    "checked_outputs",
    "checked_samples",
    "labels_of",
    "weights_of",
]

NAMES = ("squared_error", "softmax_cross_entropy", "bernoulli")
"""The losses with a closed form."""

Kind = Literal["exact", "mc", "empirical"]
"""Whose labels the gradients are taken with: the model's own, all or some, or those of the data."""

KINDS: tuple[str, ...] = get_args(Kind)


def check_draws(kind: str, key: Any, num_samples: Any, samples: Any) -> None:
    """Refuse what labels are drawn with where none are drawn, and its absence where some are.

    Raises:
        ValueError: If there is too much of it or too little.
        TypeError: If ``key`` is no random key, or ``num_samples`` no Python integer.
    """
    given = {"key": key, "num_samples": num_samples, "samples": samples}
    named = [name for name, value in given.items() if value is not None]
    if kind != "mc" and named:
        message = f'{named[0]} belongs to kind="mc"; kind="{kind}" draws nothing: leave it out'
        raise ValueError(message)
    if kind == "mc" and (key is None) == (samples is None):
        message = 'kind="mc" takes a key=, with which labels are drawn, or the drawn labels as samples=, one of the two'
        raise ValueError(message)
    if samples is not None and num_samples is not None:
        message = "num_samples belongs to key=; samples= holds as many labels as it has: leave num_samples out"
        raise ValueError(message)
    if key is not None:
        _check.key(key, "key")
    if num_samples is not None:
        _check.count(num_samples, "num_samples", least=1)


def checked(output_loss: Any) -> None:
    """Refuse what is neither a name of a loss nor a function.

    Raises:
        ValueError: If it is another word.
        TypeError: If it is something else.
    """
    if isinstance(output_loss, str):
        _check.choice(output_loss, "output_loss", NAMES)
    elif not callable(output_loss):
        names = ", ".join(map(repr, NAMES))
        message = (
            f"output_loss must be one of {names}, or a function output_loss(outputs, *targets) -> (); got"
            f" {_check.describe(output_loss)}"
        )
        raise TypeError(message)


def checked_outputs(output_loss: Any, outputs: Tree) -> Tree:
    """Return the outputs, refused unless they are one array with examples along its first axis, for a loss by name.

    Raises:
        TypeError: If an output is no real floating-point array, or a loss by name gets no array.
        ValueError: If a loss by name gets an array without an axis of examples.
    """
    if callable(output_loss):
        arrays = jax.tree.map(jnp.asarray, outputs)
        _check.floating(**{"the outputs of model_fn": arrays})
        return arrays
    return _one_array(outputs, output_loss)


def _one_array(outputs: Tree, name: str) -> Array:
    """Return the outputs as one array."""
    if isinstance(outputs, tuple | list | dict) or outputs is None:
        message = (
            f'model_fn must return one array of outputs for output_loss="{name}"; got a {type(outputs).__name__}:'
            " return the outputs alone, or pass has_aux=True with a model that returns the pair (outputs, aux)"
        )
        raise TypeError(message)
    array = jnp.asarray(outputs)
    _check.floating(**{"the output of model_fn": array})
    if array.ndim < 2:
        message = (
            f'output_loss="{name}" takes outputs of shape (examples, ..., outputs); model_fn returned'
            f" {_check.describe(array)}: write outputs[:, None] where an example has one output, and hand in a whole"
            " batch"
        )
        raise ValueError(message)
    return array


def checked_samples(name: str, outputs: Any, samples: Any) -> Array:
    """Return labels that were drawn for some outputs, along a new leading axis, after a look at shape and dtype.

    Raises:
        ValueError: If they have another shape.
        TypeError: If class numbers are no integers.
    """
    samples, classes = jnp.asarray(samples), name == "softmax_cross_entropy"
    shape = outputs.shape[:-1] if classes else outputs.shape
    if samples.ndim == 0 or samples.shape[1:] != shape or samples.shape[0] == 0:
        wanted = ",".join(map(str, ("samples", *shape)))
        message = f"samples must have the shape [{wanted}]; got {_check.describe(samples)}"
        raise ValueError(message)
    if classes and not jnp.issubdtype(samples.dtype, jnp.integer):
        message = f"samples must be class numbers, integers; got {_check.describe(samples)}"
        raise TypeError(message)
    return samples if classes else samples.astype(_tree.accumulator(outputs.dtype))


def labels_of(name: str, outputs: Array, labels: Any) -> Array:
    """Return the labels as the closed form takes them.

    Raises:
        TypeError: If they are no numbers, or class numbers are no integers.
        ValueError: If their shape is another.
    """
    if isinstance(labels, tuple | list | dict) or labels is None:
        kind = "None" if labels is None else f"a {type(labels).__name__}"
        message = f'the labels of output_loss="{name}" must be one array; got {kind}'
        raise TypeError(message)
    array = jnp.asarray(labels)
    shown, wanted = _check.describe(array), ",".join(map(str, outputs.shape))
    kept = _tree.accumulator(outputs.dtype)
    if name == "softmax_cross_entropy" and array.shape == outputs.shape[:-1]:
        if jnp.issubdtype(array.dtype, jnp.integer):
            return array
        message = (
            f'the labels of output_loss="{name}" are class numbers where they have the shape of the outputs without the'
            f" last axis, and must be integers; got {shown}: write labels.astype(jnp.int32), or give distributions of"
            f" shape [{wanted}]"
        )
        raise TypeError(message)
    if array.shape != outputs.shape:
        classes = f", or class numbers of shape [{','.join(map(str, outputs.shape[:-1]))}]"
        message = (
            f'the labels of output_loss="{name}" must have the shape of the outputs, [{wanted}]'
            f"{classes if name == 'softmax_cross_entropy' else ''}; got {shown}: nothing is broadcast"
        )
        raise ValueError(message)
    _check.numbers_like(array, "the labels", outputs)
    return array.astype(kept)


def weights_of(outputs: Array, weights: Any, kept: Any) -> Array:
    """Return the weight of every position, with a last axis of length 1; without weights the loss is a mean.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If their shape is that of no leading axes of the outputs.
    """
    positions = outputs.shape[:-1]
    if weights is None:
        return jnp.full((1,) * outputs.ndim, 1 / max(1, math.prod(positions)), kept)
    array = jnp.asarray(weights)
    if array.ndim == 0 or array.shape != positions[: array.ndim]:
        message = (
            "weights must have the leading axes of the outputs, one for each example, of shape"
            f" [{positions[0]}], or for each position, of shape [{','.join(map(str, positions))}]; got"
            f" {_check.describe(array)}"
        )
        raise ValueError(message)
    _check.numbers_like(array, "weights", outputs)
    # an example's weight is that of the mean over its positions
    rest = positions[array.ndim :]
    spread = array.astype(kept) / max(1, math.prod(rest))
    return jnp.broadcast_to(spread.reshape(array.shape + (1,) * len(rest)), positions)[..., None]


def are_classes(labels: Array) -> bool:
    """Say whether labels are class numbers."""
    return bool(jnp.issubdtype(labels.dtype, jnp.integer))
