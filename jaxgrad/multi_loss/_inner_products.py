"""The inner products of the gradients of several losses, of which no more than a leaf's rows live at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgrad import _sharding, _tree
from jaxgrad._types import Array, Tree
from jaxgrad.multi_loss._long_rows import LONG, MANY, of_long_rows
from jaxgrad.multi_loss._rows import Block, Blocks

__all__ = ["Products", "inner_products", "of_rows"]

PIECE = 4096
"""How many entries of each row are multiplied at a time on a CPU: what of eight rows stays in the cache."""

FEW = 3
"""Up to how many rows are multiplied by one after the other: XLA's product of a few long rows was measured slower."""

HALF_RANGE = 0.45
"""Up to which part of the largest exponent lengths in one unit may grow, and fall: squares to 2^115 in float32."""


class Products(NamedTuple):
    """Inner products of rows, each row in a unit of its own: float32 holds no square of a norm of 1e25 or of 1e-25."""

    matrix: Array
    """Of the rows in their units, of shape ``(K, K)``."""
    roots: Array
    """Square roots of the units, powers of two, of shape ``(K,)``; ones wherever squares are well in range."""

    def gram(self) -> Array:
        """Return the inner products, infinite where they are beyond the range of their dtype and zero below it."""
        return self.per(jnp.ones_like(self.roots))

    def in_one_unit(self) -> tuple[Array, Array]:
        """Return the Gram matrix of the rows in one unit, and that unit: 1 where all squares are in range anyway.

        Else it is in the middle between the shortest row and the longest, or as near to the longest as that one's
        square demands: what is 2^-120 times as long, and less, counts as zeros.
        """
        squares = lax.stop_gradient(jnp.diagonal(self.matrix))
        is_zero, limit = squares == 0, HALF_RANGE * jnp.finfo(squares.dtype).maxexp
        sizes = 2 * jnp.log2(self.roots) + jnp.log2(jnp.where(is_zero, jnp.ones_like(squares), squares)) / 2
        most = jnp.max(jnp.where(is_zero, jnp.full_like(sizes, -jnp.inf), sizes))
        least = jnp.min(jnp.where(is_zero, jnp.full_like(sizes, jnp.inf), sizes))
        is_plain = ~(jnp.maximum(most, -least) > limit)
        middle = jnp.where(is_plain, jnp.zeros_like(most), jnp.maximum((most + least) / 2, most - limit))
        root = _tree.power_of_two(jnp.exp2(middle / 2))
        return self.per(root * jnp.ones_like(self.roots)), root * root

    def per(self, roots: Array) -> Array:
        """Return the products of the rows in other units: half of the factor after the other half.

        Between a product in one unit and the same in the other, nothing lies out of the range of both.
        """
        shares = self.roots / roots
        half = shares[:, None] * shares[None]
        return self.matrix * half * half


def inner_products(leaves: Sequence[Blocks], count: int) -> Products:
    """Add up over leaves the inner products of all pairs of ``count`` rows.

    The backwards and these sums are one program, in which XLA frees the rows of a leaf once its products are there.
    A common unit of all leaves would have to wait for all rows, and was measured to keep twice as much alive: each part
    has its own, and the small matrices are brought to the largest.
    """
    kept = _tree.accumulator(*(block.rows.dtype for mine in leaves for block in mine))
    zero = total = _nothing(count, kept)
    for losses, part in _parts(leaves, kept):
        places = np.array(losses)
        matrix = zero.matrix.at[places[:, None], places[None]].set(part.matrix)
        total = _sum(total, Products(matrix, zero.roots.at[places].set(part.roots)))
    return total._replace(matrix=(total.matrix + total.matrix.T) / 2)


def of_rows(rows: Tree) -> Products:
    """Return the products of rows that are there, a tree whose leaves share their leading axis."""
    leaves = jax.tree.leaves(rows)
    return inner_products([[Block(0, leaf)] for leaf in leaves], leaves[0].shape[0])


def _nothing(count: int, kept: Any) -> Products:
    """Return the products of rows of zeros, in the smallest unit."""
    lowest = _tree.power_of_two(jnp.sqrt(jnp.asarray(jnp.finfo(kept).tiny)))
    return Products(jnp.zeros((count, count), kept), jnp.full(count, lowest))


def _sum(first: Products, second: Products) -> Products:
    """Add up products, in the larger unit of each row."""
    roots = jnp.maximum(first.roots, second.roots)
    return Products(first.per(roots) + second.per(roots), roots)


