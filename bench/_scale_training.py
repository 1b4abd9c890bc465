"""A training run over all devices that goes on where a killed one stopped: scikit-learn's digits, privately.

Parameters and state are the same on all devices, so the first process alone keeps them, and hands them to the others
when a run goes on: no file system needs to be shared. Batches are drawn from the number of the step, and noise from a
key in the state: what is computed after step ``n`` depends on the state after step ``n`` alone, bit for bit.
"""

import hashlib
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from bench._digits import accuracy, digits, drawn, loss_of_one
from bench._scale_forms import AXIS, counts, filled
from bench._scale_group import alive
from bench._scale_layout import chosen_devices, mesh_of, put, whole
from jaxgrad import per_example
from jaxgrad.fit import _run

__all__ = ["COMMAND", "settings_of", "train"]

COMMAND = "bench.scale"
SIZES = (64, 32, 10)
TRAIN, TEST = 1024, 512
BATCH = 61
"""Examples of a step: a prime, so that no number of devices divides it."""


def settings_of(processes: int, devices: int, steps: int, every: int) -> dict[str, Any]:
    """Return all that decides the numbers of a run: sums over another number of devices are rounded otherwise."""
    return {"processes": processes, "devices": devices, "steps": steps, "keep_every": every, "jax": jax.__version__}


def optimizer() -> optax.GradientTransformationExtraArgs:
    """Return private gradients, over all devices, and a step."""
    private = per_example.dp_aggregate(
        loss_of_one,
        clip_norm=1.0,
        noise_multiplier=0.5,
        expected_batch_size=float(BATCH),
        # of raw words: orbax stores no typed key
        key=jax.random.PRNGKey(1),
        # on a network this small most of a short run is compiling, and this is the smallest program
        mode="vmap",
        axis_name=AXIS,
    )
    return optax.chain(private, optax.sgd(0.5, momentum=0.5))


def train(folder: Path | None, *, devices: int, steps: int, every: int) -> dict[str, Any]:
    """Train for a number of steps, and keep the state every so many.

    Args:
        folder: Where the run is kept; ``None``: nowhere.
        devices: How many.
        steps: How many in all, with those of earlier runs.
        every: Steps from one checkpoint to the next.

    Returns:
        The step that it began with, those whose checkpoints could not be read, its time a step, the accuracy on test
        digits, and a digest of all bits of the parameters.

    Raises:
        CannotRun: If the folder holds another run, or the disk refuses.
    """
    mesh = mesh_of(chosen_devices(devices))
    (x, y), test = jax.device_get(digits(TRAIN, TEST))
    rule, first = optimizer(), drawn(SIZES, 0)
    like = _plain(jax.device_get((first, rule.init(first))))
    run = None
    if jax.process_index() == 0:
        run = _run.Run(COMMAND, folder, settings_of(jax.process_count(), devices, steps, every), option="--out")
    # the first process alone knows
    found, state, torn = run.newest(like) if run else (0, like, [])
    begin = int(_everywhere(found))
    state = _everywhere(state) if begin else like

    def device(state: Any, x: Any, y: Any, is_padding: Any) -> Any:
        params, inner = state
        updates, inner = rule.update(None, inner, params, batch=(x, y), is_padding=is_padding)
        return optax.apply_updates(params, updates), inner

    specs = (P(), P(AXIS), P(AXIS), P(AXIS))
    step = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=P()))
    state, start, timed = put(state, P(), mesh), time.perf_counter(), 0
    for i in range(begin, steps):
        alive()
        chosen = np.random.default_rng([7, i]).permutation(TRAIN)[:BATCH]
        rows = [filled(leaf[chosen], devices) for leaf in (x, y)]
        state = step(state, *put((*rows, ~counts(BATCH, devices)), P(AXIS), mesh))
        if (i + 1) % every == 0 or i + 1 == steps:
            last = _plain(whole(state, mesh))
            if run:
                run.keep(i + 1, last)
        if i == begin:  # the first one compiles
            jax.block_until_ready(state)
            start, timed = time.perf_counter(), steps - begin - 1
    params = whole(state, mesh)[0]
    seconds = (time.perf_counter() - start) / timed if timed else None
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in jax.tree.leaves(params)))
    return {
        "processes": jax.process_count(),
        "devices": devices,
        "steps": steps,
        "began_with": begin,
        "unreadable": torn,
        "step_seconds": seconds,
        "accuracy": accuracy(jax.tree.map(jnp.asarray, params), *map(jnp.asarray, test)),
        "digest": digest.hexdigest(),
    }


def _everywhere(tree: Any) -> Any:
    """Return the first process's numbers on all of them."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def _plain(tree: Any) -> Any:
    """Return arrays of NumPy where there are numbers of it, which orbax stores otherwise."""
    return jax.tree.map(np.asarray, tree)
