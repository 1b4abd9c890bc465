"""The Gauss-Newton matrix from a dense Jacobian and a dense Hessian by the outputs, times a vector."""

from typing import Any

from torch_ref.curvature import _dense, _output_losses


def ggn_product(model_fn: Any, params: Any, vector: Any, inputs: Any, *targets: Any, output_loss: Any) -> Any:
    """Form ``J`` and the Hessian of the loss by the outputs, and multiply."""
    outputs, rows = _dense.jacobian(lambda p: model_fn(p, inputs), params)

    def loss(flat: Any) -> Any:
        return _output_losses.value(output_loss, flat.reshape(outputs.shape), *targets)

    middle = _dense.hessian(loss, outputs.reshape(-1))
    along = _dense.flat(_dense.in_order(vector, params))
    return _dense.cut(rows.T @ (middle @ (rows @ along)), params)
