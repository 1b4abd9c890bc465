# ruff: noqa: E501 - a table, one difference a line
"""The catalogue: every planted difference, with the place and the cause that the verifier must name."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn
from torch.nn import functional as f

from tests.verify.mutations import models_jax as mj
from tests.verify.mutations.planting import (
    FIRST,
    Mutation,
    adam,
    batch_of,
    ce_jax,
    ce_torch,
    constant_output,
    doubled,
    flatten_forgotten,
    fomaml,
    freeze,
    maml_torch,
    planted,
    rows_divided,
    rows_torch,
    square_transposed,
    stepped,
    stop,
    zero_unit,
)

ACT_PATH = ("act", "fc2", "ln", "(model)")
END = ("(model)", "head")


def dense(add) -> None:
    """A dense network, forward."""
    for name, act, cause in (
        ("gelu tanh", fnn.gelu, "gelu-form"),
        ("silu for gelu", fnn.silu, "activation"),
        ("quick gelu", lambda x: x * jax.nn.sigmoid(1.702 * x), "gelu-form"),
        ("activation missing", lambda x: x, "activation-missing"),
    ):
        add(f"mlp: {name}", planted("mlp", {"act": act}), "act", cause)
    for name, theirs, act, cause in (
        ("leaky slope", nn.LeakyReLU(0.01), lambda x: fnn.leaky_relu(x, 0.2), "negative-slope"),
        ("elu alpha", nn.ELU(1.0), lambda x: fnn.elu(x, 0.5), "alpha"),
        ("relu6 for relu", nn.ReLU(), lambda x: jnp.clip(x, 0, 0.5), "activation"),
        ("hard sigmoid", nn.Hardsigmoid(), lambda x: jnp.clip(0.2 * x + 0.5, 0, 1), "hard-sigmoid"),
        ("softmax axis", nn.Softmax(-1), lambda x: jax.nn.softmax(x, 0), "softmax-axis"),
    ):
        causes = (cause, "unknown") if name == "relu6 for relu" else cause
        add(f"mlp: {name}", planted("mlp", {"act": act}, {"act": theirs}), "act", causes)
    for eps in (1e-6, 1e-12, 1e-3):
        add(f"mlp: layer norm epsilon {eps:g}", planted("mlp", {"ln_args": {"epsilon": eps, "use_fast_variance": False}}),
            "ln", "epsilon")  # fmt: skip
    add("mlp: layer norm ddof", planted("mlp", {"ln": mj.OtherNorm, "ln_args": {"ddof": 1}}), "ln", "ddof")
    add("mlp: rms for layer norm", planted("mlp", {"ln": mj.OtherNorm, "ln_args": {"centre": False}}), "ln", "centring")
    add("mlp: fast variance far from 0",
        planted("mlp", {"offset": 1000.0, "ln_args": {"epsilon": 1e-5}}, {"offset": 1000.0}), "ln", "fast-variance",
        dtypes=("float64", "float32"))  # fmt: skip
    add(
        "mlp: square kernel transposed in code", planted("mlp", {"fc2": mj.TransposedDense}), "fc2", "transposed-kernel"
    )
    add("mlp: square kernel not transposed in conversion", planted("mlp", variables=square_transposed), "fc2",
        "transposed-kernel")  # fmt: skip
    add("mlp: bias left out", planted("mlp", {"head_args": {"use_bias": False}}), "head", "bias-missing")
    add("mlp: hidden bias left out", planted("mlp", {"fc2_args": {"use_bias": False}}), "fc2", "bias-missing")
    add("mlp: residual left out", planted("mlp", {"residual": lambda h, n, o: o}), END, "residual")
    add("mlp: residual doubled", planted("mlp", {"residual": lambda h, n, o: 2 * h + o}), END, "residual")
    add("mlp: residual behind the norm", planted("mlp", {"residual": lambda h, n, o: n + o}), END, "residual")
    add("mlp: residual scaled", planted("mlp", {"residual": lambda h, n, o: h + 0.5 * o}), END, "scale")
    add("mlp: output doubled", planted("mlp", {"out": lambda y: 2 * y}), END, "scale")
    add("mlp: output negated", planted("mlp", {"out": lambda y: -y}), END, ("scale", "sign", "activation"))
    add("mlp: extra tanh", planted("mlp", {"out": jnp.tanh}), END, "activation")
    add("mlp: layer in float32", planted("mlp", {"fc2_args": {"dtype": jnp.float32}}), "fc2", "dtype")
    add("mlp: layer in bfloat16", planted("mlp", {"fc2_args": {"dtype": jnp.bfloat16}}), "fc2", "dtype")


def losses(add) -> None:
    """Losses."""
    mse_t, mse_j = (lambda z, t: ((z - t) ** 2).mean()), (lambda z, t: jnp.mean((z - t) ** 2))
    for name, theirs, ours, cause in (
        ("half", mse_t, lambda z, t: optax.l2_loss(z, t).mean(), "half-square"),
        ("sum for mean", mse_t, lambda z, t: ((z - t) ** 2).sum(), "reduction"),
        ("sum per example", mse_t, lambda z, t: ((z - t) ** 2).sum(-1).mean(), "reduction"),
        ("huber for smooth l1", lambda z, t: f.smooth_l1_loss(z, t, beta=0.5),
         lambda z, t: optax.huber_loss(z, t, delta=0.5).mean(), "loss-form"),
        ("absolute for square", mse_t, lambda z, t: jnp.abs(z - t).mean(), "loss-form"),
        ("root", mse_t, lambda z, t: jnp.sqrt(mse_j(z, t)), "loss-form"),
        ("negated", mse_t, lambda z, t: -mse_j(z, t), "sign"),
    ):  # fmt: skip
        add(f"loss: {name}", planted("mlp", loss=(theirs, ours)), "loss", cause)
    for name, theirs, ours, cause in (
        ("label smoothing", lambda z, t: ce_torch(z, t, label_smoothing=0.1), lambda z, t: ce_jax(z, t).mean(), "label-smoothing"),
        ("cross-entropy summed", ce_torch, lambda z, t: ce_jax(z, t).sum(), "reduction"),
        ("cross-entropy per sequence", ce_torch, lambda z, t: ce_jax(z, t).sum(-1).mean(), "reduction"),
        ("label 0 ignored", lambda z, t: ce_torch(z, t, ignore_index=0), lambda z, t: ce_jax(z, t).mean(), "reduction"),
    ):  # fmt: skip
        add(f"loss: {name}", planted("transformer", loss=(theirs, ours)), "loss", cause)

    def ignored(z, t):
        kept = t >= 0
        return (ce_jax(z, jnp.where(kept, t, 0)) * kept).sum() / kept.size

    tokens, labels = batch_of("transformer")
    labels = labels.copy()
    labels[:, -2:] = -100
    add("loss: ignored labels in the mean", planted("transformer", loss=(ce_torch, ignored), batch=(tokens, labels)),
        "loss", ("reduction", "loss-form"))  # fmt: skip


def backward(add) -> None:
    """Differences that only the backward pass has, and kinks."""
    x, y = batch_of("mlp")
    add(
        "backward: branch stopped",
        planted("mlp", {"residual": lambda h, n, o: h + stop(o)}),
        ("fc2", *END),
        "stop-gradient",
    )
    add("backward: activation stopped", planted("mlp", {"act": lambda x: stop(fnn.gelu(x, approximate=False))}),
        ("act", "fc1"), "stop-gradient")  # fmt: skip
    add("backward: kernel stopped", planted("mlp", {"head": mj.StoppedDense}), "head", "stop-gradient")
    add("backward: custom rule doubled", planted("mlp", {"act": doubled}), ("act", "fc1"), "gradient-scale")
    hit = y.copy()
    hit[:, 0] = 0.5
    add("kink: absolute error at zero residuals",
        planted("mlp", loss=(lambda z, t: (z - t).abs().mean(), lambda z, t: jnp.abs(z - t).mean()), setup=constant_output,
                batch=(x, hit)), "loss", "kink")  # fmt: skip
    add("kink: relu as a maximum", planted("mlp", {"act": lambda x: jnp.maximum(x, 0)}, {"act": nn.ReLU()},
        setup=zero_unit), ("act", "fc1"), "kink")  # fmt: skip
    add("kink: leaky relu at 0", planted("mlp", {"act": fnn.leaky_relu}, {"act": nn.LeakyReLU(0.01)}, setup=zero_unit),
        ("act", "fc1"), "kink")  # fmt: skip
    add("kink: clip at a bound", planted("mlp", {"clip": True}, {"clamp": True},
        batch=(np.where(x > 0.5, 1.0, np.clip(x, -0.9, 0.9)), y)), ("fc1", "(model)", "input[0]", "input"), "kink")  # fmt: skip
    twins = x.copy()
    twins[1] = twins[0]
    add("kink: ties of a maximum", planted("mlp", {"max": True}, {"max": True}, batch=(twins, y)),
        ("head", "(model)", "fc2"), "kink")  # fmt: skip
    add("kink: second derivative of elu", planted("mlp", {"act": fnn.elu}, {"act": nn.ELU()}, setup=zero_unit),
        ("fc1", "act"), "kink", what=(*FIRST, "hvp"))  # fmt: skip
    add("meta: first order only", planted("mlp", own={"meta": (maml_torch, fomaml)}),
        ("meta", "fc1", "ln", "fc2", "head"), "first-order-meta", what=("value", "meta", "meta_second_order"))  # fmt: skip
    add("per example: divided by the batch", planted("mlp", own={"per_example": (rows_torch, rows_divided)}),
        ("fc1", "ln", "fc2", "head"), "reduction", what=("value", "per_example"))  # fmt: skip


def convolutional(add) -> None:
    """A convolutional network."""
    add("cnn: SAME at stride 2", planted("cnn", {"padding2": "SAME"}), "conv2", "padding")
    add("cnn: padding mode", planted("cnn", {}, {"padding_mode": "circular"}), "conv1", "padding-mode")
    add("cnn: reflected padding", planted("cnn", {}, {"padding_mode": "reflect"}), "conv1", "padding-mode")
    add("cnn: kernel flipped", planted("cnn", {"conv1": lambda k: k[::-1, ::-1]}), "conv1", "flipped-kernel")
    add("cnn: kernel axes", planted("cnn", {"conv1": lambda k: k.swapaxes(0, 1)}), "conv1", "kernel-axes")
    add("cnn: channels reversed", planted("cnn", {"input": lambda x: x[..., ::-1]}), ("conv1", "(model)"), "axis-order")
    add("cnn: image mirrored", planted("cnn", {"input": lambda x: x[:, :, ::-1]}), ("conv1", "(model)"), "axis-order")
    add("cnn: batch norm epsilon", planted("cnn", {"bn": {"epsilon": 1e-3}}), "bn", "epsilon")
    add(
        "cnn: batch norm in training mode",
        planted("cnn", {"bn": {"use_running_average": False}}),
        "bn",
        "batchnorm-mode",
    )
    add("cnn: mean for maximum pool", planted("cnn", {"pool": lambda x: fnn.avg_pool(x, (2, 2), (2, 2))}),
        ("pool", "conv2", "relu"), ("pool-kind", "unknown"))  # fmt: skip
    pooled = {"pool": nn.AvgPool2d(3, 2, 1)}
    add("cnn: padding counted in the mean", planted(
        "cnn", {"pool": lambda x: fnn.avg_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)], count_include_pad=False)}, pooled),
        ("pool", "conv2"), "pool-count")  # fmt: skip
    add("cnn: group norm groups", planted("cnn", {"gn": {"num_groups": 2}}), "gn", "groups")
    add("cnn: group norm epsilon", planted("cnn", {"gn": {"epsilon": 1e-6}}), "gn", "epsilon")
    add("cnn: relu6 for relu", planted("cnn", {"act": lambda x: jnp.clip(x, 0, 1)}), ("relu", "pool", "conv2"),
        ("activation", "unknown"))  # fmt: skip
    add("cnn: flatten order", planted("cnn", variables=flatten_forgotten), ("fc", "(model)"), ("axis-order", "weights"))
    small = (batch_of("cnn")[0][:, :, ::2, ::2], batch_of("cnn")[1])
    for name, theirs, ours in (
        (
            "bilinear, aligned corners",
            lambda x: f.interpolate(x, (8, 12), mode="bilinear", align_corners=True),
            "linear",
        ),
        ("bicubic kernel", lambda x: f.interpolate(x, (8, 12), mode="bicubic"), "cubic"),
    ):
        add(f"cnn: {name}", planted("cnn", {"input": lambda x, ours=ours: jax.image.resize(x, (len(x), 8, 12, 3), ours)},
            {"resize": theirs}, batch=small), ("conv1", "(model)"), "interpolation")  # fmt: skip
    large = (np.repeat(batch_of("cnn")[0], 2, axis=2).repeat(2, axis=3) + 0.1 * np.random.default_rng(1).normal(size=(3, 3, 16, 24)),
             batch_of("cnn")[1])  # fmt: skip
    add("cnn: antialias", planted("cnn", {"input": lambda x: jax.image.resize(x, (len(x), 8, 12, 3), "linear")},
        {"resize": lambda x: f.interpolate(x, (8, 12), mode="bilinear")}, batch=large), ("conv1", "(model)"),
        "interpolation")  # fmt: skip
    trained = {"mode": "train", "optimizer": (adam(), optax.adam(1e-2))}
    add("cnn: running variance", planted("cnn", {"bn": {"use_running_average": False}}, setup=lambda m: m.train(), **trained),
        "buffers", "bn-unbiased", what=("value", "step"))  # fmt: skip
    add("cnn: running momentum",
        planted("cnn", {"bn": {"use_running_average": False, "momentum": 0.99}}, setup=lambda m: m.train(), **trained),
        "buffers", "bn-momentum", what=("value", "step"))  # fmt: skip


def transformer(add) -> None:
    """A transformer."""
    add("transformer: causal mask missing", planted("transformer", {}, {"causal": True}), "blocks.0.attn", "mask")
    add("transformer: mask inverted", planted("transformer", {"all": {"mask": lambda n: ~jnp.tril(jnp.ones((n, n), bool))}},
        {"causal": True}), "blocks.0.attn", "mask")  # fmt: skip
    add("transformer: mask too strict", planted(
        "transformer", {"all": {"mask": lambda n: jnp.tril(jnp.ones((n, n), bool), -1)}}, {"causal": True}),
        "blocks.0.attn", "mask")  # fmt: skip
    add("transformer: scores unscaled", planted("transformer", {"all": {"scale": lambda d: 1.0}}), "blocks.0.attn",
        "attention-scale")  # fmt: skip
    add("transformer: scores by 1/d", planted("transformer", {"block1": {"scale": lambda d: 1 / d}}), "blocks.1.attn",
        "attention-scale")  # fmt: skip
    add("transformer: heads", planted("transformer", {"all": {"heads": 2}}), "blocks.0.attn", "heads")
    add("transformer: softmax over queries", planted("transformer", {"block1": {"axis": -2}}), "blocks.1.attn",
        ("softmax-axis", "unknown"))  # fmt: skip
    add("transformer: post norm", planted("transformer", {"block0": {"post_norm": True}}), ("blocks.0.attn", "blocks.0.ln1"),
        ("norm-order", "wiring"))  # fmt: skip
    add("transformer: residual missing", planted("transformer", {"block1": {"no_residual": True}}),
        ("blocks.1.ln2", "blocks.1"), "residual")  # fmt: skip
    add("transformer: gelu in the second block", planted("transformer", {"block1": {"act": fnn.gelu}}), "blocks.1.act",
        "gelu-form")  # fmt: skip
    add("transformer: relu in the first block", planted("transformer", {"block0": {"act": fnn.relu}}), "blocks.0.act",
        "activation")  # fmt: skip
    add("transformer: epsilon of the final norm", planted("transformer", {"final_eps": 1e-6}), "norm", "epsilon")
    add(
        "transformer: epsilon of one norm",
        planted("transformer", {"block1": {"eps2": 1e-6}}),
        "blocks.1.ln2",
        "epsilon",
    )
    add("transformer: branch scaled", planted("transformer", {"block0": {"branch": 0.5}}), "blocks.0", "scale")
    add("transformer: embedding scaled", planted("transformer", {"embed_scale": 4.0}), ("embed", "blocks.0"), "scale")
    add("transformer: positions shifted", planted("transformer", {"positions": lambda p: jnp.roll(p, 1, 0)}),
        ("blocks.0",), ("shift", "unknown", "axis-order"))  # fmt: skip
    add("transformer: positions left out", planted("transformer", {"positions": lambda p: 0 * p}), ("blocks.0",),
        ("addend-missing", "activation", "residual"))  # fmt: skip
    add(
        "transformer: tokens shifted", planted("transformer", {"tokens": lambda t: jnp.roll(t, 1, 1)}), "embed", "shift"
    )
    add("transformer: logits scaled", planted("transformer", {"logits": 0.25}), END, "scale")
    add("transformer: tied head stopped", planted("transformer", {"tied": "stopped"}, {"tied": True}),
        ("embed", "head", "(model)"), ("tied-weights", "stop-gradient"))  # fmt: skip
    add("transformer: padding_idx", planted("transformer", {}, {"padding_idx": 3}), "embed", "padding-idx")


def recurrent(add) -> None:
    """Recurrent networks."""
    add("rnn: start of the state", planted("rnn", {"start": 1.0}), "rnn", ("state", "unknown"))
    add("rnn: read backwards", planted("rnn", {"reverse": True}), "rnn", ("direction", "unknown"))
    add("rnn: output shifted", planted("rnn", {"out": lambda h: jnp.roll(h, 1, 1)}), "head", "shift")
    add(
        "rnn: relu for tanh",
        planted("rnn", {"cell_args": {"activation_fn": fnn.relu}}),
        "rnn",
        ("cell-activation", "activation", "unknown"),
    )
    add("rnn: gru relu for tanh", planted("rnn", {"cell": "gru", "cell_args": {"activation_fn": fnn.relu}}, {"cell": "gru"}),
        "rnn", ("cell-activation", "activation", "unknown"))  # fmt: skip
    add("rnn: two biases in a step", planted("rnn", optimizer=(lambda p: torch.optim.SGD(p, lr=0.1), optax.sgd(0.1))),
        "update", "double-bias", what=("value", "step"))  # fmt: skip


def optimizers() -> list[Mutation]:
    """Steps of optimizers."""
    update, state = ("update",), ("optimizer state",)
    return [
        stepped("adamw: default decay", lambda p: torch.optim.AdamW(p, lr=1e-2), optax.adamw(1e-2), update, ("weight-decay",)),
        stepped("adam: coupled decay", adam(weight_decay=0.1), optax.adamw(1e-2, weight_decay=0.1), state, ("l2-decay",)),
        stepped("adam: rate", adam(), optax.adam(2e-2), update, ("learning-rate",)),
        stepped("adam: epsilon", adam(), optax.adam(1e-2, eps=1e-4), update, ("optimizer-epsilon",)),
        stepped("adam: beta1", adam(), optax.adam(1e-2, b1=0.95), state, ("beta1",)),
        stepped("adam: beta2", adam(), optax.adam(1e-2, b2=0.99), state, ("beta2",)),
        stepped("sgd: nesterov", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
                optax.sgd(0.1, momentum=0.9, nesterov=True), update, ("learning-rate", "nesterov")),
        stepped("rmsprop: defaults", lambda p: torch.optim.RMSprop(p, lr=1e-2), optax.rmsprop(1e-2), (*state, *update),
                ("beta2", "optimizer-epsilon", "accumulator-start")),
        stepped("rmsprop: epsilon in the root", lambda p: torch.optim.RMSprop(p, lr=1e-2),
                optax.rmsprop(1e-2, decay=0.99), (*state, *update), ("optimizer-epsilon",)),
        stepped("adagrad: defaults", lambda p: torch.optim.Adagrad(p, lr=1e-2), optax.adagrad(1e-2), (*state, *update),
                ("accumulator-start", "optimizer-rule")),
        stepped("nadam: another rule", lambda p: torch.optim.NAdam(p, lr=1e-2), optax.nadam(1e-2), (*update, *state),
                ("optimizer-rule", "learning-rate")),
        stepped("amsgrad: corrected maximum", adam(amsgrad=True), optax.amsgrad(1e-2), state, ("amsgrad",),
                what=("steps:3",)),
        stepped("clip: epsilon of the norm", adam(), optax.adam(1e-2), ("clipped gradient",), ("clip-epsilon",),
                clip=(lambda p: torch.nn.utils.clip_grad_norm_(p, 0.01), optax.clip_by_global_norm(0.01))),
        stepped("clip: limit", adam(), optax.adam(1e-2), ("clipped gradient",), ("clip-limit",),
                clip=(lambda p: torch.nn.utils.clip_grad_norm_(p, 0.01), optax.clip_by_global_norm(0.02))),
        stepped("clip: by value", adam(), optax.adam(1e-2), ("clipped gradient",), ("clip-kind",),
                clip=(lambda p: torch.nn.utils.clip_grad_norm_(p, 0.01), optax.clip(0.01))),
        stepped("frozen head", adam(), optax.adam(1e-2), update, ("frozen",), setup=freeze),
    ]  # fmt: skip


def catalogue() -> list[Mutation]:
    """Return every mutation."""
    found: list[Mutation] = []

    def add(name, build, paths, causes, **more):
        found.append(Mutation(name, build, paths if isinstance(paths, tuple) else (paths,),
                              causes if isinstance(causes, tuple) else (causes,), **more))  # fmt: skip

    for section in (dense, losses, backward, convolutional, transformer, recurrent):
        section(add)
    return found + optimizers()
