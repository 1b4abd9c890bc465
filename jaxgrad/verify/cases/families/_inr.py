"""Cases I: a network as a picture, fitted by its colours and by their derivatives."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrad import inr
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._siren import siren_jax, siren_params, siren_torch

SIZE, STEPS = 64, 400
SIZES = (2, 64, 64, 3)
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.002, STEPS))
Method = Literal["central", "sobel", "spline", "spectral"]
LEAST_BY_VALUE, LEAST_BY_GRADIENT = 24.0, 20.0
"""PSNR in decibels that the fits must reach; the picture's own mean colour reaches about 11."""


@functools.cache
def photograph() -> np.ndarray:
    """Return scikit-image's astronaut, 64 x 64 pixels with values from 0 to 1, float64."""
    from skimage.data import astronaut
    from skimage.transform import resize

    return np.asarray(resize(astronaut(), (SIZE, SIZE), anti_aliasing=True), np.float64)


@case("I1", "The derivative of each colour by each coordinate")
def colours_by_coordinates(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A SIREN at a batch of points, against one backward pass a channel, and one more for each of its slopes."""
    import torch_ref.inr

    params, points = siren_params(SIZES, 0), np.random.default_rng(0).uniform(-1, 1, (32, 2))
    (p, x), (pt, xt) = to_jax((params, points), dtype), to_torch((params, points), dtype)
    return [
        Quantity(
            "32 points, 3 colours, 2 coordinates",
            lambda: inr.coordinate_derivatives(siren_jax, p, x).jacobian,
            lambda: torch_ref.inr.coordinate_derivatives(siren_torch, pt, xt)[1],
        ),
        Quantity(
            "their Laplacians",
            lambda: inr.coordinate_derivatives(siren_jax, p, x, second="laplacian").laplacian,
            lambda: torch_ref.inr.coordinate_derivatives(siren_torch, pt, xt, second="laplacian")[2],
        ),
    ]


@case("I2", "A photograph fitted by its values")
def fit_by_value(dtype: np.dtype) -> list[Quantity | Criterion]:
    """The loss and its gradient on the photograph, and the PSNR after a short training."""
    return [
        _loss_and_gradient("value", dtype),
        Criterion("PSNR of the fit", lambda: _psnr("value"), functools.partial(_draw, "value")),
    ]


@case("I3", "A photograph fitted by its derivatives")
def fit_by_gradient(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Targets by every method, one training step, and the PSNR once the constant is removed."""
    return [
        *[_targets(method, dtype) for method in ("central", "sobel", "spline", "spectral")],
        _loss_and_gradient("gradient", dtype),
        _training_step(dtype),
        Criterion("PSNR up to a constant", lambda: _psnr("gradient"), functools.partial(_draw, "gradient")),
    ]


@case("I4", "A step of fitting by derivatives lowers its own loss")
def step_lowers_loss(dtype: np.dtype) -> list[Quantity | Criterion]:
    """One step of gradient descent from the initial weights."""

    def measure() -> tuple[bool, str]:
        params, both, data = to_jax(siren_params(SIZES, 0), dtype), BOTH["gradient"], _data("gradient", dtype)
        before, gradient = both(params, *data)
        moved = jax.tree.map(lambda w, g: np.asarray(w) - np.asarray(g) / 1_000_000, params, gradient)
        after, _ = both(to_jax(moved), *data)
        return bool(after < before), f"from {before:.4f} to {after:.4f}"

    return [Criterion("the loss falls", measure)]


def _by_value(params: Any, points: Any, values: Any) -> Any:
    """Return the loss of the values."""
    return inr.value_loss(siren_jax, params, points, values)


def _by_gradient(params: Any, points: Any, gradients: Any) -> Any:
    """Return the loss of the derivatives."""
    return inr.gradient_loss(siren_jax, params, points, gradients)


LOSSES = {"value": _by_value, "gradient": _by_gradient}
BOTH = {kind: jax.jit(jax.value_and_grad(loss)) for kind, loss in LOSSES.items()}
"""The loss and its gradient, each compiled once for all cases."""


def _data(kind: str, dtype: Any) -> tuple[Any, Any]:
    """Return the points of the photograph, and the values or derivatives wanted there."""
    targets = inr.image_targets(to_jax(photograph(), dtype))
    return targets.points, targets.values if kind == "value" else targets.gradients


def _targets(method: Method, dtype: np.dtype) -> Quantity:
    """Compare the targets of the photograph with a loop over its pixels, or over the whole field at each."""
    return Quantity(
        f"targets, {method}",
        lambda: tuple(inr.image_targets(to_jax(_image(method), dtype), method=method)),
        lambda: _torch_targets(method, dtype),
    )


def _image(method: str) -> np.ndarray:
    """Return the photograph, but for central differences every other pixel: the loops are slow."""
    return photograph() if method == "central" else photograph()[::2, ::2]


@functools.cache
def _torch_targets(method: Method, dtype: np.dtype) -> Any:
    """Return torch's points, values and derivatives from a loop over the pixels, made once."""
    import torch_ref.inr

    return torch_ref.inr.image_targets(to_torch(_image(method), dtype), method=method)


def _torch_gradient(kind: str, dtype: np.dtype) -> tuple[Any, Any]:
    """Return torch's loss and gradient at the initial weights, its targets from its own loop over pixels."""
    import torch
    from torch.utils import _pytree as pytree

    import torch_ref.inr

    points, values, gradients, _ = _torch_targets("central", dtype)
    leaves, structure = pytree.tree_flatten(to_torch(siren_params(SIZES, 0), dtype))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    params = pytree.tree_unflatten(leaves, structure)
    if kind == "value":
        loss = torch_ref.inr.value_loss(siren_torch, params, points, values)
    else:
        loss = torch_ref.inr.gradient_loss(siren_torch, params, points, gradients)
    gradient = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return loss.detach(), pytree.tree_unflatten(gradient, structure)


def _loss_and_gradient(kind: str, dtype: np.dtype) -> Quantity:
    """Compare the loss on the photograph and its gradient by the weights."""
    params, data = to_jax(siren_params(SIZES, 0), dtype), _data(kind, dtype)
    return Quantity("loss and its gradient", lambda: BOTH[kind](params, *data), lambda: _torch_gradient(kind, dtype))


def _training_step(dtype: np.dtype) -> Quantity:
    """Compare the weights after one step of Adam.

    Adam divides by the size of the gradient; its usual epsilon would turn rounding about zero into whole steps.
    """
    import torch

    params, data, optimizer = (
        to_jax(siren_params(SIZES, 0), dtype),
        _data("gradient", dtype),
        optax.adam(0.0001, eps=1e-3),
    )

    @jax.jit
    def moved(params: Any, gradient: Any) -> Any:
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        return optax.apply_updates(params, updates)

    def step() -> Any:
        return moved(params, BOTH["gradient"](params, *data)[1])

    def step_torch() -> Any:
        moved = to_torch(siren_params(SIZES, 0), dtype)
        _, gradient = _torch_gradient("gradient", dtype)
        leaves = jax.tree.leaves(moved)
        for leaf, slope in zip(leaves, jax.tree.leaves(gradient), strict=True):
            leaf.grad = slope
        torch.optim.Adam(leaves, lr=0.0001, eps=1e-3).step()
        return moved

    return Quantity("weights after a step of Adam", step, step_torch)


@functools.cache
def _fitted(kind: str) -> np.ndarray:
    """Train the network on the photograph in float32, and return its picture."""
    params, data = to_jax(siren_params(SIZES, 0), np.float32), _data(kind, np.float32)

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = OPTIMIZER.update(jax.grad(LOSSES[kind])(params, *data), state, params)
        return (optax.apply_updates(params, updates), state), None

    train = jax.jit(lambda params: jax.lax.scan(step, (params, OPTIMIZER.init(params)), length=STEPS)[0][0])
    return np.asarray(siren_jax(train(params), data[0])).reshape(SIZE, SIZE, 3)


def _psnr(kind: str) -> tuple[bool, str]:
    """Measure the fit: as it is by value, up to a constant and up to contrast by gradient."""
    image, reference = jnp.asarray(_fitted(kind), jnp.float32), jnp.asarray(photograph(), jnp.float32)
    plain, mean, affine = (float(inr.psnr(image, reference, align=a)) for a in ("none", "mean", "affine"))
    if kind == "value":
        return plain >= LEAST_BY_VALUE, f"{plain:.1f} dB after {STEPS} steps (at least {LEAST_BY_VALUE:.0f})"
    words = f"{mean:.1f} dB after {STEPS} steps (at least {LEAST_BY_GRADIENT:.0f}); {affine:.1f} with contrast fitted"
    return mean >= LEAST_BY_GRADIENT, words


def _draw(kind: str, figure: Any) -> None:
    """Show the photograph and the fit side by side, the fit by derivatives with its constant removed."""
    reference, image = photograph(), _fitted(kind)
    if kind == "gradient":
        image = image - image.mean((0, 1)) + reference.mean((0, 1))
    titles = ("photograph", f"fitted by {kind}")
    for axes, picture, title in zip(figure.subplots(1, 2), (reference, image), titles, strict=True):
        axes.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
