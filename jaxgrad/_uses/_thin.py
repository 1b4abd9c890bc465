"""What a low-rank shift adds at one use of a weight: two thin products in place of one with a matrix of its size.

With ``left`` of shape ``(groups, rows, rank)`` and ``right`` of shape ``(groups, columns, rank)``, laid out as the use
has them, a product ``x @ W`` gains ``(x @ left) @ right.T``; a lookup gains rows of ``left`` in place of the first, and
a convolution a thin convolution.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgrad._types import Array
from jaxgrad._uses._factors import wide
from jaxgrad._uses._program import shape_of
from jaxgrad._uses._rules import dot_axes, matrix_of, windows
from jaxgrad._uses._views import Site

__all__ = ["thin_product"]


def thin_product(site: Site, operand: Array, left: Array, right: Array) -> Array:
    """Return what the shift adds to the result of a use, in its shape and dtype."""
    rule = {"dot_general": _dot, "conv_general_dilated": _convolution, "gather": _lookup}[site.eqn.primitive.name]
    out = shape_of(site.eqn.outvars[0])
    return rule(site, operand, left, right).reshape(out.shape).astype(out.dtype)


def _einsum(site: Site, spec: str, *arrays: Array) -> Array:
    """Multiply as the use itself does, summed in float32 at the least, in one dtype."""
    with jax.numpy_dtype_promotion("standard"):
        kept = jnp.result_type(*arrays)
    total = wide(kept) if jnp.issubdtype(kept, jnp.floating) else kept
    options: Any = {"precision": site.eqn.params.get("precision"), "preferred_element_type": total}
    return jnp.einsum(spec, *(x.astype(kept) for x in arrays), **options)


def _dot(site: Site, operand: Array, left: Array, right: Array) -> Array:
    """Multiply activations by the thin factors, over what they are contracted with and then over the rank."""
    axes = dot_axes(site)
    (batch, contracted, free), (_, _, view_free) = axes[1 - site.position], axes[site.position]
    hidden = _einsum(site, "gtc,gcr->gtr", matrix_of(operand, batch, free, contracted), left)
    view = shape_of(site.eqn.invars[site.position]).shape
    sizes = [[operand.shape[i] for i in axes] for axes in (batch, free)] + [[view[i] for i in view_free]]
    if site.position == 0:
        # the entries of the left operand of a product stand in front
        out, order = _einsum(site, "gtr,gfr->gft", hidden.astype(left.dtype), right), (0, 2, 1)
    else:
        out, order = _einsum(site, "gtr,gfr->gtf", hidden.astype(left.dtype), right), (0, 1, 2)
    return out.reshape(list(itertools.chain.from_iterable(sizes[i] for i in order)))


def _lookup(site: Site, operand: Array, left: Array, right: Array) -> Array:
    """Look rows of the thin factor up, and multiply them by the other; outside of the table there is no shift."""
    numbers = site.eqn.params["dimension_numbers"]
    (axis,) = numbers.start_index_map
    shape, out = shape_of(site.eqn.invars[0]).shape, shape_of(site.eqn.outvars[0])
    ids = operand.reshape(-1)
    last = min(shape[axis] - 1, int(jnp.iinfo(operand.dtype).max))
    rows = jnp.take(left[0], jnp.clip(ids, 0, last).astype(jnp.int32), axis=0)
    if site.eqn.params["mode"] != lax.GatherScatterMode.CLIP:
        inside = (ids >= 0) & (ids <= last)
        rows = jnp.where(inside[:, None], rows, jnp.zeros_like(rows))
    added = _einsum(site, "tr,fr->tf", rows, right[0])
    offsets = list(numbers.offset_dims)
    places = [i for i in range(len(out.shape)) if i not in offsets]
    added = added.reshape([out.shape[i] for i in (*places, *offsets)])
    return jnp.transpose(added, _inverse([*places, *offsets]))


def _convolution(site: Site, operand: Array, left: Array, right: Array) -> Array:
    """Convolve with the thin factor as a kernel of few channels, place by place, and multiply by the other.

    As products, which stay products of their kind when the factors have a batch of their own: a convolution whose
    kernel has one is another, with groups, that XLA has slow code for on CPUs.
    """
    params, out = site.eqn.params, shape_of(site.eqn.outvars[0])
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    kernel = [shape_of(site.eqn.invars[1]).shape[i] for i in numbers.rhs_spec[2:]]
    batch, feature, *space = numbers.lhs_spec
    x = jnp.transpose(operand, (batch, *space, feature))
    out_batch, out_feature, *out_space = numbers.out_spec
    met = windows(x, kernel, [out.shape[i] for i in out_space], params)
    count = math.prod([out.shape[i] for i in (out_batch, *out_space)])
    factors = jnp.moveaxis(left.reshape(groups, len(met), -1, left.shape[-1]), 1, 0)
    hidden = sum(
        _einsum(site, "tgc,gcr->gtr", slice_.reshape(count, groups, -1), factor)
        for slice_, factor in zip(met, factors, strict=True)
    )
    added = _einsum(site, "gtr,gfr->tgf", jnp.asarray(hidden).astype(left.dtype), right)
    order = [out_batch, *out_space, out_feature]
    return jnp.transpose(added.reshape([out.shape[i] for i in order]), _inverse(order))


def _inverse(order: Sequence[int]) -> list[int]:
    """Return the inverse of a permutation."""
    return sorted(range(len(order)), key=lambda i: order[i])
