"""The influence of training examples on test losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, overload

import jax
from jax.typing import ArrayLike

from jaxgrad import _check, _sharding, _tree
from jaxgrad._jit import jit
from jaxgrad._types import Array, Aux, AxisName, Function, T, Tree, Ts, Wrt
from jaxgrad._uses._batch import Problem, problem_of
from jaxgrad._uses._explicit import laid_out
from jaxgrad._uses._slopes import from_slopes
from jaxgrad.curvature._engine._vectors import Vectors
from jaxgrad.curvature._operator import refuse_as_inverse

__all__ = ["Inverse", "influence"]


class Invertible(Protocol):
    """A curvature that can be inverted with any damping, such as those of `kfac` and `ekfac`."""

    def inverse_product(self, vector: Any, damping: Any) -> Any:
        """Return the inverse of the matrix plus ``damping``, times a vector."""


Inverse = Callable[[Any], Any] | Invertible | None
"""A function of a tree, an object with ``inverse_product``, or none for the identity."""


@overload
def influence(
    loss_fn: Function[T, *Ts, Array],
    params: T,
    train: tuple[*Ts],
    test: tuple[*Ts],
    *,
    inverse: Inverse = None,
    damping: ArrayLike | None = None,
    num_examples: int | None = None,
    chunk: int | None = None,
    has_aux: Literal[False] = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Array: ...
@overload
def influence(
    loss_fn: Function[T, *Ts, tuple[Array, Aux]],
    params: T,
    train: tuple[*Ts],
    test: tuple[*Ts],
    *,
    inverse: Inverse = None,
    damping: ArrayLike | None = None,
    num_examples: int | None = None,
    chunk: int | None = None,
    has_aux: Literal[True],
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> tuple[Array, Aux]: ...
@jit(
    "loss_fn",
    "num_examples",
    "chunk",
    "has_aux",
    "wrt",
    "axis_name",
    non_negative=("damping",),
    static_functions=("inverse",),
)
@laid_out(lambda at: at.single)
def influence(
    loss_fn: Function[T, *Ts, Any],
    params: T,
    train: tuple[*Ts],
    test: tuple[*Ts],
    *,
    inverse: Inverse = None,
    damping: ArrayLike | None = None,
    num_examples: int | None = None,
    chunk: int | None = None,
    has_aux: bool = False,
    wrt: Wrt = None,
    axis_name: AxisName = None,
) -> Any:
    r"""Return how the losses of test examples change with the weights of training examples, to first order.

    .. math:: I_{ij} = \left.\frac{d\, \ell(\theta^*(w), x'_i)}{d w_j}\right|_{w = 1}
              = -\frac1N\, \nabla \ell(\theta, x'_i)^\top H^{-1} \nabla \ell(\theta, x_j), \qquad
              \theta^*(w) = \arg\min_\theta \frac1N \sum_j w_j\, \ell(\theta, x_j) + r(\theta)

    with :math:`H` the curvature of that objective. A positive number is an example that harms: with more weight of it
    the test loss rises, and without it the loss changes by about :math:`-I_{ij}`. What a set of examples does adds up
    over its members. The units are those of the loss.

    No gradient of a training example is formed: a test example's gradient is multiplied by the inverse, and the losses
    of all training examples are differentiated along the result, forward.

    Args:
        loss_fn: ``loss_fn(params, *example) -> ()``, the loss of ONE example, without the regularisation. Static: pass
            a named function. More in ``help(jaxgrad)``.
        params: Pytree of floating-point arrays, the parameters after training.
        train: A tuple of pytrees whose leaves have the training examples along their leading axis, of length ``N``.
        test: The same of the test examples, of any length ``M``.
        inverse: What stands for :math:`H^{-1}`: a function of a tree like ``params``, such as one that calls
            `solve`; or an object with ``inverse_product(vector, damping)``, such as `kfac` and `ekfac` return;
            ``None``: the identity, which leaves products of gradients.
        damping: What is added to the diagonal of such an object, 0 where it is ``None``: a weight decay of
            :math:`\lambda |\theta|^2 / 2` in the objective is ``damping=lambda``. A function has its own.
        num_examples: The number ``N`` of examples that the objective is the mean over, where ``train`` is a part of
            them; ``None``: the length of ``train``.
        chunk: How many test examples are taken at once, all where it is ``None``.
        has_aux: Whether ``loss_fn`` returns the pair ``(loss, aux)``; ``aux`` is any pytree of arrays.
        wrt: Which leaves count: glob patterns on their paths, a predicate ``wrt(path, leaf)``, or ``None`` for all.
            The others are held, and are zero in what ``inverse`` is given.
        axis_name: Inside of `jax.shard_map`, the mesh axis (or axes) over whose devices the training examples are
            spread: ``N`` counts those of all devices, and the columns are the device's own. Test examples that differ
            from device to device are spread too: the rows are those of all of them, device after device, and every
            device inverts for all. ``None``: the device's own of both. An ``inverse`` that adds up over devices must
            have the same ``axis_name``.

    Returns:
        The scores, of shape ``(M, N)``, spread as ``axis_name`` says. With ``has_aux`` the pair of this and ``aux`` of
        the training examples, stacked along a leading axis; inside of `jax.shard_map` they are those of the device's
        own examples, with ``axis_name`` too.

    Raises:
        ValueError: If the leading axes differ or are empty, ``test`` does not match ``train``, the loss is no scalar,
            ``inverse`` does not return a tree like ``params``, ``damping`` is given for a function, ``chunk`` is below
            1, ``wrt`` selects nothing, or ``axis_name`` is no axis around.
        TypeError: If ``train`` or ``test`` is no tuple, ``inverse`` is neither, a leaf that counts is no real
            floating-point array, or ``loss_fn`` returns a pair without ``has_aux``, or none with it.

    Cost:
        For every test example its gradient, one ``inverse``, and about 2/3 of a gradient of the training batch; the
        memory of ``chunk`` of these. A loss with a ``jax.custom_vjp`` has only gradients: they are formed, a chunk of
        training examples at a time.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(mean, x):
        ...     return 0.5 * (mean - x) ** 2
        >>> train = jnp.array([1.0, 2.0, 6.0, 7.0])
        >>> jaxgrad.curvature.influence(loss, train.mean(), (train,), (jnp.array([0.0]),)).tolist()
        [[-3.0, -2.0, 2.0, 3.0]]

    References:
        Koh and Liang (2017), Understanding black-box predictions via influence functions, arXiv:1703.04730, eq. 2;
        Grosse et al. (2023), Studying large language model generalization with influence functions, arXiv:2308.03296
        (EKFAC). The sign is that of the derivative, as in their equations, and not of leaving the example out.
    """
    params = _sharding.replicated(params, axis_name)
    problem, tests, test = _problems(loss_fn, params, train, test, wrt, has_aux, axis_name)
    count = _check.batch(tuple(train)) * _sharding.device_count(axis_name)
    count = count if num_examples is None else _check.count(num_examples, "num_examples", least=1)
    chunk = None if chunk is None else _check.count(chunk, "chunk", least=1)
    invert = _inverse_of(inverse, damping, params)

    rows = Vectors(test, _check.batch(test), chunk)

    def direction(example: tuple[Any, ...]) -> list[Array]:
        gradient = jax.grad(lambda leaves: tests.fun(leaves, *example)[0])(tests.leaves)
        # one vector for all devices, so that an inverse that adds up over them stays in step
        whole = tests.embed(_sharding.replicated(gradient, axis_name))
        return list(map(_sharding.like, problem.pick(invert(whole)), problem.leaves))

    slopes, aux = from_slopes(problem, tuple(train), lambda of: rows.each(lambda example: of(direction(example))).T)
    result = slopes.T.astype(_tree.accumulator(slopes.dtype)) / -count
    return (result, aux) if has_aux else result


def _problems(
    loss_fn: Any, params: Any, train: Any, test: Any, wrt: Wrt, has_aux: bool, axis_name: AxisName
) -> tuple[Problem, Problem, tuple[Any, ...]]:
    """Return the loss on the leaves that count, for the training and the test examples, and all of the latter.

    Raises:
        TypeError: If they are no tuples.
        ValueError: If one is empty, or their examples differ in structure, shape or dtype.
    """
    for name, batch in (("train", train), ("test", test)):
        if not isinstance(batch, tuple | list):
            message = f"{name} must be a tuple of what follows params in loss_fn; got {_check.describe(batch)}: (x, y)"
            raise TypeError(message)
        if _check.same_leading(**{f"{name}[{i}]": tree for i, tree in enumerate(batch)}) == 0:
            message = f"{name} is empty: its leading axis has length 0, and there is no example; leave the call out"
            raise ValueError(message)
    one = [jax.tree.map(lambda leaf: leaf[:1], tuple(batch)) for batch in (train, test)]
    _check.mirrors(**{"an example of train": one[0], "an example of test": one[1]})
    # which of several axes tests are spread over is seen by where they differ
    apart: Any = tuple(name for name in _sharding.names(axis_name) if name in _sharding.varying(test))
    test = jax.tree.map(lambda leaf: _sharding.rows_of_all(leaf, apart), tuple(test))
    both = [problem_of(loss_fn, params, b, wrt, plan=False, has_aux=has_aux) for b in (tuple(train), test)]
    # inside of shard_map a direction varies as the test examples do, and the leaves must vary as their tangents
    leaves = _sharding.vary(both[0].leaves, _sharding.varying(both[1].leaves))
    return both[0]._replace(leaves=leaves), both[1], test


def _inverse_of(inverse: Any, damping: Any, params: Any) -> Callable[[Tree], Tree]:
    """Return the inverse as a function of a tree, whose result is checked.

    Raises:
        ValueError: If there is damping for what has its own.
        TypeError: If it is no function, and has no ``inverse_product``.
    """
    refuse_as_inverse(inverse, "inverse")
    if hasattr(inverse, "inverse_product"):
        added = 0.0 if damping is None else damping
        _check.number(added, "damping")
        return _checked(lambda tree: inverse.inverse_product(tree, added), params)
    if damping is not None:
        message = (
            "damping belongs to an inverse that has inverse_product(vector, damping), such as curvature.ekfac returns;"
            f" got {'none' if inverse is None else _check.describe(inverse)}: put the damping into the function"
        )
        raise ValueError(message)
    if inverse is None:
        return lambda tree: tree
    if not callable(inverse):
        message = (
            "inverse must be a function of a tree like params, an object with inverse_product(vector, damping), or"
            f" None; got {_check.describe(inverse)}"
        )
        raise TypeError(message)
    return _checked(inverse, params)


def _checked(function: Callable[[Any], Any], params: Any) -> Callable[[Tree], Tree]:
    """Return a function of a tree, whose result must mirror ``params``."""

    def called(tree: Tree) -> Tree:
        result = function(tree)
        _check.mirrors(**{"params": params, "inverse(gradient)": result})
        return result

    return called
