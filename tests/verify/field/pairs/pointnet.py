# ruff: noqa: E501 - written as people write it
"""PointNet with an input transform: pointwise convolutions of points, and a maximum over them -> NNX."""

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.nn import functional


class TNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 16, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(8), nn.BatchNorm1d(16)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 9)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = torch.max(x, 2)[0]
        x = self.fc2(functional.relu(self.fc1(x)))
        return (x + torch.eye(3, dtype=x.dtype).view(1, 9)).view(-1, 3, 3)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stn = TNet()
        self.conv1, self.conv2, self.conv3 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 12, 1), nn.Conv1d(12, 20, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(8), nn.BatchNorm1d(12), nn.BatchNorm1d(20)
        self.fc1, self.bn, self.fc2 = nn.Linear(20, 10), nn.BatchNorm1d(10), nn.Linear(10, 4)

    def forward(self, x):
        transform = self.stn(x)
        x = torch.bmm(x.transpose(2, 1), transform).transpose(2, 1)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x = torch.max(x, 2, keepdim=True)[0].view(-1, 20)
        return functional.log_softmax(self.fc2(functional.relu(self.bn(self.fc1(x)))), -1)


class JTNet(nnx.Module):
    def __init__(self, bug, rngs):
        self.bug = bug
        self.conv1, self.conv2 = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 16, rngs=rngs)
        self.bn1, self.bn2 = (nnx.BatchNorm(n, use_running_average=True, rngs=rngs) for n in (8, 16))
        self.fc1, self.fc2 = nnx.Linear(16, 8, rngs=rngs), nnx.Linear(8, 9, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        x = x.mean(1) if self.bug == "mean over points" else x.max(1)
        x = self.fc2(nnx.relu(self.fc1(x)))
        x = x if self.bug == "no identity" else x + jnp.eye(3, dtype=x.dtype).reshape(1, 9)
        return x.reshape(-1, 3, 3)


class JPointNet(nnx.Module):
    def __init__(self, bug, rngs):
        self.bug = bug
        self.stn = JTNet(bug, rngs)
        self.conv1, self.conv2, self.conv3 = (nnx.Linear(a, b, rngs=rngs) for a, b in ((3, 8), (8, 12), (12, 20)))
        eps = 1e-3 if bug == "bn eps" else 1e-5
        self.bn1, self.bn2, self.bn3 = (
            nnx.BatchNorm(n, use_running_average=True, epsilon=eps, rngs=rngs) for n in (8, 12, 20)
        )
        self.fc1, self.fc2 = nnx.Linear(20, 10, rngs=rngs), nnx.Linear(10, 4, rngs=rngs)
        self.bn = nnx.BatchNorm(10, use_running_average=True, rngs=rngs)

    def __call__(self, x):
        transform = self.stn(x)
        if self.bug == "transform transposed":
            transform = transform.transpose(0, 2, 1)
        x = x @ transform
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x = nnx.relu(x) if self.bug == "relu before max" else x
        x = x.max(1)
        # said at the call it stays so in evaluation; as an attribute `eval` would set it right
        h = self.bn(self.fc1(x), use_running_average=self.bug != "batch statistics")
        h = self.fc2(nnx.leaky_relu(h, 0.01) if self.bug == "leaky" else nnx.relu(h))
        return h if self.bug == "no log softmax" else nnx.log_softmax(h, -1)


RIGHT = {
    "mean over points": ("stn.fc1 stn", "pool-kind"),
    "no identity": ("stn conv1", "addend-missing"),
    "bn eps": ("bn1", "epsilon"),
    "batch statistics": ("bn", "batchnorm-mode"),
    "transform transposed": ("conv1", "axis-order"),
    "relu before max": ("fc1 bn3", "activation"),
    "leaky": ("fc2", "activation"),
    "no log softmax": ("(model)", "activation-missing"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return {"torch": PointNet().eval(), "jax": JPointNet(bug, nnx.Rngs(0)), "adapt": lambda x, y: (x.transpose(0, 2, 1), y),
            "loss": (functional.nll_loss, lambda o, y: -jnp.take_along_axis(o, y[:, None], 1).mean()),
            "batch": (rng.normal(size=(4, 3, 11)).astype(np.float32), rng.integers(0, 4, 4))}  # fmt: skip