def _parts(leaves: Sequence[Blocks], kept: Any) -> Iterator[tuple[tuple[int, ...], Products]]:
    """Yield the products of the rows of each leaf, and the losses whose rows they are; those of small leaves together.

    On a CPU long rows are multiplied piece by piece, which is faster and reads each number once.
    """
    small: dict[tuple[int, ...], list[Array]] = {}
    for mine in leaves:
        losses = tuple(block.start + i for block in mine for i in range(len(block.rows)))
        arrays = [block.rows.astype(kept) for block in mine]
        if losses and (jax.default_backend() != "cpu" or _lies_in_parts(arrays[0])):
            yield losses, _in_units(jnp.concatenate(arrays))
        elif losses and math.prod(arrays[0].shape[1:]) >= PIECE:
            yield losses, _in_pieces([rows.reshape(len(rows), -1) for rows in arrays])
        elif losses:
            joined = small.setdefault(losses, [])
            joined.append(jnp.concatenate(arrays).reshape(len(losses), -1))
            if sum(rows.shape[1] for rows in joined) >= PIECE:
                yield losses, _in_pieces([jnp.concatenate(small.pop(losses), axis=1)])
    for losses, joined in small.items():
        yield losses, _in_pieces([jnp.concatenate(joined, axis=1)])


def _in_pieces(arrays: list[Array]) -> Products:
    """Return the products of rows that lie in some matrices: of a few long ones in one pass, if no digits are lost."""
    if sum(map(len, arrays)) > MANY or arrays[0].shape[1] < LONG:
        return _piece_by_piece(arrays)
    return _unless_lost(of_long_rows(arrays), arrays[0].shape[1], _piece_by_piece, arrays)


def _piece_by_piece(arrays: list[Array]) -> Products:
    """Return the products of rows that lie in some matrices, a piece of all of them at a time."""
    count, length = sum(map(len, arrays)), arrays[0].shape[1]

    def piece(start: Any, size: int) -> Array:
        return jnp.concatenate([lax.dynamic_slice_in_dim(rows, start, size, 1) for rows in arrays])

    def step(total: Products, start: Array) -> tuple[Products, None]:
        return _sum(total, _of_piece(piece(start, PIECE))), None

    rest = length % PIECE
    total = _of_piece(piece(length - rest, rest)) if rest else _nothing(count, arrays[0].dtype)
    if length < PIECE:
        return total
    starts = PIECE * jnp.arange(length // PIECE)
    total = _sharding.settled(lambda total: step(total, starts[0])[0], total)
    return lax.scan(step, total, starts)[0]


def _of_piece(rows: Array) -> Products:
    """Return the products of a few entries of all rows: as they are, unless the square of a row has lost digits.

    Then they are taken once more in units. That branch is not taken where gradients are of usual size.
    """
    return _unless_lost(_matrix(rows), rows.shape[1], _in_units, rows)


def _unless_lost(plain: Array, length: int, otherwise: Callable[[Any], Products], rows: Any) -> Products:
    """Return products of rows of a length as they are, or ``otherwise(rows)`` where the square of a row lost digits."""
    limits = jnp.finfo(plain.dtype)
    squares = lax.stop_gradient(jnp.diagonal(plain))
    # each of the squares of the entries may be lost below the smallest number
    lost = length * float(limits.tiny)
    is_plain = (squares > lost / float(limits.eps)) & (squares < float(limits.max) * float(limits.eps))
    as_it_is = Products(plain, _sharding.vary(jnp.ones_like(squares), _sharding.varying(plain)))
    return lax.cond(jnp.all(is_plain), lambda _: as_it_is, otherwise, rows)


def _in_units(rows: Array) -> Products:
    """Return the products of rows, each in a unit that its largest entry is near 1 in."""
    largest = jnp.max(jnp.abs(rows), axis=tuple(range(1, rows.ndim)), initial=0.0)
    roots = _tree.power_of_two(jnp.sqrt(jnp.maximum(largest, jnp.finfo(rows.dtype).tiny)))
    return Products(_matrix(rows / (roots * roots).reshape(-1, *[1] * (rows.ndim - 1))), roots)


def _matrix(rows: Array) -> Array:
    """Return the inner products of rows as they are."""
    if _lies_in_parts(rows):
        return jnp.stack([jnp.stack([jnp.sum(one * other) for other in rows]) for one in rows])
    if rows.ndim == 2 and len(rows) <= FEW:
        return jnp.stack([jnp.matmul(rows, row, precision=lax.Precision.HIGHEST) for row in rows])
    axes = tuple(range(1, rows.ndim))
    return jnp.tensordot(rows, rows, (axes, axes), precision=lax.Precision.HIGHEST)


def _lies_in_parts(rows: Array) -> bool:
    """Say whether a leaf is laid out over several devices: it is not made one axis."""
    return any(_sharding.spec_of(rows)[1:])
