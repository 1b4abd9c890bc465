# ruff: noqa: E501 - a table, one mistake a line
"""What is right for every form of every pair: where the first difference lies, and by which name its cause goes.

Written from the sources of the pairs, as a porter would call the mistake. A mistake may be seen at the layer itself or at
the layer that takes what it returns; both places are right where the code between two layers is wrong.
"""

import dataclasses
from types import ModuleType

__all__ = ["EXPECTED", "Expected", "of_module"]


@dataclasses.dataclass(frozen=True)
class Expected:
    """What is right for one form of a pair."""

    kind: str
    """``"same"``: a correct form; ``"wrong"``: a mistake that changes a number; ``"silent"``: one that changes none on
    the batch (a mask of -1e10 for minus infinity), which may be told or not; ``"refused"``: one that cannot run."""
    places: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


def same() -> Expected:
    return Expected("same")


def silent() -> Expected:
    return Expected("silent")


STAGES = ("optimizer state", "clipped gradient")
"""Places of a training step whose names are two words."""


def wrong(places: str, causes: str) -> Expected:
    stages = [stage for stage in STAGES if stage in places]
    return Expected("wrong", (*stages, *places.split()), tuple(causes.split()))


ATTENTION, MLP = "layers.0.attention layers.0.attention.wo", "layers.0.feed_forward layers.0.feed_forward.w2"
SELF = "roberta.encoder.layer.0.attention.self roberta.encoder.layer.0.attention.output roberta.encoder.layer.0.attention.output.dense"
ENCODER = "encoder.rnn decoder.attention.attn"
POSITIONS = "blocks.0 blocks.0.attn_ln (model)"

