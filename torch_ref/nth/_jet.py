"""Taylor series of a composition, from the polynomial that the series stands for."""

import math
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.nth._derivatives import differentiate


def jet(fun: Any, primals: Any, series: Any, factorial_scaled: bool = True) -> Any:
    """Differentiate ``t -> fun(h(t))`` at 0, with ``h`` written out as a polynomial."""
    order = len(series[0])
    t = torch.zeros((), dtype=primals[0].dtype, requires_grad=True)
    factor = [math.factorial(k) if factorial_scaled else 1 for k in range(order + 1)]
    moved = [
        primal + sum(term * t**k / factor[k] for k, term in enumerate(terms, 1))
        for primal, terms in zip(primals, series, strict=True)
    ]
    value = fun(*moved)

    def terms_of(leaf: torch.Tensor) -> list[torch.Tensor]:
        rows = [leaf]
        for _ in range(order):
            rows.append(differentiate(rows[-1], t))
        return [row.detach() * factor[k] / math.factorial(k) for k, row in enumerate(rows)][1:]

    return pytree.tree_map(torch.Tensor.detach, value), pytree.tree_map(terms_of, value)
