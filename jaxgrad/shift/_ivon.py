"""IVON: variational learning by natural-gradient steps, with shifts drawn from what is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgrad import _check, _tree
from jaxgrad._types import Array, Key, Params, Tree
from jaxgrad.shift._random_shifts import SAMPLERS, draw_leaves
from jaxgrad.shift._states import check_state

__all__ = ["Ivon", "IvonState", "ivon"]


class IvonState(NamedTuple):
    """What IVON knows beside the mean, which is the parameters."""

    steps: Array
    """How many were made."""
    momentum: Params
    """The running mean of the gradients, float32 at the least."""
    hessian: Params
    """The running estimate of the diagonal of the Hessian, likewise."""


class Ivon(NamedTuple):
    """The functions of `ivon`; each is pure and may be jitted."""

    init: Callable[[Params], IvonState]
    """``init(params) -> state``."""
    sample: Callable[..., Tree]
    """``sample(params, state, *, key, num_samples=None) -> shifts``: where to take gradients, ``params + shift``. With
    ``num_samples`` they have a new leading axis."""
    update: Callable[..., tuple[Params, IvonState]]
    """``update(gradients, shifts, state, params) -> (updates, state)``: the gradients at the shifts, with a leading
    axis where these have one. `optax.apply_updates` adds the updates."""


def ivon(
    learning_rate: ArrayLike | Callable[[Any], ArrayLike],
    effective_sample_size: ArrayLike,
    *,
    hessian_init: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.99999,
    weight_decay: float = 1e-4,
    clip_radius: float = math.inf,
    rescale: bool = True,
    estimator: Literal["price", "squared"] = "price",
) -> Ivon:
    r"""Build the improved variational online Newton method, which learns a normal distribution over the weights.

    .. math:: \theta = m + a,\quad a \sim \mathcal N(0, \sigma^2),\quad
              \sigma^2 = \frac{1}{\lambda (h + \delta)}, \qquad \hat h = \nabla L(\theta)\, \frac{a}{\sigma^2}

    .. math:: g \leftarrow \beta_1 g + (1 - \beta_1) \nabla L(\theta), \qquad
              h \leftarrow \beta_2 h + (1 - \beta_2) \hat h
              + \tfrac12 (1 - \beta_2)^2 \frac{(h - \hat h)^2}{h + \delta}, \qquad
              m \leftarrow m - \alpha\, \frac{g / (1 - \beta_1^t) + \delta m}{h + \delta}

    The three functions go around any gradient at shifted weights: `gradient` for one sample, `expected_gradient` for an
    average that needs no ``h`` (such as an evaluation), ``jax.vmap`` of `gradient` where a step takes several. The
    means of the gradients and of ``h`` over the samples are what the formulas take. In place of the state of a module
    that is noised and restored there is a shift that is handed on.

    Args:
        learning_rate: The step size, a number, a traced scalar, or a schedule of the number of steps made.
        effective_sample_size: :math:`\lambda`, common: the number of training examples, for a loss that is a mean.
        hessian_init: The first ``h``, a positive number; it says how far the first shifts go.
        beta1: How much of the running mean of gradients is kept.
        beta2: How much of the running mean of ``h`` is kept; near 1, since one sample says little.
        weight_decay: :math:`\delta`, the precision of the prior over :math:`\lambda`.
        clip_radius: The largest magnitude of a step before it is multiplied by the learning rate, in every entry.
        rescale: Whether the learning rate is multiplied by ``hessian_init + weight_decay``, so that the first steps are
            those of gradient descent with it.
        estimator: Of ``h`` from a sample: ``"price"``, as above, or ``"squared"``, :math:`\lambda` times the gradient
            squared, as in the authors' code (``hess_approx="gradsq"``).

    Returns:
        `Ivon`: ``init``, ``sample`` and ``update``.

    Raises:
        ValueError: If ``hessian_init`` or ``effective_sample_size`` is not positive, a beta is not from 0 to below 1,
            ``learning_rate`` or ``weight_decay`` is negative, one of them has axes, or ``estimator`` is another word;
            in the functions, if trees do not mirror.
        TypeError: If what should be a number is none; in ``init`` and ``sample`` if a leaf is no real floating-point
            array, in ``sample`` and ``update`` if ``state`` is no `IvonState`.

    Cost:
        One gradient a sample; ``P`` random numbers for each, and two trees of state.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> def loss(w):
        ...     return 0.5 * jnp.sum((w - 3.0) ** 2)
        >>> method = jaxgrad.shift.ivon(0.1, effective_sample_size=100.0)
        >>> @jax.jit
        ... def step(w, state, key):
        ...     shift = method.sample(w, state, key=key)
        ...     updates, state = method.update(jaxgrad.shift.gradient(loss, w, shift), shift, state, w)
        ...     return w + updates, state
        >>> w = jnp.zeros(2)
        >>> state = method.init(w)
        >>> for key in jax.random.split(jax.random.key(0), 300):
        ...     w, state = step(w, state, key)
        >>> bool(jnp.max(jnp.abs(w - 3.0)) < 0.2)
        True

    References:
        Shen et al. (2024), Variational learning is effective for large deep networks, ICML, algorithm 1;
        Lin, Schmidt and Khan (2020), Handling the positive-definite constraint in the Bayesian learning rule, ICML.
    """
    positive = {
        "effective_sample_size": effective_sample_size,
        "hessian_init": hessian_init,
        "clip_radius": clip_radius,
    }
    betas = {"beta1": beta1, "beta2": beta2}
    others = {"weight_decay": weight_decay} | ({} if callable(learning_rate) else {"learning_rate": learning_rate})
    for name, value in (positive | betas | others).items():
        _check.number(value, name)
        if name in betas:
            _check.share(value, name, below_one=True)
        else:
            (_check.positive if name in positive else _check.non_negative)(value, name)
    _check.choice(estimator, "estimator", ("price", "squared"))
    method = _Method(
        learning_rate, effective_sample_size, hessian_init, beta1, beta2, weight_decay, clip_radius, rescale, estimator
    )
    return Ivon(method.init, method.sample, method.update)


class _Method(NamedTuple):
    """The settings of `ivon`, and its steps."""

    learning_rate: Any
    effective_sample_size: Any
    hessian_init: float
    beta1: float
    beta2: float
    weight_decay: float
    clip_radius: float
    rescale: bool
    estimator: str

    def init(self, params: Params) -> IvonState:
        """Return the state before the first step."""
        _check.floating(params=params)
        momentum = jax.tree.map(jnp.zeros_like, _tree.widened(params))
        hessian = jax.tree.map(lambda m: m + jnp.asarray(self.hessian_init, m.dtype), momentum)
        return IvonState(jnp.zeros((), jnp.int32), momentum, hessian)

    def sample(self, params: Params, state: IvonState, *, key: Key, num_samples: int | None = None) -> Tree:
        """Draw shifts from what is known of the weights."""
        _check.floating(params=params)
        check_state(state, IvonState, "momentum", "init", params)
        _check.key(key, "key")
        count = 1 if num_samples is None else _check.count(num_samples, "num_samples", least=1)
        leaves, treedef = jax.tree.flatten(params)
        structure: Any = treedef
        normal = structure.unflatten(draw_leaves(SAMPLERS["normal"], key, leaves, count))

        def shift(z: Array, h: Array, w: Any) -> Array:
            scaled = (z * jnp.sqrt(self.variance(h))[None].astype(z.dtype)).astype(w.dtype)
            return scaled[0] if num_samples is None else scaled

        return jax.tree.map(shift, normal, state.hessian, params)

    def update(self, gradients: Tree, shifts: Tree, state: IvonState, params: Params) -> tuple[Params, IvonState]:
        """Make a step from the gradients at the shifts."""
        check_state(state, IvonState, "momentum", "init", params)
        several = _are_several(shifts, params)
        _check.mirrors(shifts=shifts, gradients=gradients)
        wide = _tree.widened(params)
        slope, curvature = self.means(gradients, shifts, state, several)
        momentum = jax.tree.map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, state.momentum, slope)
        hessian = jax.tree.map(self.blended, state.hessian, curvature)
        steps = state.steps + 1
        rate = self.learning_rate(state.steps) if callable(self.learning_rate) else self.learning_rate

        def move(m: Array, h: Array, w: Array, like: Any) -> Array:
            size = jnp.asarray(rate, m.dtype) * (self.hessian_init + self.weight_decay if self.rescale else 1)
            debiased = m / (1 - jnp.asarray(self.beta1, m.dtype) ** steps.astype(m.dtype))
            step = (debiased + self.weight_decay * w) / (h + self.weight_decay)
            return (-size * jnp.clip(step, -self.clip_radius, self.clip_radius)).astype(like.dtype)

        return jax.tree.map(move, momentum, hessian, wide, params), IvonState(steps, momentum, hessian)

    def variance(self, hessian: Array) -> Array:
        """Return the variance of the weights."""
        return 1 / (jnp.asarray(self.effective_sample_size, hessian.dtype) * (hessian + self.weight_decay))

    def blended(self, hessian: Array, found: Array) -> Array:
        """Return the running mean of the Hessian with one more; the last term keeps it above minus the weight decay."""
        fresh, total = 1 - self.beta2, hessian + self.weight_decay
        return self.beta2 * hessian + fresh * found + 0.5 * fresh**2 * (hessian - found) ** 2 / total

    def means(self, gradients: Tree, shifts: Tree, state: IvonState, several: bool) -> tuple[Tree, Tree]:
        """Return the means over the samples of the gradients, and of what they say of the Hessian."""
        wide = _tree.widened(gradients)

        def of_one(g: Array, a: Array, h: Array) -> Array:
            if self.estimator == "squared":
                return jnp.asarray(self.effective_sample_size, h.dtype) * g**2
            return g * a.astype(h.dtype) / self.variance(h)

        if not several:
            return wide, jax.tree.map(of_one, wide, shifts, state.hessian)
        found = jax.vmap(lambda g, a: jax.tree.map(of_one, g, a, state.hessian))(wide, shifts)
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), (wide, found))


def _are_several(shifts: Tree, params: Params) -> bool:
    """Say whether shifts have an axis of samples, after refusing what is neither one shift nor a stack of them."""
    ranks = zip(jax.tree.leaves(shifts), jax.tree.leaves(params), strict=False)
    if all(jnp.ndim(a) == jnp.ndim(w) for a, w in ranks):
        _check.mirrors(params=params, shifts=shifts)
        return False
    _check.same_leading(shifts=shifts)
    _check.mirrors(params=params, **{"one of shifts": _tree.take(shifts, 0)})
    return True
