"""Matched pairs must never be called different: `python -m tests.verify.false_alarms [--seeds 100]`."""

import argparse
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import flax.linen as fnn  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from torch import nn  # noqa: E402

from jaxgrad.verify import pair  # noqa: E402
from tests.verify.mutations.catalogue import batch_of, planted  # noqa: E402


def tower(depth, seed):
    """Return a matched pair of dense networks of a depth."""
    torch.manual_seed(seed)
    layers = [part for _ in range(depth) for part in (nn.Linear(12, 12), nn.Tanh())]
    ours = [part for _ in range(depth) for part in (fnn.Dense(12), fnn.tanh)]
    rng = np.random.default_rng(seed)
    batch = rng.normal(size=(5, 12)), rng.normal(size=(5, 12))
    return pair(torch=nn.Sequential(*layers).eval(), jax=fnn.Sequential(ours), loss="mse", batch=batch)


def network(kind, seed):
    """Return a matched pair of a network of the catalogue, with weights and a batch of its own."""
    return planted(kind, setup=lambda m: _redraw(m, seed), batch=batch_of(kind, seed))()


def _redraw(module, seed):
    torch.manual_seed(seed)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()


KINDS = ("mlp", "cnn", "transformer", "rnn", 2, 8, 24)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify.false_alarms", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    arguments = parser.parse_args()
    console, begun, alarms, runs = Console(highlight=False), time.perf_counter(), [], 0
    worst = 0.0
    for seed in range(arguments.seeds):
        kind = KINDS[seed % len(KINDS)]
        bound = tower(kind, seed) if isinstance(kind, int) else network(kind, seed)
        for dtype in arguments.dtypes.split(","):
            report = bound.check(["value", "gradient"], dtypes=("float64", dtype))
            runs += 1
            worst = max([worst, *(r.noise or 0.0 for r in report.results)])
            if not report.ok:
                alarms.append((kind, seed, dtype))
                console.print(f"false alarm: {kind}, seed {seed}, {dtype}\n{report.table()}", markup=False)
    spent = time.perf_counter() - begun
    console.print(
        f"{len(alarms)} false alarms in {runs} checks; largest noise {worst:.1f} times torch's; {spent:.0f} s"
    )
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
