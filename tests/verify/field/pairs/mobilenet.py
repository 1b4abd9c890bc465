"""MobileNetV3: depthwise convolution, squeeze and excite, hard swish, batch norm at 1e-3 -> linen."""

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn


class ConvNormActivation(nn.Sequential):
    def __init__(self, wide, out, kernel, stride=1, groups=1, act=nn.Hardswish):
        layers = [nn.Conv2d(wide, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
                  nn.BatchNorm2d(out, eps=0.001, momentum=0.01)]  # fmt: skip
        super().__init__(*layers, *([act(inplace=True)] if act else []))


class SqueezeExcitation(nn.Module):
    def __init__(self, wide, squeeze):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(wide, squeeze, 1), nn.Conv2d(squeeze, wide, 1)
        self.activation, self.scale_activation = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x):
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class InvertedResidual(nn.Module):
    def __init__(self, wide, expand, out, kernel, stride, se, act):
        super().__init__()
        self.use_res_connect = stride == 1 and wide == out
        layers = [ConvNormActivation(wide, expand, 1, act=act)] if expand != wide else []
        layers.append(ConvNormActivation(expand, expand, kernel, stride, expand, act))
        if se:
            layers.append(SqueezeExcitation(expand, 4))
        layers.append(ConvNormActivation(expand, out, 1, act=None))
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.block(x) if self.use_res_connect else self.block(x)


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormActivation(3, 8, 3, 2),
            InvertedResidual(8, 8, 8, 3, 2, True, nn.ReLU),
            InvertedResidual(8, 20, 10, 3, 2, False, nn.ReLU),
            InvertedResidual(10, 24, 10, 5, 1, True, nn.Hardswish),
            ConvNormActivation(10, 32, 1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(32, 24), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(24, 7)
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def hard_sigmoid(x, bug):
    return jnp.clip(0.2 * x + 0.5, 0, 1) if bug == "keras hard sigmoid" else fnn.relu6(x + 3) / 6


class JConvNorm(fnn.Module):
    out: int
    kernel: int
    stride: int = 1
    groups: int = 1
    act: str = "hswish"
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        pad = "SAME" if self.bug == "SAME" else (self.kernel - 1) // 2
        x = fnn.Conv(self.out, (self.kernel, self.kernel), (self.stride, self.stride), padding=pad,
                     feature_group_count=self.groups, use_bias=False, name="conv")(x)  # fmt: skip
        x = fnn.BatchNorm(True, momentum=0.99, epsilon=1e-5 if self.bug == "bn eps" else 1e-3, name="bn")(x)
        if self.act == "hswish":
            return fnn.silu(x) if self.bug == "swish" else x * hard_sigmoid(x, "")
        if self.act == "relu":
            return fnn.relu6(x) if self.bug == "relu6" else fnn.relu(x)
        return fnn.relu(x) if self.bug == "act on projection" else x


class JSqueeze(fnn.Module):
    squeeze: int
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        scale = x.max((1, 2)) if self.bug == "max squeeze" else x.mean((1, 2))
        scale = fnn.Dense(self.squeeze, name="fc1")(scale)
        scale = fnn.Dense(x.shape[-1], name="fc2")(scale if self.bug == "se relu missing" else fnn.relu(scale))
        scale = fnn.sigmoid(scale) if self.bug == "sigmoid" else hard_sigmoid(scale, self.bug)
        return x + scale[:, None, None] if self.bug == "se adds" else x * scale[:, None, None]


class JInverted(fnn.Module):
    expand: int
    out: int
    kernel: int
    stride: int
    se: bool
    act: str
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        h = x
        if self.expand != x.shape[-1]:
            h = JConvNorm(self.expand, 1, act=self.act, bug=self.bug, name="expand")(h)
        h = JConvNorm(self.expand, self.kernel, self.stride, self.expand, self.act, self.bug, name="depthwise")(h)
        if self.se:
            h = JSqueeze(4, self.bug, name="se")(h)
        h = JConvNorm(self.out, 1, act="", bug=self.bug, name="project")(h)
        residual = self.stride == 1 and x.shape[-1] == self.out and self.bug != "residual missing"
        return x + h if residual else h


class JMobileNet(fnn.Module):
    bug: str = ""

    @fnn.compact
    def __call__(self, x):
        b = self.bug
        x = JConvNorm(8, 3, 2, bug=b, name="stem")(x)
        x = JInverted(8, 8, 3, 2, True, "relu", b, name="block0")(x)
        x = JInverted(20, 10, 3, 2, False, "relu", b, name="block1")(x)
        x = JInverted(24, 10, 5, 1, True, "hswish", b, name="block2")(x)
        x = JConvNorm(32, 1, bug=b, name="last")(x).mean((1, 2))
        x = fnn.Dense(24, name="fc1")(x)
        x = x if b == "classifier act missing" else x * hard_sigmoid(x, "")
        return fnn.Dense(7, name="fc2")(x)


STEM = "features.0.2 features.1.block.0.0"
RIGHT = {
    "SAME": ("features.0.0", "padding"),
    "bn eps": ("features.0.1", "epsilon"),
    "swish": ("features.0.2 features.1.block.0.0 features.1.block.0 features.1", "activation"),
    "relu6": (
        "features.1.block.0.2 features.1.block.1 features.1.block.1.avgpool features.1.block.1.fc1",
        "activation",
    ),
    "act on projection": ("features.1.block.2 features.1 features.2.block.0.0 features.2", "activation"),
    "max squeeze": ("features.1.block.1.fc1 features.1.block.1.avgpool", "pool-kind"),
    "se relu missing": ("features.1.block.1.activation features.1.block.1.fc2", "activation-missing"),
    "sigmoid": ("features.1.block.1.scale_activation features.1.block.1 features.1.block.2.0", "activation"),
    "keras hard sigmoid": (
        "features.1.block.1.scale_activation features.1.block.1 features.1.block.2.0",
        "hard-sigmoid",
    ),
    "se adds": ("features.1.block.1 features.1.block.2.0", "operation"),
    "residual missing": ("features.3 features.4.0 features.4", "residual"),
    "classifier act missing": ("classifier.1 classifier.3", "activation-missing"),
}
BUGS = ["", *RIGHT]


def make(bug=""):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = MobileNet().eval()
    # an input beyond 6 somewhere, so that relu and relu6 differ
    x = 8 * rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    return {"torch": model, "jax": JMobileNet(bug), "loss": "cross_entropy", "batch": (x, rng.integers(0, 7, 2))}
