"""The network of a fit as a field, and its numbers by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import _tree, inr, models
from jaxgrad._natural import natural
from jaxgrad.fit._settings import Settings, edges
from jaxgrad.verify import CannotRun
from jaxgrad.verify._errors import first_line

__all__ = ["Field", "Sampler", "field_of", "hidden_kernels", "make_field", "named", "pixel_points"]

MODULES = {
    "siren": "Siren",
    "fourier": "FourierFeatures",
    "relu": "PositionalReLU",
    "gaussian": "GaussianField",
    "wire": "Wire",
    "finer": "Finer",
    "staf": "Staf",
    "hash": "HashGrid",
    "spline": "SplineGrid",
}
"""The networks of `jaxgrad.models.linen`, by what the command calls them."""

CHUNK = 2**14
"""Points that are evaluated at once: a layer of 256 units then takes 16 MiB."""


class Field(NamedTuple):
    """A network as a field."""

    field_fn: Callable[[Any, Any], Any]
    """``field_fn(params, points) -> values``."""
    params: Any
    """What is trained."""
    constants: Any
    """What is drawn once and saved: random frequencies."""


def make_field(settings: Settings, channels: int, key: Any) -> Field:
    """Return the network of some settings with its first numbers."""
    module = _module(settings, channels, settings.network())
    variables = module.init(key, jnp.zeros((1, 2), jnp.float32))
    return _as_field(module, _plain(variables))


def field_of(settings: Settings, channels: int, arrays: Mapping[str, Any], network: Mapping[str, Any]) -> Field:
    """Return the network of some settings with the numbers that `named` gave.

    Args:
        settings: What was fitted.
        channels: Of the picture.
        arrays: The numbers by name.
        network: The options that the network had when it was fitted: those of this version may be others, and would
            make another picture of the same numbers.

    Raises:
        CannotRun: If they are those of another network, or the network has other options by now.
    """
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in network.items()}
    try:
        module = _module(settings, channels, options)
        like = jax.eval_shape(lambda: _plain(module.init(jax.random.key(0), jnp.zeros((1, 2), jnp.float32))))
    except (TypeError, ValueError) as error:
        message = f"the weights are those of {settings.model} in another version of jaxgrad: {first_line(error)}"
        raise CannotRun(message) from error
    wanted = dict(zip(_tree.leaf_paths(like), jax.tree.leaves(like), strict=True))
    for name in sorted({*wanted, *arrays}, key=natural):
        here = f"{arrays[name].shape}" if name in arrays else "nothing"
        there = f"{wanted[name].shape}" if name in wanted else "nothing"
        if here == there and arrays[name].dtype != wanted[name].dtype:
            here, there = (str(array.dtype) for array in (arrays[name], wanted[name]))
        if here != there:
            message = f"the weights are those of another model: {name} is {here}, and {settings.model} has {there}"
            raise CannotRun(message)
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    return _as_field(module, jax.tree.unflatten(jax.tree.structure(like), leaves))


def named(params: Any, constants: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return every array of a field by its path, contiguous, as safetensors must have them."""
    whole = {"params": params, **constants}
    arrays = (np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(whole))
    return dict(zip(_tree.leaf_paths(whole), arrays, strict=True))


def _module(settings: Settings, channels: int, options: Mapping[str, Any]) -> Any:
    """Return the module of some settings, with the options of its network."""
    kind = getattr(models.linen, MODULES[settings.model])
    # a hash grid's own ReLUs have no second derivative
    smooth = {"activation": jax.nn.gelu} if settings.model == "hash" else {}
    return kind(sizes=(2, *[settings.width] * settings.layers, channels), **smooth, **options)


def _plain(variables: Any) -> dict[str, Any]:
    """Return the variables of a module as plain dictionaries."""
    return {name: jax.tree.map(lambda leaf: leaf, dict(part)) for name, part in dict(variables).items()}


def _as_field(module: Any, variables: dict[str, Any]) -> Field:
    """Return a module as a function of what is trained."""
    constants = {name: part for name, part in variables.items() if name != "params"}
    apply_fn, params = models.from_linen(module, variables=variables)
    return Field(apply_fn, params, constants)


def hidden_kernels(params: Any) -> Any:
    """Return a tree of booleans: true for the matrices between the first and the last layer.

    Those are what Muon makes orthogonal; the first layer holds frequencies and the last one colours, which Adam takes,
    as it takes biases and tables.
    """
    paths = _tree.leaf_paths(params)
    layers = sorted({_layer(path) for path in paths if path.endswith("kernel")}, key=natural)
    inner = set(layers[1:-1])
    leaves = [path.endswith("kernel") and _layer(path) in inner for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _layer(path: str) -> str:
    """Return the layer that a leaf belongs to; two kernels of a complex layer belong to one."""
    return path.split("/")[0]


def pixel_points(size: tuple[int, int], fitted: tuple[int, int], rows: slice = slice(None)) -> np.ndarray[Any, Any]:
    """Return the centres of the pixels of a picture of any size over the area of the fitted one, row by row.

    The fitted picture's first and last centres lie at -1 and 1, so its edges at half a pixel beyond: those are what
    the two sizes share. Of shape ``(H * W, 2)``, x first.
    """
    x, y = (
        edge * ((2 * np.arange(count) + 1) / count - 1)
        for edge, count in zip(edges(fitted), reversed(size), strict=True)
    )
    return np.stack(np.meshgrid(x, y[rows]), axis=-1).reshape(-1, 2).astype(np.float32)


class Sampler:
    """A field at the pixels of a picture of any size, some rows at a time."""

    def __init__(self, field: Field, fitted: tuple[int, int], size: tuple[int, int] | None = None) -> None:
        """Take the size of the picture that was fitted, and that of the picture to make, where it is another."""
        self._size, self._fitted = size or fitted, fitted
        self._channels = jax.eval_shape(field.field_fn, field.params, jnp.zeros((1, 2), jnp.float32)).shape[-1]

        def slopes(params: Any, points: Any) -> Any:
            return inr.coordinate_derivatives(field.field_fn, params, points).jacobian

        # these programs go with this object
        self._values, self._slopes = jax.jit(field.field_fn), jax.jit(slopes)  # noqa: TID251

    def values(self, params: Any) -> np.ndarray[Any, Any]:
        """Return the picture, ``(H, W, C)``."""
        return self._rows(self._values, params).reshape(*self._size, self._channels)

    def gradient(self, params: Any) -> np.ndarray[Any, Any]:
        """Return its derivatives by x and by y, ``(H, W, C, 2)``, per unit of the fitted picture's coordinates."""
        return self._rows(self._slopes, params).reshape(*self._size, self._channels, 2)

    def psnr(self, params: Any, reference: Any, align: Any) -> float:
        """Return the ratio of the picture to a reference of the same size."""
        return float(inr.psnr(jnp.asarray(self.values(params)), jnp.asarray(reference, jnp.float32), align=align))

    def _rows(self, at_points: Callable[[Any, Any], Any], params: Any) -> np.ndarray[Any, Any]:
        """Evaluate a compiled function row by row, as many rows at once as make a chunk."""
        rows, columns = self._size
        together = max(1, CHUNK // columns)
        starts = range(0, rows, together)
        points = (pixel_points(self._size, self._fitted, slice(start, start + together)) for start in starts)
        return np.concatenate([np.asarray(at_points(params, part)) for part in points])
