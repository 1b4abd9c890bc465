# ruff: noqa: E501 - written as people write it
"""Graph attention over an edge list: softmax over the edges that end in a node, batch norm, a readout per graph -> linen."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

NODES, EDGES, GRAPHS, IN, WIDTH, HEADS = 12, 40, 3, 5, 6, 2


class GATConv(nn.Module):
    def __init__(self, wide, out, concat=True):
        super().__init__()
        self.out, self.concat = out, concat
        self.lin = nn.Linear(wide, HEADS * out, bias=False)
        self.att_src, self.att_dst = (nn.Parameter(torch.randn(1, HEADS, out) * 0.5) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(HEADS * out if concat else out) * 0.1)

    def forward(self, x, edges):
        x = self.lin(x).view(-1, HEADS, self.out)
        src, dst = edges[0], edges[1]
        alpha = (x * self.att_src).sum(-1)[src] + (x * self.att_dst).sum(-1)[dst]
        alpha = functional.leaky_relu(alpha, 0.2)
        index = dst[:, None].expand_as(alpha)
        top = torch.full((len(x), HEADS), -torch.inf, dtype=x.dtype).scatter_reduce(0, index, alpha, "amax").detach()
        e = (alpha - top[dst]).exp()
        total = torch.zeros(len(x), HEADS, dtype=x.dtype).index_add(0, dst, e)
        e = e / (total[dst] + 1e-16)
        out = torch.zeros_like(x).index_add(0, dst, x[src] * e[..., None])
        out = out.reshape(-1, HEADS * self.out) if self.concat else out.mean(1)
        return out + self.bias


class GAT(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm = GATConv(IN, WIDTH), nn.BatchNorm1d(HEADS * WIDTH)
        self.conv2, self.lin = GATConv(HEADS * WIDTH, WIDTH, concat=False), nn.Linear(WIDTH, 4)

    def forward(self, x, edges, graph):
        x = functional.elu(self.norm(self.conv1(x, edges)))
        x = self.conv2(x, edges)
        total = torch.zeros(GRAPHS, WIDTH, dtype=x.dtype).index_add(0, graph, x)
        count = torch.zeros(GRAPHS, dtype=x.dtype).index_add(0, graph, torch.ones(len(x), dtype=x.dtype))
        return self.lin(total / count[:, None])


class JGATConv(fnn.Module):
    out: int
    bug: str
    concat: bool = True

    @fnn.compact
    def __call__(self, x, edges):
        bug, n = self.bug, len(x)
        x = fnn.Dense(HEADS * self.out, use_bias=False, name="lin")(x)
        x = x.reshape(-1, self.out, HEADS).swapaxes(1, 2) if bug == "head order" else x.reshape(-1, HEADS, self.out)
        a = self.param("att_src", fnn.initializers.normal(), (1, HEADS, self.out))
        b = self.param("att_dst", fnn.initializers.normal(), (1, HEADS, self.out))
        src, dst = edges
        if bug == "edges reversed":
            src, dst = dst, src
        if bug == "vectors swapped":
            a, b = b, a
        alpha = (x * a).sum(-1)[src] + (x * b).sum(-1)[dst]
        alpha = fnn.leaky_relu(alpha, 0.01 if bug == "slope" else 0.2)
        over = src if bug == "softmax over sources" else dst
        top = jax.ops.segment_max(alpha, over, n)
        e = jnp.exp(alpha - top[over])
        if bug != "no softmax":
            e = e / (jax.ops.segment_sum(e, over, n)[over] + 1e-16)
        taken = x[dst] if bug == "own values" else x[src]
        out = jax.ops.segment_sum(taken * e[..., None], dst, n)
        over_heads = out.sum(1) if bug == "heads summed" else out.mean(1)
        out = out.reshape(-1, HEADS * self.out) if self.concat else over_heads
        bias = self.param("bias", fnn.initializers.zeros, (HEADS * self.out if self.concat else self.out,))
        return out + bias


class JGAT(fnn.Module):
    bug: str = ""

    @fnn.compact
    def __call__(self, x, edges, graph):
        bug = self.bug
        x = JGATConv(WIDTH, bug, name="conv1")(x, edges)
        x = fnn.BatchNorm(True, epsilon=1e-3 if bug == "bn eps" else 1e-5, name="norm")(x)
        x = fnn.relu(x) if bug == "relu" else fnn.elu(x)
        x = JGATConv(WIDTH, bug, False, name="conv2")(x, edges)
        total = jax.ops.segment_sum(x, graph, GRAPHS)
        count = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), graph, GRAPHS)
        if bug == "max readout":
            total = jax.ops.segment_max(x, graph, GRAPHS)
        elif bug != "sum readout":
            total = total / count[:, None]
        return fnn.Dense(4, name="lin")(total)


RIGHT = {
    "head order": ("conv1", "head-order"),
    "edges reversed": ("conv1", "edge-order"),
    "vectors swapped": ("conv1", "edge-order"),
    "slope": ("conv1", "negative-slope"),
    "softmax over sources": ("conv1", "segments"),
    "no softmax": ("conv1", "segments"),
    "own values": ("conv1", "edge-order"),
    "heads summed": ("conv2", "pool-kind"),
    "bn eps": ("norm", "epsilon"),
    "relu": ("conv2 conv2.lin", "activation"),
    "sum readout": ("lin", "pool-kind"),
    "max readout": ("lin", "pool-kind"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    src, dst = rng.integers(0, NODES, EDGES), np.concatenate([np.arange(NODES), rng.integers(0, NODES, EDGES - NODES)])
    graph = np.repeat(np.arange(GRAPHS), (3, 4, 5))
    return {"torch": GAT().eval(), "jax": JGAT(bug), "loss": "cross_entropy",
            "batch": (rng.normal(size=(NODES, IN)).astype(np.float32), np.stack([src, dst]), graph, rng.integers(0, 4, GRAPHS))}  # fmt: skip
