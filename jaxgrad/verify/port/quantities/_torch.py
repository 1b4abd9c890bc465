"""The quantities of a check in torch: plain autograd over parameters by name, loops over examples."""

from typing import Any

from jaxgrad.verify.judge._tolerances import LAYER_EPSILON
from jaxgrad.verify.port.frameworks._outputs import exchange, main, named
from jaxgrad.verify.port.frameworks._torch_module import running
from jaxgrad.verify.port.mapping._model_pair import TorchHalf
from jaxgrad.verify.port.quantities._directions import direction

__all__ = ["TorchQuantities"]

Named = dict[str, Any]


class TorchQuantities:
    """Every quantity of a pair at one precision; results are tensors by name.

    ``jitter`` is a seed that moves weights and inputs by up to a unit of rounding.
    """

    def __init__(self, bound: TorchHalf, dtype: str, *, jitter: int | None = None) -> None:
        import torch

        self.kept: dict[str, Any] = {}
        self.torch, self.bound, self.dtype, self.side = torch, bound, dtype, running(bound.torch)
        # copied before any transformation, inside of which torch refuses to
        self.side.at(dtype)
        params, self.buffers = self.side.tensors(dtype, jitter)
        self.held = {n: p for n, p in params.items() if n in self.side.frozen}
        self.live = {n: p.requires_grad_() for n, p in params.items() if n not in self.side.frozen}
        self.batch = self.side.batch(bound.batch, dtype, jitter)
        self.full_loss = self.side.loss(dtype, self.buffers)

    def get(self, name: str) -> Any:
        """Return a quantity, the user's own where there is one; each is computed once."""
        if name not in self.kept:
            self.kept[name] = self.own(name) or getattr(self, name)()
        return self.kept[name]

    def loss(self, live: Named, *batch: Any) -> Any:
        """The loss as a function of the parameters that are not frozen."""
        return self.full_loss({**live, **self.held}, *batch)

    def grad(self, value: Any, live: Named, **options: Any) -> Named:
        """The gradient of a scalar by name."""
        if not live:
            return {}
        found = self.torch.autograd.grad(value, list(live.values()), materialize_grads=True, **options)
        return dict(zip(live, found, strict=True))

    def direction(self, seed: int = 0) -> Named:
        """The pair's seeded direction; drawn once."""
        name = f"direction {seed}"
        if name not in self.kept:
            drawn = direction(self.bound, seed)
            self.kept[name] = {n: self.torch.tensor(drawn[n]).to(p.dtype) for n, p in self.live.items()}
        return self.kept[name]

    def basic(self) -> dict[str, Named]:
        """Output, loss, and the gradients of parameters and inputs."""
        inputs, targets = self.side.parts.split(self.batch)
        inputs = tuple(x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs)
        held = {n: b.clone() for n, b in self.buffers.items()}
        output = self.side.call(self.dtype, {**self.live, **self.held}, held, *inputs)
        loss = self.side.loss_fn(output, *targets)
        wanted = {f"input[{i}]": x for i, x in enumerate(inputs) if x.requires_grad}
        every = [*self.live.values(), *wanted.values()]
        found = self.torch.autograd.grad(loss, every, materialize_grads=True) if every else []
        gradient = dict(zip(self.live, found, strict=False))
        ours = dict(zip(wanted, found[len(self.live) :], strict=True))
        return {"value": {"loss": loss, **named(output)}, "gradient": gradient, "input_gradient": ours}

    def hvp(self) -> Named:
        """Double backward."""
        gradient = self.grad(self.loss(self.live, *self.batch), self.live, create_graph=True)
        v = self.direction()
        slope = sum((g * v[n]).sum() for n, g in gradient.items())
        if not slope.requires_grad:
            return {n: self.torch.zeros_like(p) for n, p in self.live.items()}
        return self.grad(slope, self.live)

    def ggn(self) -> Named:
        """``J^T H J v`` with the Jacobian of the output by double backward."""
        torch = self.torch
        inputs, targets = self.side.parts.split(self.batch)
        held = {n: b.clone() for n, b in self.buffers.items()}
        whole = self.side.call(self.dtype, {**self.live, **self.held}, held, *inputs)
        output = main(whole)
        v, probe = self.direction(), torch.zeros_like(output, requires_grad=True)
        pulled = self.grad(output, self.live, grad_outputs=probe, create_graph=True)
        inner = sum((g * v[n]).sum() for n, g in pulled.items())
        (tangent,) = torch.autograd.grad(inner, probe, retain_graph=True, materialize_grads=True)
        point = output.detach().requires_grad_()
        (slope,) = torch.autograd.grad(
            self.side.loss_fn(replace_main(whole, point), *targets), point, create_graph=True
        )
        (curved,) = torch.autograd.grad((slope * tangent.detach()).sum(), point, materialize_grads=True)
        return self.grad(output, self.live, grad_outputs=curved.detach())

    def nth(self) -> Named:
        """The derivatives 1, 2 and 3 of the loss along a line in the parameters, by nested backwards."""
        torch, v = self.torch, self.direction()
        t = torch.zeros((), dtype=next(iter(self.live.values())).dtype, requires_grad=True)
        rows = {}
        with composite_norms():
            value = self.loss({n: p.detach() + t * v[n] for n, p in self.live.items()}, *self.batch)
            for order in (1, 2, 3):
                if not value.requires_grad:
                    value = torch.zeros_like(t)
                else:
                    (value,) = torch.autograd.grad(value, t, create_graph=True, materialize_grads=True)
                rows[f"order {order}"] = value
        return rows

    def per_example(self) -> Named:
        """A gradient for every example, one at a time."""
        rows = []
        for i in range(min(examples(self.batch), EXAMPLES)):
            one = tuple(x[i : i + 1] if x.ndim and len(x) == examples(self.batch) else x for x in self.batch)
            rows.append(self.grad(self.loss(self.live, *one), self.live))
        return {n: self.torch.stack([row[n] for row in rows]) for n in self.live}

    def per_example_norms(self) -> Named:
        """The norm of every example's gradient."""
        rows = self.get("per_example").values()
        return {"norms": sum((r**2).flatten(1).sum(1) for r in rows).sqrt()}

    def meta(self) -> Named:
        """Two gradient steps, differentiated through; and the part of it that is of second order."""
        adapted = dict(self.live)
        for _ in range(STEPS):
            gradient = self.grad(self.loss(adapted, *self.batch), adapted, create_graph=True)
            adapted = {n: p - RATE * gradient[n] for n, p in adapted.items()}
        outer = self.loss(adapted, *self.batch)
        return self.grad(outer, self.live)

    def meta_second_order(self) -> Named:
        """The meta-gradient less its first-order approximation, which is zero where second order was lost."""
        adapted = {n: p.detach().requires_grad_() for n, p in self.live.items()}
        for _ in range(STEPS):
            gradient = self.grad(self.loss(adapted, *self.batch), adapted)
            adapted = {n: (p - RATE * gradient[n]).detach().requires_grad_() for n, p in adapted.items()}
        first = self.grad(self.loss(adapted, *self.batch), adapted)
        whole = self.get("meta")
        return {n: whole[n] - first[n] for n in self.live}

    def shift(self) -> Named:
        """The gradient at a shifted point."""
        v = self.direction(1)
        moved = {n: (p + 0.1 * v[n]).detach().requires_grad_() for n, p in self.live.items()}
        return self.grad(self.loss(moved, *self.batch), moved)

    def multi_loss(self) -> Named:
        """Gradients of three losses from one forward: the loss, the squared output, and their square."""
        inputs, targets = self.side.parts.split(self.batch)
        held = {n: b.clone() for n, b in self.buffers.items()}
        output = self.side.call(self.dtype, {**self.live, **self.held}, held, *inputs)
        loss = self.side.loss_fn(output, *targets)
        losses = [loss, (main(output) ** 2).mean(), loss**2]
        rows = [self.grad(value, self.live, retain_graph=True) for value in losses]
        return {n: self.torch.stack([row[n] for row in rows]) for n in self.live}

    def own(self, name: str) -> Named | None:
        """Call the user's own function for a quantity, where there is one."""
        functions = self.bound.options.own.get(name)
        return functions and functions[0](self.loss, self.live, *self.batch)


