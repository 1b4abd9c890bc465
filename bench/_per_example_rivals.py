"""The libraries beside the rows of ``per_example``: JAX Privacy, Opacus and BackPACK; optional."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import torch

from bench import _backpack, _opacus
from bench._inputs import to_jax, to_torch
from bench._per_example_models import Network
from bench._rivals import of_library
from bench._row import Contender, Program

__all__ = ["clip_rows", "clipped_sums", "of_function"]

OF_FUNCTIONS = {
    "gradients": (("opacus", "opacus hooks", _opacus.hooks), ("backpack", "backpack", _backpack.rows)),
    "norms": (("opacus", "opacus ghost", _opacus.norms), ("backpack", "backpack", _backpack.norms)),
}
"""Library, contender, and what it makes of a module."""


def clip_rows(rows: Any, clip_norm: float) -> Any:
    """Clip stacked gradients, and sum."""
    norms = sum(g.flatten(1).square().sum(1) for g in jax.tree.leaves(rows)).sqrt()
    scales = (clip_norm / norms).clamp(max=1.0)
    return jax.tree.map(lambda g: torch.einsum("b,b...->...", scales, g), rows)


def by_jax_privacy(loss: Callable[..., Any], clip_norm: float, params: Any, *batch: Any) -> Contender:
    """Return the clipped sum of JAX Privacy, of a loss of one example: norms and clipping inside of a `vmap`."""

    @jax.jit
    def whole(params: Any, *batch: Any) -> Any:
        import jax_privacy

        own = jax_privacy.clipped_grad(
            loss, l2_clip_norm=clip_norm, batch_argnums=tuple(range(1, 1 + len(batch))), keep_batch_dim=False
        )
        return own(params, *batch)

    given = params, *batch
    run = functools.partial(whole, *given)
    return of_library("jax_privacy", "jax-privacy", lambda: run, "jax", program=Program(whole, given))


def clipped_sums(network: Network, dtype: Any, clip_norm: float) -> list[Contender]:
    """Return the ways of the libraries to a clipped sum; those that work on modules where the network has one."""
    params, batch = to_jax((network.params, network.batch), dtype)
    found = [by_jax_privacy(network.loss, clip_norm, params, *batch)]
    if network.module_torch is None:
        return found
    pt, bt = to_torch((network.params, network.batch), dtype)
    module = functools.partial(network.module_torch, pt)

    def clipping(stacked: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: clip_rows(stacked(*bt), clip_norm)

    return [
        *found,
        of_library("opacus", "opacus ghost", lambda: functools.partial(_opacus.ghost(module(), clip_norm), *bt)),
        of_library("opacus", "opacus hooks", lambda: clipping(_opacus.hooks(module()))),
        of_library("backpack", "backpack", lambda: clipping(_backpack.rows(module()))),
    ]


def of_function(name: str, network: Network, dtype: Any) -> list[Contender]:
    """Return the libraries that compute what a function of the family does, on a network that has a module."""
    pt, bt = to_torch((network.params, network.batch), dtype)
    return [
        of_library(library, who, lambda make=make: functools.partial(make(network.module_torch(pt)), *bt))
        for library, who, make in OF_FUNCTIONS.get(name, ())
    ]
