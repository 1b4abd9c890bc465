"""A torch model and its JAX port, bound together by a mapping, a loss and a batch."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxgrad.verify.port.frameworks._batch import narrow
from jaxgrad.verify.port.frameworks._islands import Islands
from jaxgrad.verify.port.frameworks._jax_model import JaxSide, cast, flatten, unflatten
from jaxgrad.verify.port.frameworks._lift_jax import lifted
from jaxgrad.verify.port.mapping._search import Mapping

__all__ = ["Pair"]


class Pair:
    """Both models, ready to be compared; made by `jaxgrad.verify.pair`."""

    def __init__(
        self,
        torch: Any,
        jax_side: JaxSide,
        jax_loss: Any,
        batch: tuple[np.ndarray, ...],
        adapt: Callable[..., tuple[Any, ...]],
        options: dict[str, Any],
    ) -> None:
        self.torch, self.jax, self.jax_loss = torch, jax_side, jax_loss
        self.batch, self.adapt, self.options = batch, adapt, options
        self.shapes = {name: p.shape for name, p in torch.params.items()}
        self.mapping: Mapping = Mapping((), (), ())
        self.islands: Islands | None = None
        """What either side computes in float32 itself, once it was looked for."""
        self.images: dict[str, tuple[int, ...]] = {}
        """Torch layers that take a flattened image: its channels, height and width."""
        self.flattened: dict[str, tuple[int, ...]] = {}
        """Those of them whose kernels were turned for an image with its channels last."""

    @functools.cached_property
    def jax_paths(self) -> list[str]:
        """The paths of JAX's parameters."""
        return list(flatten(self.jax.params))

    def weights(self, dtype: str) -> tuple[Any, Any]:
        """Return JAX's parameters and other collections in a dtype: torch's, carried across, or the port's own."""
        params, rest = self.jax.params, self.jax.rest
        if self.options["weights"] == "torch":
            made = self.mapping.fill({**self.torch.params, **self.torch.buffers}, [e.jax for e in self.mapping.entries])
            own = flatten(params)
            params = unflatten(params, {path: made.get(path, leaf) for path, leaf in own.items()})
            others = flatten(rest)
            rest = unflatten(rest, {path: made.get(path, leaf) for path, leaf in others.items()})
        return cast(params, dtype), cast(rest, dtype)

    def data(self, dtype: str) -> tuple[Any, ...]:
        """Return the batch as JAX arrays, in torch's layout."""
        return tuple(narrow(cast(x, dtype)) for x in self.batch)

    def jax_loss_of(self, rest: Any) -> Callable[..., Any]:
        """Return ``loss(params, *batch)`` on the JAX side; the batch comes in torch's layout."""

        def evaluate(params: Any, *batch: Any) -> Any:
            inputs, targets = self.torch.parts.split(self.adapt(*batch))
            output, _ = self.jax.apply(params, rest, *inputs)
            return self.jax_loss(output, *targets)

        return evaluate

    def wide(self, fun: Callable[..., Any], dtype: str = "float64") -> Callable[..., Any]:
        """Return a function of JAX's with its float32 islands in float64, where that is the precision."""
        if dtype != "float64":
            return fun
        islands = self.islands or Islands()
        return lifted(fun, data=islands.data, known=islands.known)

    def pull_back(self, gradient: Any) -> dict[str, Any]:
        """Carry a tree like JAX's parameters to torch's names and shapes; frozen tensors are left out."""
        found = self.mapping.pull_back(flatten(gradient), self.shapes)
        return {name: leaf for name, leaf in found.items() if name not in self.torch.frozen}

    def push(self, tensors: dict[str, Any], like: Any) -> Any:
        """Carry a direction by torch names to a tree like JAX's parameters; leaves that nothing fills stay still."""
        made = self.mapping.fill(tensors, self.jax_paths)
        still = flatten(like)
        return unflatten(like, {path: made.get(path, np.zeros(leaf.shape)) for path, leaf in still.items()})

    def jax_path(self, key: str) -> str:
        """Return the JAX leaves that a torch tensor fills, for messages."""
        return ", ".join(e.jax for e in self.mapping.entries if key in e.torch)

    def untied(self) -> dict[str, list[str]]:
        """Return torch tensors that several layers share, where each of these has a leaf of its own in JAX."""
        apart: dict[str, list[str]] = {}
        for entry in self.mapping.entries:
            whole = all(link.start is None for link in entry.links)
            if len(entry.torch) == 1 and whole and entry.torch[0] in self.torch.aliases.values():
                apart.setdefault(entry.torch[0], []).append(entry.jax)
        return {key: paths for key, paths in apart.items() if len(paths) > 1}

    def audit(self, **options: Any) -> Any:
        """Compare mapping and settings before anything runs; see `jaxgrad.verify.audit`."""
        from jaxgrad.verify.port._audit import audit

        return audit(self, **options)

    def check(self, what: Sequence[str] | None = None, **options: Any) -> Any:
        """Compare what both models compute; see `jaxgrad.verify.check`."""
        from jaxgrad.verify.port._check import check

        return check(self, what, **options)
