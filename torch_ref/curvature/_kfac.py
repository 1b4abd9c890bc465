"""Kronecker factors by loops over examples, pseudo-gradients, uses and positions."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional


def _cross_entropy(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean over positions, for class numbers or distributions."""
    flat = f.reshape(-1, f.shape[-1])
    return functional.cross_entropy(flat, y.reshape(flat.shape if y.shape == f.shape else -1))


LOSSES = {
    "squared_error": lambda f, y: ((f - y) ** 2).sum(-1).mean() / 2,
    "softmax_cross_entropy": _cross_entropy,
    "bernoulli": lambda f, y: functional.binary_cross_entropy_with_logits(f, y, reduction="none").sum(-1).mean(),
}


def kfac(
    loss_fn: Any,
    params: Any,
    *batch: Any,
    kind: str = "empirical",
    output_loss: Any = None,
    approximation: str = "expand",
    samples: Any = None,
    weights: Any = None,
) -> dict[str, Any]:
    """Return ``(A, G)`` for every path that is used as a matrix, and the dense block of every other leaf.

    ``loss_fn(params, *example)`` returns its loss (or outputs) and the uses of one example: a dictionary from paths to
    lists of pairs ``(entering, leaving)``, of shapes ``(positions, in)`` and ``(positions, out)``.
    """
    size = len(batch[0])
    weights = torch.ones(size, dtype=torch.float64) if weights is None else weights
    found: dict[str, Any] = {}
    for n in range(size):
        example = tuple(part[n] for part in batch)
        drawn = None if samples is None else samples[:, n]
        share = weights[n] / weights.sum()
        entering, rows = columns_of(loss_fn, params, example, kind, output_loss, drawn)
        for path, inputs in entering.items():
            a, g, count = found.setdefault(path, [0, 0, 0])
            terms = torch.cat(inputs) if approximation == "expand" else torch.cat(inputs).mean(0)[None]
            for term in terms:
                a = a + share * torch.outer(term, term)
            for cotangents, _ in rows:
                leaving = torch.cat(cotangents[path])
                for b in leaving if approximation == "expand" else [leaving.sum(0)]:
                    g = g + share * torch.outer(b, b)
            found[path] = [a, g, count + share * len(terms)]
        for _, gradients in rows:
            for path in gradients.keys() - entering.keys():
                flat = gradients[path].reshape(-1)
                found[path] = found.get(path, 0) + share * torch.outer(flat, flat)
    # the mean over all terms: the examples of a list of arrays may have different numbers of them
    return {path: (v[0] / v[2], v[1]) if isinstance(v, list) else v for path, v in found.items()}


def columns_of(
    loss_fn: Any, params: Any, example: Any, kind: str, output_loss: Any, drawn: Any
) -> tuple[dict[str, list[torch.Tensor]], list[tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]]]:
    """Return what enters the uses, and for every pseudo-gradient the cotangents of what leaves them and the leaves'."""
    leaves = {path: leaf.detach().requires_grad_() for path, leaf in paths_of(params)}
    tree = rebuilt(params, leaves)
    if output_loss is None:
        scalar, uses = loss_fn(tree, *example)
        scalars = [scalar]
    else:
        outputs, uses = loss_fn(tree, example[0])
        value = LOSSES[output_loss] if isinstance(output_loss, str) else output_loss
        scalars = [(outputs * seed).sum() for seed in _seeds(value, outputs.detach(), example[1:], kind, drawn)]
    rows = []
    for scalar in scalars:
        cotangents = {
            path: list(torch.autograd.grad(scalar, [y for _, y in pairs], retain_graph=True, materialize_grads=True))
            for path, pairs in uses.items()
        }
        gradients = torch.autograd.grad(scalar, list(leaves.values()), retain_graph=True, materialize_grads=True)
        rows.append((cotangents, dict(zip(leaves, gradients, strict=True))))
    return {path: [x.detach() for x, _ in pairs] for path, pairs in uses.items()}, rows


def _seeds(value: Any, outputs: torch.Tensor, targets: Any, kind: str, drawn: Any) -> list[torch.Tensor]:
    """Return the gradients in the outputs: of the loss, at drawn targets, or the columns of a root of the Hessian."""
    if kind == "exact":
        flat = outputs.reshape(-1)
        hessian = torch.autograd.functional.hessian(lambda z: value(z.reshape(outputs.shape), *targets), flat)
        values, vectors = torch.linalg.eigh(hessian)
        return [(v.clamp(min=0).sqrt() * u).reshape(outputs.shape) for v, u in zip(values, vectors.T, strict=True)]
    at = outputs.requires_grad_()
    if kind == "empirical":
        return list(torch.autograd.grad(value(at, *targets), at))
    # the gradient of a mean over positions, where its covariance is to be that of the mean's Hessian
    scale = (outputs.numel() / outputs.shape[-1] / len(drawn)) ** 0.5
    # a position counts as often as its distribution adds up to
    shares = targets and value is _cross_entropy and targets[0].shape == outputs.shape
    mass = targets[0].sum(-1, keepdim=True) if shares else torch.ones((), dtype=outputs.dtype)
    return [scale * mass.sqrt() * torch.autograd.grad(value(at, y), at)[0] for y in drawn]


def paths_of(tree: Any, above: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Walk over the leaves of nested dictionaries, by the names of their keys."""
    for key in sorted(tree):
        path = f"{above}/{key}" if above else key
        if isinstance(tree[key], dict):
            yield from paths_of(tree[key], path)
        else:
            yield path, tree[key]


def rebuilt(tree: Any, leaves: dict[str, torch.Tensor], above: str = "") -> Any:
    """Return nested dictionaries like ``tree`` with other leaves."""
    under = f"{above}/" if above else ""
    return {
        k: rebuilt(v, leaves, f"{under}{k}") if isinstance(v, dict) else leaves[f"{under}{k}"] for k, v in tree.items()
    }
