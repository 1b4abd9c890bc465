"""A picture of which losses pull against each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxgrad.multi_loss._conflicts import Conflicts

__all__ = ["draw_conflicts"]

DARK = 0.6
"""Beyond which cosine the number is written in white."""


def draw_conflicts(found: Conflicts, axes: Any, *, names: list[str] | tuple[str, ...] | None = None) -> Any:
    r"""Draw the cosines between the gradients of several losses as a heat map: red pulls against, blue with.

    .. math:: \cos_{k l} \in [-1, 1]

    Args:
        found: What `conflicts` returns.
        axes: Where to draw: ``matplotlib.figure.Figure().subplots()``, or what ``matplotlib.pyplot.subplots`` gives.
        names: What to call each loss, in the order of the rows; ``None``: their numbers.

    Returns:
        The image that was drawn on the axes, for ``figure.colorbar``.

    Raises:
        ValueError: If there is not one name for each loss.

    Cost:
        ``K^2`` labels; the matrices are fetched from the device.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> from matplotlib.figure import Figure
        >>> found = jaxgrad.multi_loss.conflicts(jnp.array([[4.0, -1.0], [-1.0, 1.0]]))
        >>> image = jaxgrad.multi_loss.draw_conflicts(found, Figure().subplots(), names=["digit", "parity"])
        >>> image.get_array().tolist()
        [[1.0, -0.5], [-0.5, 1.0]]

    References:
        Yu et al. (2020), Gradient surgery for multi-task learning, NeurIPS.
    """
    cosines, norms = np.asarray(found.cosines), np.asarray(found.magnitudes)
    labels = [str(k) for k in range(len(norms))] if names is None else list(names)
    if len(labels) != len(norms):
        message = f"names must have one entry for each of {len(norms)} losses; got {names!r}"
        raise ValueError(message)
    image = axes.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), [f"{name} ({norm:.2g})" for name, norm in zip(labels, norms, strict=True)])
    for (row, column), cosine in np.ndenumerate(cosines):
        axes.text(
            column, row, f"{cosine:.2f}", ha="center", va="center", color="white" if abs(cosine) > DARK else "black"
        )
    axes.set_title(f"cosines and norms; alignment {float(found.alignment):.2f}")
    return image
