"""The settings of layers, read from the modules themselves."""

import dataclasses
from typing import Any

from jaxgrad.models._facts import kind_of
from jaxgrad.verify.port.frameworks._jax_model import JaxModel

__all__ = ["jax_configs", "torch_configs"]

NNX_SETTINGS = [
    "epsilon",
    "momentum",
    "padding",
    "strides",
    "kernel_size",
    "use_bias",
    "use_scale",
    "use_fast_variance",
    "num_groups",
    "kernel_dilation",
    "feature_group_count",
    "dtype",
    "param_dtype",
    "precision",
    "transpose_kernel",
    "num_heads",
    "rate",
    "dropout_rate",
    "drop_prob",
    "drop_rate",
    "use_running_average",
    "input_dilation",
    "axis",
    "negative_slope_init",
    "deterministic",
    "reduction_axes",
    "feature_axes",
]


def jax_configs(side: JaxModel) -> dict[str, dict[str, Any]]:
    """Return the settings of every JAX module by path, with its class under ``kind``."""
    return {
        path: {"kind": type(module).__name__, "by_flax": _is_flax(module), **_settings(module)}
        for path, module in side.modules().items()
    }


def _is_flax(module: Any) -> bool:
    """Say whether a layer is Flax's own: how it lays out its weights is known."""
    return type(module).__module__.startswith("flax.")


def _settings(module: Any) -> dict[str, Any]:
    """Read a module's settings: the fields of a linen dataclass, or the known attributes of an NNX module."""
    if dataclasses.is_dataclass(module):
        fields = [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
        return {name: getattr(module, name) for name in fields if hasattr(module, name)}
    found = {name: getattr(module, name) for name in NNX_SETTINGS if hasattr(module, name)}
    return {name: value for name, value in found.items() if not callable(value) or name.endswith("dtype")}


TORCH_SETTINGS = [
    "eps",
    "momentum",
    "padding",
    "padding_mode",
    "stride",
    "kernel_size",
    "dilation",
    "groups",
    "affine",
    "num_groups",
    "track_running_stats",
    "elementwise_affine",
    "num_heads",
    "dropout",
    "batch_first",
    "norm_first",
    "approximate",
    "negative_slope",
    "padding_idx",
    "max_norm",
    "scale_grad_by_freq",
    "count_include_pad",
    "ceil_mode",
    "p",
    "drop_prob",
    "drop_rate",
    "inplace",
    "bias",
    "output_padding",
    "transposed",
    "alpha",
    "beta",
    "threshold",
    "normalized_shape",
    "bidirectional",
    "num_layers",
]


def torch_configs(module: Any) -> dict[str, dict[str, Any]]:
    """Return the settings of every torch module by path, with its class under ``kind``."""
    found = {}
    for path, layer in module.named_modules():
        values = {name: getattr(layer, name) for name in TORCH_SETTINGS if hasattr(layer, name)}
        plain = {n: v for n, v in values.items() if isinstance(v, int | float | str | tuple | bool | type(None))}
        # a norm that a model brings along goes by its name here: its settings have the same names too
        found[path] = {"kind": kind_of(layer).removeprefix("own "), **plain}
    return found