EXAMPLES, STEPS, RATE = 4, 2, 0.05
"""How many examples have their own gradient taken; the number and the rate of the inner steps."""


def examples(batch: tuple[Any, ...]) -> int:
    """Return how many examples a batch holds; arrays of another length are shared by all."""
    return next((len(x) for x in (*batch[-1:], *batch) if x.ndim), 1)


def composite_norms() -> Any:
    """Return a context in which layer and batch norms are made of elementary operations.

    torch 2.13's third derivative of its fused norms is wrong in every order of the modes: for a layer norm of 16
    entries by 4 parts in 100, against its own finite differences; that of the elementary operations is right.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    f = torch.nn.functional

    def layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = LAYER_EPSILON) -> Any:
        axes = tuple(range(-len(shape), 0))
        centred = x - x.mean(axes, keepdim=True)
        out = centred / ((centred**2).mean(axes, keepdim=True) + eps).sqrt()
        out = out if weight is None else out * weight
        return out if bias is None else out + bias

    def batch_norm(x: Any, mean: Any, var: Any, *rest: Any, **named: Any) -> Any:
        given = dict(zip(("weight", "bias", "training", "momentum", "eps"), rest, strict=False)) | named
        axes, wide = (0, *range(2, x.dim())), (1, -1, *[1] * (x.dim() - 2))
        if given.get("training"):
            mean = x.mean(axes)
            var = ((x - mean.view(wide)) ** 2).mean(axes)
        out = (x - mean.view(wide)) / (var.view(wide) + given.get("eps", LAYER_EPSILON)).sqrt()
        out = out if given.get("weight") is None else out * given["weight"].view(wide)
        return out if given.get("bias") is None else out + given["bias"].view(wide)

    class Composite(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            made = {f.layer_norm: layer_norm, f.batch_norm: batch_norm}.get(func, func)
            return made(*args, **(kwargs or {}))

    return Composite()


def replace_main(output: Any, tensor: Any) -> Any:
    """Return an output with its main tensor exchanged, and the others held."""
    held = main(output)
    return exchange(output, lambda leaf: tensor if leaf is held else leaf.detach())
