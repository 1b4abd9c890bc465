"""Cases G8 to G10, F1 and F2: stopped values, descent steps, clipping, and transforms of a gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrad import gradient
from jaxgrad.verify._bridge import to_jax, to_torch
from jaxgrad.verify.cases._case import Criterion, Quantity, case
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params
from jaxgrad.verify.judge._tolerances import TORCH_CLIP_EPSILON

ONES = np.ones(5)


@case("G8", "Which values carry gradient")
def stopped(dtype: np.dtype) -> list[Quantity | Criterion]:
    """A constant, a stopped copy, a stop inside a computation, and a gradient inside a stopped region."""
    import torch

    import torch_ref.gradient

    numbers = [ONES, np.linspace(-1, 1, 5)]
    (a, b), (at, bt) = to_jax(numbers, dtype), to_torch(numbers, dtype)

    def region(a: Any) -> Any:
        held = jax.lax.stop_gradient(a)
        return jnp.mean(jnp.exp(held)) + 2 * jnp.mean(a)

    def region_torch(a: Any) -> Any:
        with torch.no_grad():
            outside = a.exp().mean()
            with torch.enable_grad():
                inside = 2 * a.mean()
        return outside + inside

    def through_copy(a: Any) -> Any:
        return jnp.mean(jax.lax.stop_gradient(a) + 10)

    def source_torch() -> Any:
        source = at.clone().requires_grad_()
        copy = source.detach().requires_grad_()
        (slope,) = torch.autograd.grad((copy + 10).mean(), source, allow_unused=True)
        return torch.zeros_like(source) if slope is None else slope

    def compared(name: str, ours: Any, theirs: Any, x: Any, xt: Any, truth: np.ndarray) -> Quantity:
        return Quantity(
            name,
            lambda: gradient.parameter_gradient(ours, x),
            lambda: torch_ref.gradient.parameter_gradient(theirs, xt),
            truth=truth,
        )

    return [
        compared("2 mean(a) inside a stopped region", region, region_torch, a, at, np.full(5, 0.4)),
        Quantity(
            "mean(copy + 10), to the source",
            lambda: gradient.parameter_gradient(through_copy, a),
            source_torch,
            truth=np.zeros(5),
        ),
        compared("mean(copy + 10), to the copy", lambda c: (c + 10).mean(), lambda c: (c + 10).mean(), a, at, ONES / 5),
        compared(
            "a constant beside it", lambda b: (b * a + a**2).mean(), lambda b: (b * at + at**2).mean(), b, bt, ONES / 5
        ),
        compared(
            "a stop inside a product",
            lambda b: jnp.mean(b * jax.lax.stop_gradient(jnp.exp(b))),
            lambda b: (b * b.exp().detach()).mean(),
            b,
            bt,
            np.exp(numbers[1]) / 5,
        ),
    ]


@case("G9", "A gradient-descent step over a tree: 10-100-1 ReLU network, zero input, learning rate 1")
def descent(dtype: np.dtype) -> list[Quantity | Criterion]:
    """One step and two against torch's ``named_parameters``; the old tree stays, the output bias moves by one."""
    import torch

    params = mlp_params((10, 100, 1), 0)
    old, zero = to_jax((params, np.zeros((1, 10))), dtype)

    def loss(params: Any, x: Any) -> Any:
        return jnp.mean(mlp_jax(params, x, jax.nn.relu))

    def steps(params: Any, number: int) -> Any:
        for _ in range(number):
            params = gradient.descent_step(loss, params, zero, learning_rate=1.0)
        return params

    def steps_torch(number: int) -> Any:
        module = torch.nn.Sequential(torch.nn.Linear(10, 100), torch.nn.ReLU(), torch.nn.Linear(100, 1))
        names = {"0": "layer0", "2": "layer1"}
        given = to_torch(params, dtype)
        module = module.to(given["layer0"]["weight"].dtype)
        module.load_state_dict({f"{i}.{kind}": leaf for i, k in names.items() for kind, leaf in given[k].items()})
        for _ in range(number):
            module.zero_grad()
            module(torch.zeros(1, 10, dtype=module[0].weight.dtype)).mean().backward()
            with torch.no_grad():
                for _, parameter in module.named_parameters():
                    parameter -= 1.0 * parameter.grad
        moved: dict[str, dict[str, Any]] = {layer: {} for layer in names.values()}
        for name, parameter in module.named_parameters():
            moved[names[name[0]]][name[2:]] = parameter
        return moved

    hidden, out = params["layer0"], params["layer1"]
    after_one = {
        "layer0": {"weight": hidden["weight"], "bias": hidden["bias"] - out["weight"][0] * (hidden["bias"] > 0)},
        "layer1": {"weight": out["weight"] - np.maximum(hidden["bias"], 0), "bias": out["bias"] - 1},
    }

    def exact() -> tuple[bool, str]:
        holds = True
        for width in (np.float32, np.float64):
            before = to_jax(params, width)
            kept = jax.tree.map(np.array, before)
            after = gradient.descent_step(loss, before, np.asarray(zero, width), learning_rate=1.0)
            nearest = (kept["layer1"]["bias"].astype(np.longdouble) - 1).astype(width)
            holds &= bool((np.asarray(after["layer1"]["bias"]) == nearest).all())
            holds &= np.array_equal(after["layer0"]["weight"], before["layer0"]["weight"])
            holds &= all(
                np.array_equal(*pair) for pair in zip(jax.tree.leaves(kept), jax.tree.leaves(before), strict=True)
            )
        return holds, "bit for bit, in float32 and float64" if holds else "some bits differ"

    return [
        Quantity("after one step", lambda: steps(old, 1), lambda: steps_torch(1), truth=after_one),
        Quantity("after two steps", lambda: steps(old, 2), lambda: steps_torch(2)),
        Criterion("output bias nearest to old - 1, first weight and old tree unmoved", exact),
    ]