EXPECTED: dict[str, dict[str, Expected]] = {
    "convnext": {
        "": same(),
        "layerscale missing": wrong("stages.0.0 stages.1.0", "layer-scale"),
        "layerscale twice": wrong("stages.0.0", "layer-scale"),
        "layerscale on sum": wrong("stages.0.0", "layer-scale"),
        "gelu tanh": wrong("stages.0.0.act stages.0.0.pwconv2", "gelu-form"),
        "eps": wrong("stages.0.0.norm", "epsilon"),
        "norm over image": wrong("downsample_layers.0.1", "norm-axes"),
        "max pool": wrong("norm", "pool-kind"),
        "final norm missing": wrong("norm head", "norm-missing"),
    },
    "decoder": {
        "": same(),
        # the conversion reads the setting, and turns the kernel as it needs it
        "transpose_kernel": same(),
        "reshape NHWC": wrong("main.0 main fc", "axis-order"),
        # the first layer has a kernel of 4, where SAME is torch's padding of 1
        "SAME": wrong("main.3", "padding"),
        "SAME3": wrong("main.3", "padding"),
        "slope": wrong("main.2 main.3", "negative-slope"),
        "in eps": wrong("main.4", "epsilon"),
        "shuffle order": wrong("shuffle pool", "shuffle-order"),
        "shuffle hw": wrong("shuffle pool", "shuffle-order"),
        "pool count": wrong("pool out", "pool-count"),
        "reflect missing": wrong("out", "padding-mode"),
        "tanh missing": wrong("(model)", "activation-missing"),
    },
    "llama": {
        "": same(),
        "x64 table": same(),
        "rope half": wrong(ATTENTION, "rotary-layout"),
        "head order": wrong(ATTENTION, "head-order"),
        "kv tile": wrong(ATTENTION, "kv-repeat"),
        "no scale": wrong(ATTENTION, "attention-scale"),
        # float32 inside of a float64 model: an island, the same at the precision of a user
        "softmax f32": silent(),
        "mask -10": wrong(ATTENTION, "mask-value"),
        "mask -1e10": silent(),
        "theta": wrong(ATTENTION, "rotary-base"),
        # a shift of all positions leaves every difference of two as it is
        "position offset": silent(),
        "eps": wrong("layers.0.attention_norm", "epsilon"),
        "eps outside": wrong("layers.0.attention_norm", "epsilon-place"),
        "layernorm": wrong("layers.0.attention_norm", "centring"),
        "one plus": wrong("layers.0.attention_norm", "scale-plus-one"),
        "swiglu swapped": wrong(MLP, "gate-order"),
        "geglu": wrong(MLP, "activation"),
    },
    "roberta": {
        "": same(),
        "position offset": wrong("roberta.embeddings.position_embeddings", "index"),
        "position no padding": wrong("roberta.embeddings.position_embeddings", "index"),
        "token type missing": wrong(
            "roberta.embeddings.token_type_embeddings roberta.embeddings.LayerNorm roberta.embeddings", "addend-missing"
        ),
        "gelu tanh": wrong(
            "roberta.encoder.layer.0.intermediate.intermediate_act_fn roberta.encoder.layer.0.intermediate roberta.encoder.layer.0.output.dense",
            "gelu-form",
        ),
        "eps 1e-12": wrong("roberta.encoder.layer.0.attention.output.LayerNorm", "epsilon"),
        "mask -1e4": silent(),
        "mask missing": wrong(SELF, "mask"),
        "untied": wrong("lm_head.decoder roberta.embeddings.word_embeddings", "tied-weights"),
        "decoder bias missing": wrong("lm_head.decoder lm_head (model)", "bias-missing"),
        "loss over padding": wrong("loss", "reduction"),
    },
    "seq2seq": {
        # torch's padding_idx gives its row no gradient; a port that says nothing of it does
        "": wrong("encoder.embedding decoder.embedding", "padding-idx"),
        "own cell": wrong("encoder.embedding decoder.embedding", "padding-idx"),
        "gate order": wrong(ENCODER, "gate-order"),
        "reset before": wrong(ENCODER, "reset-position"),
        "update swapped": wrong(ENCODER, "update-gate"),
        "packed": wrong(ENCODER, "packed"),
        "concat order": wrong("decoder.attention.attn", "concat-order"),
        "mask missing": wrong("decoder.attention decoder.rnn", "mask"),
        "pad in mean": wrong("loss", "reduction"),
        "pad counted": wrong("loss", "reduction"),
        "mean of sequence means": wrong("loss", "reduction"),
        "smooth": wrong("encoder.embedding decoder.embedding", "padding-idx"),
        "smoothing missing": wrong("loss", "label-smoothing"),
    },
    "tenc": {
        "": same(),
        "norm first": wrong("encoder.layers.0.self_attn encoder.layers.0.norm1 encoder.layers.0", "norm-order"),
        "gelu": wrong("encoder.layers.0.linear2", "activation"),
        "eps": wrong("encoder.layers.0.norm1", "epsilon"),
        "mask inverted": wrong("encoder.layers.0.self_attn", "mask"),
        "mask missing": wrong("encoder.layers.0.self_attn", "mask"),
        # the queries of the padding, which nobody reads
        "mask both": silent(),
        "final norm missing": wrong("encoder.norm encoder fc", "norm-missing"),
        "mean over padded": wrong("fc", "masked-mean"),
    },
    "train2": {
        # the network has no norm: the forms of its momentum and of its flag are the correct one
        "": same(),
        "momentum 0.99": same(),
        "momentum 0.1": same(),
        "dropout": Expected("refused"),
        "adamw default decay": wrong("update", "weight-decay"),
        "adam l2": wrong("update optimizer state", "l2-decay"),
        "adam l2 right": same(),
        "nesterov": wrong("update", "nesterov"),
        "rmsprop": wrong("optimizer state", "beta2"),
        "rmsprop decay": wrong("update", "optimizer-epsilon"),
        "rmsprop right": same(),
        "wrong lr": wrong("update", "learning-rate"),
        "adagrad": wrong("optimizer state", "accumulator-start"),
        "clip": wrong("clipped gradient", "clip-kind"),
        "train flag forgotten": same(),
    },
    "wavenet": {
        "": same(),
        "flax WeightNorm": same(),
        "rules": same(),
        "gates swapped": wrong("conv_layers.0.conv1x1_out conv_layers.0.conv1x1_skip", "gate-order"),
        "not causal": wrong("conv_layers.0.conv conv_layers.0.conv1x1_out conv_layers.0.conv1x1_skip", "padding"),
        "dilation missing": wrong("conv_layers.1.conv", "dilation"),
        "norm over all": wrong("first_conv conv_layers.0.conv", "weight-norm"),
        "norm over inputs": wrong("conv_layers.0.conv", "weight-norm"),
        "sqrt half missing": wrong("conv_layers.1.conv conv_layers.1 conv_layers.0", "scale"),
    },
    "whisper": {
        "": same(),
        "table given": same(),
        "gelu tanh": wrong("conv2", "gelu-form"),
        "conv gelu": wrong("conv2", "gelu-form"),
        "SAME": wrong("conv2", "padding"),
        "sin cos interleaved": wrong(POSITIONS, "sinusoids"),
        "cos first": wrong(POSITIONS, "sinusoids"),
        "timescale": wrong(POSITIONS, "sinusoids"),
        # a bias of the keys moves every score of a query alike: no number can change, the audit tells of the leaf
        "key bias": silent(),
        "scale once": wrong("blocks.0.attn blocks.0.attn.out", "attention-scale"),
        "softmax axis": wrong("blocks.0.attn blocks.0.attn.out", "softmax-axis"),
        "eps": wrong("blocks.0.attn_ln", "epsilon"),
        "eps post": wrong("ln_post", "epsilon"),
        "dpa": silent(),
    },
}
"""By pair and bug; ``""`` is the correct form."""


def of_module(module: ModuleType, name: str) -> dict[str, Expected]:
    """Return what is right for the forms of a pair: by its own ``RIGHT`` (places, causes), or by the table above."""
    if not hasattr(module, "RIGHT"):
        return EXPECTED[name]
    return {"": same()} | {bug: wrong(*right) for bug, right in module.RIGHT.items()}
