"""The problems of the rows of ``curvature``: a product on a network, with its rivals in both frameworks."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils import _pytree as pytree

import torch_ref.curvature
from bench import _curvlinops, _rivals
from bench._curvature_networks import Network, cnn, loss_of, loss_of_torch, mlp
from bench._inputs import to_jax, to_torch
from bench._row import Contender, Problem, Program, Sizes
from jaxgrad import curvature

__all__ = ["Setting", "dataset_problem", "jacobian_problem", "linearized_problem", "product_problem", "setting"]


class Setting:
    """One network on its real inputs in both frameworks."""

    def __init__(self, network: Network, dtype: Any, vectors: int | None = None) -> None:
        """Draw the inputs; several vectors are one, over and over, with other signs."""
        self.network = network
        self.several = vectors is not None
        vector = network.vector
        if vectors is not None:
            signs = np.arange(1, vectors + 1) * (-1.0) ** np.arange(vectors)
            vector = jax.tree.map(lambda leaf: np.multiply.outer(signs, leaf), vector)
        trees = network.params, vector, network.inputs
        self.p, self.v, self.x = to_jax(trees, dtype)
        self.pt, self.vt, self.xt = to_torch(trees, dtype)
        self.y, self.yt = jnp.asarray(network.labels), torch.as_tensor(network.labels)
        self.loss, self.loss_torch = loss_of(network.model), loss_of_torch(network.model_torch)

    @property
    def gradient(self) -> Contender:
        """One jitted gradient: the unit."""
        gradient = jax.jit(jax.grad(self.loss))
        given = self.p, self.x, self.y
        return Contender("jax.grad", "jax", lambda: gradient(*given), Program(gradient, given))

    def jax(self, name: str, fun: Callable[..., Any], *given: Any) -> Contender:
        """A contender of arrays, in JAX."""
        given = given or (self.p, self.v, self.x, self.y)
        run = fun if hasattr(fun, "programs") or isinstance(fun, functools.partial) else jax.jit(fun)
        return Contender(name, "jax", lambda: run(*given), Program(run, given))

    def torch(self, name: str, one: Callable[[Any], Any]) -> Contender:
        """A contender of one vector, in torch; several go through `torch.func.vmap`."""
        run = torch.func.vmap(one) if self.several else one
        return Contender(name, "torch", lambda: run(self.vt))

    def curvlinops(self, kind: str) -> Contender:
        """Its operator."""

        def make() -> Callable[[], Any]:
            return _curvlinops.product(kind, self.network.module_torch(self.pt), self.vt, self.xt, self.yt)

        return _rivals.of_library("curvlinops", "curvlinops", make)


def setting(size: Sizes) -> Setting:
    """Return a dense network, or a convolutional one, of its sizes."""
    given = size.values
    if "mlp" in given:
        return Setting(mlp(size.mlp, size.batch), size.dtype, given.get("vectors"))
    return Setting(cnn(size.side, size.channels, size.hidden, size.batch), size.dtype, given.get("vectors"))


def hvp_of(at: Setting) -> tuple[Any, list[Contender]]:
    """The product with the Hessian, and its rivals."""

    def in_torch(vector: Any) -> Any:
        gradient = torch.func.grad(lambda p: at.loss_torch(p, at.xt, at.yt))
        return torch.func.jvp(gradient, (at.pt,), (vector,))[1]

    def by_hand(p: Any, v: Any, x: Any, y: Any) -> Any:
        one = lambda v: jax.jvp(lambda q: jax.grad(at.loss)(q, x, y), (p,), (v,))[1]  # noqa: E731
        return jax.vmap(one)(v) if at.several else one(v)

    rivals = [at.jax("jax.jvp(grad)", by_hand), at.torch("torch.func", in_torch)]
    if not at.several:
        run = functools.partial(torch_ref.curvature.hvp, at.loss_torch, at.pt, at.vt, at.xt, at.yt)
        rivals.append(Contender("double backward", "torch", run))
    return functools.partial(curvature.hvp, at.loss), rivals


def ggn_of(at: Setting) -> tuple[Any, list[Contender]]:
    """The product with the Gauss-Newton matrix, and its rivals."""

    def in_torch(vector: Any) -> Any:
        def model(p: Any) -> Any:
            return at.network.model_torch(p, at.xt)

        outputs, along = torch.func.jvp(model, (at.pt,), (vector,))
        slope = torch.func.grad(lambda f: torch.nn.functional.cross_entropy(f, at.yt))
        return torch.func.vjp(model, at.pt)[1](torch.func.jvp(slope, (outputs,), (along,))[1])[0]

    def by_hand(p: Any, v: Any, x: Any, y: Any) -> Any:
        def one(v: Any) -> Any:
            outputs, along = jax.jvp(lambda q: at.network.model(q, x), (p,), (v,))
            slope = jax.grad(lambda f: loss_of(lambda f, _: f)(f, None, y))
            middle = jax.jvp(slope, (outputs,), (along,))[1]
            return jax.vjp(lambda q: at.network.model(q, x), p)[1](middle)[0]

        return jax.vmap(one)(v) if at.several else one(v)

    ours = functools.partial(curvature.ggn_product, at.network.model, output_loss="softmax_cross_entropy")
    return ours, [at.jax("jax.jvp, vjp", by_hand), at.torch("torch.func", in_torch)]


def fisher_of(at: Setting) -> tuple[Any, list[Contender]]:
    """The product with the empirical Fisher matrix, and its rival: all gradients, stacked."""

    def stacked(p: Any, v: Any, x: Any, y: Any) -> Any:
        rows = jax.vmap(lambda x, y: jax.grad(at.loss)(p, x[None], y[None]))(x, y)
        slopes = sum(
            jnp.tensordot(g, u, u.ndim) for g, u in zip(jax.tree.leaves(rows), jax.tree.leaves(v), strict=True)
        )
        return jax.tree.map(lambda g: jnp.tensordot(slopes, g, 1) / len(y), rows)

    ours = functools.partial(
        curvature.fisher_product, at.network.model, output_loss="softmax_cross_entropy", kind="empirical"
    )
    return ours, [at.jax("jax.vmap(grad)", stacked)]


KINDS = {"hvp": hvp_of, "ggn_product": ggn_of, "fisher_product": fisher_of}


def product_problem(kind: str, size: Sizes) -> Problem:
    """One product, or that of several vectors at once."""
    at = setting(size)
    ours, rivals = KINDS[kind](at)
    return Problem([at.jax("jaxgrad", ours), *rivals, at.curvlinops(kind)], at.gradient)


def linearized_problem(kind: str, size: Sizes) -> Problem:
    """A product whose work on the parameters is done, against a graph that torch retains."""
    at = setting(size)
    ours, rivals = KINDS[kind](at)
    operator = curvature.linearize(ours, at.p, at.x, at.y)
    if kind == "hvp":
        leaves, structure = pytree.tree_flatten(at.pt)
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        loss = at.loss_torch(pytree.tree_unflatten(leaves, structure), at.xt, at.yt)
        graph = torch.autograd.grad(loss, leaves, create_graph=True)
        directions = structure.flatten_up_to(at.vt)

        def retained() -> Any:
            product = torch.autograd.grad(graph, leaves, directions, retain_graph=True)
            return pytree.tree_unflatten(list(product), structure)

        rivals = [Contender("retained graph", "torch", retained)]
    contender = Contender(
        "jaxgrad", "jax", lambda: operator(at.v), Program(lambda operator, v: operator(v), (operator, at.v))
    )
    return Problem([contender, *rivals], at.gradient)


def jacobian_problem(size: Sizes) -> Problem:
    """The Jacobian of the outputs times a vector."""
    at = setting(size)
    given = at.p, at.v, at.x

    def by_hand(p: Any, v: Any, x: Any) -> Any:
        return jax.jvp(lambda q: at.network.model(q, x), (p,), (v,))[1]

    def in_torch(vector: Any) -> Any:
        return torch.func.jvp(lambda p: at.network.model_torch(p, at.xt), (at.pt,), (vector,))[1]

    contenders = [
        at.jax("jaxgrad", functools.partial(curvature.jacobian_product, at.network.model), *given),
        at.jax("jax.jvp", by_hand, *given),
        at.torch("torch.func", in_torch),
    ]
    return Problem(contenders, at.gradient)


def dataset_problem(size: Sizes) -> Problem:
    """The product over many batches in one program, against loops over batches; the unit is one batch's gradient."""
    at = setting(size)
    count, batch = size.batches, size.batch
    # the batch over and over, its labels shifted; the last one is short
    x = np.concatenate([at.network.inputs] * count)[: count * batch - batch // 2].astype(size.dtype)
    y = ((np.arange(count * batch) // batch + np.arange(count * batch)) % 10)[: len(x)]
    batches, weights = jax.device_put(curvature.stack_batches((x, y), batch))
    one = functools.partial(curvature.ggn_product, at.network.model, output_loss="softmax_cross_entropy")
    ours = functools.partial(curvature.over_dataset, one)
    parts = [
        tuple(map(jnp.asarray, part))
        for part in zip(np.split(x, range(batch, len(x), batch)), np.split(y, range(batch, len(x), batch)), strict=True)
    ]

    parts_torch = [(torch.as_tensor(np.array(a)), torch.as_tensor(np.array(b), dtype=torch.long)) for a, b in parts]

    def loop() -> Any:
        return curvature.over_batches(one, at.p, at.v, parts)

    _, (_, torch_one) = ggn_of(at)

    def torch_loop() -> Any:
        total = jax.tree.map(torch.zeros_like, at.vt)
        for at.xt, at.yt in parts_torch:
            share = len(at.yt) / len(x)
            total = jax.tree.map(functools.partial(torch.add, alpha=share), total, torch_one.run())
        return total

    contenders = [
        at.jax("jaxgrad", ours, at.p, at.v, batches, weights),
        Contender("a loop of the host", "jax", loop),
        Contender("torch.func, a loop", "torch", torch_loop),
    ]
    return Problem(contenders, at.gradient)