@case("G10", "Clip by value, and by global norm with torch's constant")
def clipping(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Above the limit, at it, below it, and at a zero tree, value and derivative."""
    import torch

    import torch_ref.gradient

    tree = {"a": np.array([[3.0, -1.0], [0.5, 2.0]]), "b": np.array([-4.0, 1.0])}
    direction = {"a": np.array([[1.0, 2.0], [3.0, -1.0]]), "b": np.array([0.5, 1.0])}
    norm = float(np.sqrt(sum((leaf**2).sum() for leaf in tree.values())))
    (t, d), (tt, dt) = to_jax((tree, direction), dtype), to_torch((tree, direction), dtype)
    zero, zero_torch = to_jax(jax.tree.map(np.zeros_like, tree), dtype), jax.tree.map(torch.zeros_like, tt)

    def scaled(name: str, max_norm: float, factor: float) -> Quantity:
        return Quantity(
            name,
            lambda: gradient.clip_by_global_norm(t, max_norm),
            lambda: torch_ref.gradient.clip_by_global_norm(tt, max_norm),
            truth=(jax.tree.map(lambda leaf: leaf * factor, tree), np.array(norm)),
        )

    @jax.jit
    def along(tree: Any) -> Any:
        return jax.jvp(lambda tree: gradient.clip_by_global_norm(tree, 1.0), (tree,), (d,))[1]

    def along_torch() -> Any:
        return torch.func.jvp(lambda tree: torch_ref.gradient.clip_by_global_norm(tree, 1.0), (tt,), (dt,))[1]

    def finite() -> tuple[bool, str]:
        clipped, before = gradient.clip_by_global_norm(zero, 1.0)
        leaves = [*jax.tree.leaves(clipped), before]
        slopes = jax.tree.leaves(along(zero))
        holds = not any(np.any(leaf) for leaf in leaves) and all(bool(np.isfinite(s).all()) for s in slopes)
        return holds, "the tree stays zero, its derivative is finite" if holds else "not zero, or NaN"

    return [
        Quantity(
            "by value",
            lambda: gradient.clip_by_value(t, 1.5),
            lambda: torch_ref.gradient.clip_by_value(tt, 1.5),
            truth=jax.tree.map(lambda leaf: np.clip(leaf, -1.5, 1.5), tree),
        ),
        scaled("by norm, above the limit", 1.0, 1.0 / (norm + TORCH_CLIP_EPSILON)),
        scaled("by norm, at the limit", norm, norm / (norm + TORCH_CLIP_EPSILON)),
        scaled("by norm, below the limit", 2 * norm, 1.0),
        Quantity("derivative above the limit", lambda: along(t), along_torch),
        Quantity(
            "a zero tree",
            lambda: gradient.clip_by_global_norm(zero, 1.0),
            lambda: torch_ref.gradient.clip_by_global_norm(zero_torch, 1.0),
            truth=(jax.tree.map(np.zeros_like, tree), np.zeros(())),
        ),
        Criterion("a zero tree, value and derivative", finite),
    ]


def foo(W: Any, x: Any) -> Any:
    """Return ``sum((W**2) @ x)`` in either framework."""
    return ((W**2) @ x).sum()


W = np.array([[1.0289456844329834, 0.9332138299942017]])
X = np.array([-0.04671746864914894, 0.5176782011985779])


@case("F1", "Gradient of sum((W**2) @ x)")
def of_foo(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against torch, ``2 W x``, and the numbers of case F5."""
    import torch_ref.gradient

    (w, x), (wt, xt) = to_jax((W, X), dtype), to_torch((W, X), dtype)

    def ours() -> Any:
        return gradient.parameter_gradient(foo, w, x)

    def theirs() -> Any:
        return torch_ref.gradient.parameter_gradient(foo, wt, xt)

    return [
        Quantity("2 W x", ours, theirs, truth=2 * W * X),
        Quantity("its numbers", ours, theirs, truth=np.array([[-0.09613947550835, 0.9662089136900676]])),
    ]


@case("F2", "vjp and jvp of that gradient with ones")
def products(dtype: np.dtype) -> list[Quantity | Criterion]:
    """Against torch's backward and forward modes over its gradient, and ``2 x``."""
    import torch

    import torch_ref.gradient

    (w, x), (wt, xt) = to_jax((W, X), dtype), to_torch((W, X), dtype)

    def slope(w: Any) -> Any:
        return gradient.parameter_gradient(foo, w, x)

    def pulled_torch() -> Any:
        leaf = wt.clone().requires_grad_()
        result = torch_ref.gradient.parameter_gradient(foo, leaf, xt)
        return torch.autograd.grad(result, leaf, torch.ones_like(leaf))[0]

    def pushed_torch() -> Any:
        return torch.func.jvp(torch.func.grad(lambda w: foo(w, xt)), (wt,), (torch.ones_like(wt),))[1]

    pulled = jax.jit(lambda w: jax.vjp(slope, w)[1](jnp.ones_like(w))[0])
    pushed = jax.jit(lambda w: jax.jvp(slope, (w,), (jnp.ones_like(w),))[1])
    return [
        Quantity("vjp", lambda: pulled(w), pulled_torch, truth=2 * X[None]),
        Quantity("jvp", lambda: pushed(w), pushed_torch, truth=2 * X[None]),
    ]
