"""The Fisher matrix as a sum of outer products of gradients, one label at a time."""

import itertools
from typing import Any

import torch
from torch.utils import _pytree as pytree

from torch_ref.curvature import _dense, _output_losses


def fisher_product(
    model_fn: Any,
    params: Any,
    vector: Any,
    inputs: Any,
    *targets: Any,
    output_loss: str,
    kind: str = "exact",
    samples: Any = None,
) -> Any:
    """Add up outer products of flat gradients.

    The expectation over labels goes through all of them, by the model's probabilities; that of Gaussian labels through
    two on either side of each output, which have the same covariance. Samples are taken one after the other. The
    empirical matrix has one gradient for each example.
    """
    outputs = model_fn(params, inputs).detach()
    labels, weights = targets if len(targets) == 2 else (*targets, None)

    def gradient(index: tuple[int, ...], label: torch.Tensor) -> torch.Tensor:
        return _flat_gradient(
            lambda p: _output_losses.at_position(output_loss, model_fn(p, inputs)[index], label), params
        )

    size = _dense.flat(params).numel()
    matrix = torch.zeros(size, size, dtype=outputs.dtype)
    if kind == "empirical":
        for i in range(len(outputs)):
            parts = [index for index in _output_losses.positions(outputs) if index[0] == i]
            shares = [_output_losses.weight_at(outputs, weights, index) for index in parts]
            if sum(shares) == 0:
                continue
            whole = sum(w * gradient(index, labels[index]) for w, index in zip(shares, parts, strict=True)) / sum(
                shares
            )
            matrix += sum(shares) * torch.outer(whole, whole)
    else:
        for index in _output_losses.positions(outputs):
            share = _output_losses.weight_at(outputs, weights, index)
            share = share * _output_losses.mass(output_loss, outputs, labels, index)
            for chance, label in _labels(output_loss, kind, outputs[index], samples, index):
                g = gradient(index, label)
                matrix += share * chance * torch.outer(g, g)
    along = _dense.flat(_dense.in_order(vector, params))
    return _dense.cut(matrix @ along, params)


def _labels(name: str, kind: str, output: torch.Tensor, samples: Any, index: tuple[int, ...]) -> list[Any]:
    """List labels of one position with their probabilities."""
    if kind == "mc":
        return [(1 / len(samples), sample[index]) for sample in samples]
    if name == "softmax_cross_entropy":
        return [(p, torch.tensor(c)) for c, p in enumerate(torch.softmax(output, 0))]
    if name == "bernoulli":
        p = torch.sigmoid(output)
        corners = [torch.tensor(bits, dtype=output.dtype) for bits in itertools.product((0.0, 1.0), repeat=len(output))]
        return [((bits * p + (1 - bits) * (1 - p)).prod(), bits) for bits in corners]
    # labels one standard deviation away in each output, so that the outer products add up to the identity
    return [(0.5, output + sign * step) for step in torch.eye(len(output), dtype=output.dtype) for sign in (-1, 1)]


def _flat_gradient(fun: Any, params: Any) -> torch.Tensor:
    """Return the gradient of a scalar function, joined."""
    leaves, structure = pytree.tree_flatten(params)
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = fun(pytree.tree_unflatten(leaves, structure))
    return _dense.flat(list(torch.autograd.grad(value, leaves, materialize_grads=True)))
