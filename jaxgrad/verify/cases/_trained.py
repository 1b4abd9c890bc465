"""Networks trained for a moment on scikit-learn's digits: real input, and weights that nobody drew for the purpose."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx as flax_nnx

from jaxgrad import models
from jaxgrad.models import linen, nnx
from jaxgrad.verify._bridge import to_jax, to_torch

__all__ = ["Network", "cnn", "digits", "mlp"]

TRAINING, STEPS, BATCH, HELD_OUT = 512, 100, 64, 16


@dataclass(frozen=True, eq=False)
class Network:
    """One trained network in Flax and in torch. Its functions are made once in a process, so they trace once."""

    params: Any
    """The trained parameters, float64 NumPy arrays in the tree of the Flax module."""
    params_torch: dict[str, np.ndarray]
    """The same by torch's names."""
    mapping: models.Mapping
    """Between the two: ``mapping.gradients_to_jax(...)`` brings torch's answers into the tree of ``params``."""
    twin: Any
    """The torch module, untouched, in float64 and with its initial weights."""
    apply_fn: Callable[..., Any]
    """``apply_fn(params, images) -> logits`` of the Flax module."""
    apply_torch: Callable[..., Any]
    """``apply_torch(params_torch, images)``, by ``torch.func.functional_call``; takes images as Flax does."""
    loss: Callable[..., Any]
    """``loss(params, images, labels)``, the mean cross-entropy; traced once, since it is made once."""
    loss_torch: Callable[..., Any]
    """The same in torch."""
    images: np.ndarray
    """A batch of real images that training did not see, float64."""
    labels: np.ndarray
    """Their labels."""
    accuracy: float
    """The share of all images that training did not see which the network tells right."""

    def cast(self, dtype: Any) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
        """Return parameters, images and labels for JAX and for torch in one dtype."""
        ours = to_jax((self.params, self.images, self.labels), dtype)
        theirs = to_torch((self.params_torch, self.images, self.labels.astype(np.int64)), dtype)
        return ours, theirs

    def one(self, params: Any, image: Any, label: Any) -> Any:
        """Return the loss of one example in JAX; the network is given a batch of one."""
        return self.loss(params, image[None], label[None])

    def one_torch(self, params: Any, image: Any, label: Any) -> Any:
        """Return the loss of one example in torch."""
        return self.loss_torch(params, image[None], label[None])


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the 1797 images, shape ``(1797, 8, 8, 1)`` with values from 0 to 1 in float64, and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return (found.images[order] / 16)[..., None], found.target[order].astype(np.int32)


@functools.cache
def mlp(api: str = "linen") -> Network:
    """Return a tanh network 64-32-32-10, trained for 100 steps; ``api`` is ``"linen"`` or ``"nnx"``."""
    import torch_ref.models

    sizes, images = (64, 32, 32, 10), digits()[0].reshape(-1, 64)
    if api == "nnx":
        abstract = flax_nnx.eval_shape(lambda: nnx.MLP(sizes, param_dtype=jnp.float64, rngs=flax_nnx.Rngs(0)))
        return _pair(models.from_nnx(abstract), mlp().twin, images, mlp().params_torch)
    return _trained(linen.MLP(sizes, param_dtype=jnp.float64), lambda: torch_ref.models.MLP(sizes), images)


@functools.cache
def cnn(api: str = "linen") -> Network:
    """Return a convolutional network with group normalisation, trained for 100 steps."""
    import torch_ref.models

    sizes: dict[str, Any] = {"channels": (4, 8), "groups": 2}
    hints, images = {"flattened": {"head": (8, 4, 4)}}, digits()[0]
    if api == "nnx":
        sizes |= {"param_dtype": jnp.float64}
        abstract = flax_nnx.eval_shape(lambda: nnx.GroupNormCNN(**sizes, rngs=flax_nnx.Rngs(0)))
        return _pair(models.from_nnx(abstract), cnn().twin, images, cnn().params_torch, hints)
    module = linen.GroupNormCNN(**sizes, param_dtype=jnp.float64)
    return _trained(module, lambda: torch_ref.models.GroupNormCNN(**sizes), images, hints)


def _trained(module: Any, make_twin: Callable[[], Any], images: np.ndarray, hints: Any = None) -> Network:
    """Train a linen network from the initial weights of its twin, and pair the two."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        twin = make_twin().double().eval()
    with jax.numpy_dtype_promotion("standard"):
        shapes = jax.eval_shape(module.init, jax.random.key(0), images[:1])
    mapping = models.mapping_for(twin, shapes["params"], **(hints or {}))
    model = models.from_linen(module, variables={"params": mapping.to_jax(twin.state_dict())})
    return _pair(model, twin, images, _train(twin, images[:TRAINING], digits()[1][:TRAINING]), hints)


def _pair(
    model: models.Model, twin: Any, images: np.ndarray, weights: dict[str, np.ndarray], hints: Any = None
) -> Network:
    """Pair a Flax network with its twin, at weights given by torch's names."""
    import torch

    apply_fn, params = model
    labels, held_out = digits()[1], slice(TRAINING, TRAINING + HELD_OUT)

    def loss(params: Any, images: Any, labels: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(apply_fn(params, images), labels).mean()

    def apply_torch(params: Any, images: Any) -> Any:
        return torch.func.functional_call(twin, params, (_as_torch_sees(images),))

    def loss_torch(params: Any, images: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(apply_torch(params, images), labels)

    mapping = models.mapping_for(twin, params, **(hints or {}))
    told = apply_torch(to_torch(weights), torch.from_numpy(images[TRAINING:])).argmax(-1).numpy()
    return Network(
        params=jax.tree.map(np.asarray, mapping.to_jax(weights)),
        params_torch=weights,
        mapping=mapping,
        twin=twin,
        apply_fn=apply_fn,
        apply_torch=apply_torch,
        loss=loss,
        loss_torch=loss_torch,
        images=images[held_out],
        labels=labels[held_out],
        accuracy=float((told == labels[TRAINING:]).mean()),
    )


def _as_torch_sees(images: Any) -> Any:
    """Return torch images with their channels where torch has them."""
    return images.movedim(-1, 1) if images.ndim == 4 else images


def _train(twin: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weights after a hundred steps of Adam, by torch's names.

    In torch, which has nothing to compile; the twin itself keeps its initial weights.
    """
    import torch

    from torch_ref.meta import _optimizers

    batches = torch.from_numpy(np.random.default_rng(0).integers(0, len(images), size=(STEPS, BATCH)))
    x, y = _as_torch_sees(torch.from_numpy(images)), torch.from_numpy(labels.astype(np.int64))
    names = [name for name, _ in twin.named_parameters()]
    leaves, rule = [leaf.detach() for leaf in twin.parameters()], _optimizers.adam(0.01)
    state = rule.init(leaves)
    for batch in batches:
        leaves = [leaf.requires_grad_() for leaf in leaves]
        logits = torch.func.functional_call(twin, dict(zip(names, leaves, strict=True)), (x[batch],))
        slopes = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, y[batch]), leaves)
        updates, state = rule.update(list(slopes), state)
        leaves = [(leaf + update).detach() for leaf, update in zip(leaves, updates, strict=True)]
    return {name: leaf.numpy() for name, leaf in zip(names, leaves, strict=True)}
