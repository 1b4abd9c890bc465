"""Products of the form ``J^T M J v``: a model's Jacobian on both sides of a small matrix on its outputs."""

from collections.abc import Callable
from typing import Any

from jaxgrad import _check, _sharding, _tree
from jaxgrad._types import Tree
from jaxgrad.curvature._engine import _output_losses, _vectors
from jaxgrad.curvature._engine._linear import linear_map
from jaxgrad.curvature._engine._product import whole

__all__ = ["middle_product"]


def middle_product(
    model_fn: Callable[..., Any],
    params: Tree,
    vector: Tree,
    inputs: Tree,
    targets: tuple[Any, ...],
    middle: Callable[[Any], Callable[[Tree], Tree]],
    *,
    output_loss: Any,
    has_aux: bool,
    full_output: bool,
    cache: bool,
    chunk: int | None,
    wrt: Any,
    axis_name: Any,
) -> Any:
    """Multiply by ``J^T M J``, where ``middle(loss)`` is the product with ``M`` at the outputs.

    The outputs belong to the device's own examples; with ``axis_name`` it is the result that is averaged over devices.
    """
    _output_losses.checked(output_loss)
    params = _sharding.replicated(params, axis_name)
    model = _of_a_batch(model_fn, output_loss, has_aux)
    subset = _tree.restrict(model, params, wrt, (inputs,), None, has_aux)
    _check.differentiable(params=subset.active)
    point, vectors = _vectors.checked(subset, params, vector, (inputs,), axis_name, chunk)

    def at(point: Tree) -> tuple[Callable[[Tree], Tree], tuple[Tree, Any, Any]]:
        linear = linear_map(lambda x: subset.pair(x, inputs), point)
        loss = _output_losses.of_outputs(output_loss, linear.outputs, targets)
        times = middle(loss)
        # dropped from the program where they are not asked for; labels then need not be read
        beside = (linear.pull(loss.gradient()), loss.value()) if full_output else (point, None)
        return lambda v: linear.pull(times(linear.push(v))), (*beside, linear.aux)

    if vectors.number is None or cache:
        apart = _vectors.apart(point, vectors.tree, cache or vectors.number is not None)
        times, beside = at(apart[0])
        product = vectors._replace(tree=apart[1]).each(times)
    else:
        _, beside = at(point)

        def anew(direction: Tree) -> Tree:
            there, along = _vectors.apart(point, direction, cache)
            return at(there)[0](along)

        product = vectors.each(anew)
    gradient, value, aux = beside
    product = _sharding.mean_over(product, axis_name)
    if full_output:
        gradient, value = _sharding.mean_over((gradient, value), axis_name)
    return whole(subset, vectors, product, (gradient, value, aux), has_aux, full_output)


def _of_a_batch(model_fn: Callable[..., Any], output_loss: Any, has_aux: bool) -> Callable[..., Any]:
    """Return the model with its outputs, or the first of its pair, refused unless the loss takes them."""

    def checked(params: Tree, inputs: Tree) -> Any:
        value = model_fn(params, inputs)
        value, *aux = _check.pair(value, "model_fn") if has_aux else (value,)
        outputs = _output_losses.checked_outputs(output_loss, value)
        return (outputs, *aux) if has_aux else outputs

    return checked
