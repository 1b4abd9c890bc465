"""Matched pairs must never be called different: `python -m tests.verify.false_alarms [--seeds 100]`.

An architecture is compiled once; every seed brings weights and a batch of its own.
"""

import argparse
import dataclasses
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
from jaxgrad.verify.judge._tolerances import DEFINITION_F64, NOISE_MULTIPLE  # noqa: E402
from jaxgrad.verify.port.frameworks._contexts import precision  # noqa: E402
from jaxgrad.verify.port.quantities._jax import JaxQuantities  # noqa: E402
from jaxgrad.verify.port.quantities._torch import TorchQuantities  # noqa: E402
from jaxgrad.verify.port.quantities._verdicts import judge_quantities  # noqa: E402
from tests.verify.ports import in_linen, in_torch  # noqa: E402

WORDS, WIDTH, TAGS = 11, 16, 4


class TorchStack(nn.Module):
    """Embedded tokens, layers, a head at every position."""

    def __init__(self, layers):
        super().__init__()
        self.embed, self.layers = nn.Embedding(WORDS, WIDTH), nn.ModuleList(layers)
        self.head = nn.Linear(WIDTH, TAGS)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(layer, nn.LSTM) else x
        return self.head(x)


class FlaxStack(fnn.Module):
    """The same in linen; ``make`` returns a layer."""

    make: object
    depth: int

    @fnn.compact
    def __call__(self, tokens):
        x = fnn.Embed(WORDS, WIDTH)(tokens)
        for _ in range(self.depth):
            x = self.make()(x)
        return fnn.Dense(TAGS)(x)


def mlp(depth):
    theirs = [part for _ in range(depth) for part in (nn.Linear(12, 12), nn.Tanh())]
    return nn.Sequential(*theirs), fnn.Sequential([p for _ in range(depth) for p in (fnn.Dense(12), fnn.tanh)]), "mse"


def cnn(depth):
    theirs, ours, wide = [], [], 3
    for _ in range(depth):
        theirs += [nn.Conv2d(wide, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
        ours += [fnn.Conv(6, (3, 3), padding=1), fnn.BatchNorm(use_running_average=True), fnn.relu]
        wide = 6
    tail = nn.Sequential(*theirs, nn.Flatten(), nn.Linear(6 * 5 * 7, TAGS))
    return tail, fnn.Sequential([*ours, lambda x: x.reshape(len(x), -1), fnn.Dense(TAGS)]), "cross_entropy"


def transformer(depth):
    theirs = TorchStack([in_torch.Layer(WIDTH, 4, causal=True) for _ in range(depth)])
    return theirs, FlaxStack(lambda: in_linen.Layer(4, causal=True), depth), "cross_entropy"


def lstm(depth):
    theirs = TorchStack([nn.LSTM(WIDTH, WIDTH, batch_first=True) for _ in range(depth)])
    return theirs, FlaxStack(lambda: fnn.RNN(fnn.OptimizedLSTMCell(WIDTH)), depth), "cross_entropy"


KINDS = {make.__name__: make for make in (mlp, cnn, transformer, lstm)}
DEPTHS = (2, 8, 24)


def batch_of(kind, seed):
    """Draw a batch for a kind of network."""
    rng = np.random.default_rng(seed)
    if kind == "mlp":
        return rng.normal(size=(5, 12)), rng.normal(size=(5, 12))
    if kind == "cnn":
        return rng.normal(size=(3, 3, 5, 7)), rng.integers(0, TAGS, 3)
    return rng.integers(0, WORDS, (3, 6)), rng.integers(0, TAGS, (3, 6))


class Matched:
    """A matched pair that is compiled once and takes many weights and batches."""

    def __init__(self, kind, depth, dtypes):
        self.kind, self.make, self.depth = kind, KINDS[kind], depth
        module, port, loss = self.make(depth)
        self.bound = pair(torch=module.eval(), jax=port, loss=loss, batch=batch_of(kind, 0)).prepared
        self.sides = {d: (None, JaxQuantities(self.bound, d)) for d in ("float64", *dtypes)}

    def judge(self, seed):
        """Redraw weights and batch, and judge value and gradient at every precision."""
        torch.manual_seed(seed)
        drawn = self.make(self.depth)[0]
        params = {n: p.detach().double().numpy() for n, p in drawn.named_parameters()}
        side = dataclasses.replace(self.bound.torch, params=params).perturb_constants()
        bound, sides = dataclasses.replace(self.bound, torch=side, batch=batch_of(self.kind, seed)), {}
        with precision():
            for dtype, (_, ours) in self.sides.items():
                ours.kept.clear()
                ours.params, ours.batch = bound.weights(dtype)[0], bound.data(dtype)
                sides[dtype] = TorchQuantities(bound, dtype), ours
            return judge_quantities(
                bound, sides, ["value", "gradient", "input_gradient"], DEFINITION_F64, NOISE_MULTIPLE,
                lambda line, part: None,
            )  # fmt: skip


def alarms(kind, depth, seeds, dtypes):
    """Judge matched pairs of one architecture.

    Returns:
        A sentence for every quantity that was not found to agree, and the largest error and multiple of torch's noise.
    """
    matched, found, error, noise = Matched(kind, depth, dtypes), [], 0.0, 0.0
    for seed in range(seeds):
        results = matched.judge(seed)
        error, noise = max([error, *(r.error for r in results)]), max([noise, *(r.noise or 0 for r in results)])
        for r in results:
            if r.verdict != "agree":
                leaf = max(r.leaves, key=lambda leaf: (leaf.error, leaf.noise or 0))
                found.append(f"{kind} of depth {depth}, seed {seed}: {r.name} {r.verdict}: {leaf}")
    return found, error, noise


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verify.false_alarms", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)))
    arguments = parser.parse_args()
    console, begun = Console(highlight=False, width=140), time.perf_counter()
    count = runs = 0
    for kind in arguments.kinds.split(","):
        for depth in map(int, arguments.depths.split(",")):
            found, error, noise = alarms(kind, depth, arguments.seeds, arguments.dtypes.split(","))
            count, runs = count + len(found), runs + arguments.seeds
            for line in found:
                console.print(f"false alarm: {line}", markup=False)
            console.print(f"{kind:<12} depth {depth:>2}: error {error:.1e}, noise {noise:.1f} times torch's, at most")
    spent = time.perf_counter() - begun
    console.print(f"{count} false alarms in {runs} matched pairs, each in {arguments.dtypes}; {spent:.0f} s")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
