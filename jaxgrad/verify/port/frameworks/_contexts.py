"""Float64 kept where the libraries themselves fall back to float32: the definition is compared, not their casts."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["follow", "wide_attention"]

ATTENTION = jax.nn.dot_product_attention
"""Takes its softmax in float32, whatever it is given."""


def _attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, *, scale: Any = None,
    is_causal: bool = False, **rest: Any,
) -> Any:  # fmt: skip
    """``jax.nn.dot_product_attention``, in float64 where everything else is; heads of keys may be shared."""
    plain = all(option is None or name == "implementation" for name, option in rest.items())
    if query.dtype != jnp.float64 or not plain:
        return ATTENTION(query, key, value, bias, mask, scale=scale, is_causal=is_causal, **rest)
    shared = query.shape[-2] // key.shape[-2]
    key, value = (jnp.repeat(x, shared, axis=-2) for x in (key, value))
    scores = jnp.einsum("...tnh,...snh->...nts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if bias is None else scores + bias
    lowest = 0.7 * jnp.finfo(scores.dtype).min
    if is_causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, lowest)
    scores = scores if mask is None else jnp.where(mask, scores, lowest)
    return jnp.einsum("...nts,...snh->...tnh", jax.nn.softmax(scores, axis=-1), value)


class _Users:
    """How many contexts are open, over all threads."""

    lock, count = threading.Lock(), 0


@contextlib.contextmanager
def wide_attention() -> Iterator[None]:
    """Let `jax.nn.dot_product_attention` keep float64 inside of the context."""
    with _Users.lock:
        _Users.count += 1
        jax.nn.dot_product_attention = _attention
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if not _Users.count:
                jax.nn.dot_product_attention = ATTENTION


def follow(module: Any, dtype: Any) -> None:
    """Let a layer of a private copy compute in the dtype of the parameters that it is given.

    A recurrent cell starts from a carry of its ``param_dtype``, and an NNX embedding computes in the dtype that its
    table had when it was made.
    """
    from flax import nnx

    if dtype is None:
        return
    if hasattr(module, "initialize_carry") and hasattr(module, "param_dtype"):
        object.__setattr__(module, "param_dtype", dtype)
    if isinstance(module, nnx.Embed) and module.dtype == module.param_dtype:
        object.__setattr__(module, "dtype", dtype)
