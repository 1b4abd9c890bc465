"""The mapping between a torch module and a tree, found by names, classes and shapes."""

import warnings
from collections.abc import Mapping as Dictionary
from typing import Any

import jax

from jaxgrad import _tree
from jaxgrad._types import Params, Tree
from jaxgrad.models._fit import Mismatch, Shapes, join, plain
from jaxgrad.models._mapping import Mapping
from jaxgrad.models._search import Search, form, renamed

__all__ = ["mapping_for", "statistics_for"]


def mapping_for(
    torch_module: Any,
    params: Params,
    *,
    rules: Dictionary[str, str] | None = None,
    flattened: Dictionary[str, tuple[int, ...]] | None = None,
    transposed: Dictionary[str, bool] | None = None,
) -> Mapping:
    r"""Find which leaf of ``params`` holds which parameter of a torch module.

    .. math:: \theta_{\text{JAX}} = A\, \theta_{\text{torch}}

    A layer is found by its name: ``encoder.layers.0.fc1`` and ``encoder/layers_0/fc1`` are one, since only letters and
    numbers count. Layers that no name pairs are paired by their class and shapes, in their order (torch's order of
    definition; ``Dense_2`` before ``Dense_10``), with a warning where shapes alone could not tell. How a layer lies in
    its leaves follows from its class: linear layers and convolutions (grouped, transposed, one to three axes), norms,
    embeddings, attention, recurrent cells; parameters that a module of yours holds itself cross as they are.

    Args:
        torch_module: A ``torch.nn.Module``; only its classes, names and shapes count.
        params: The parameters of the JAX network, as `from_linen` and `from_nnx` return them, or their shapes.
        rules: Paths for torch names, as regular expressions that match the whole name of a layer:
            ``{r"blocks\.(\d+)\.mlp": r"Block_\1/Dense_0"}``.
        flattened: For linear layers that follow a flattened image, the shape ``(C, H, W)`` of that image in torch:
            ``{"head": (16, 4, 4)}``. Shapes cannot show it, and the order of the inputs differs.
        transposed: For transposed convolutions with as many channels in as out, whether the Flax layer was made with
            ``transpose_kernel=True``.

    Returns:
        A `Mapping`, whose ``guessed`` lists what order alone decided.

    Raises:
        ValueError: With every parameter that has no leaf, every leaf that has no parameter, and every shape that does
            not fit, in one message.

    Cost:
        No array is touched.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> import torch
        >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
        >>> mapping = jaxgrad.models.mapping_for(torch.nn.Linear(3, 2), params)
        >>> print(mapping)
        weight -> kernel: [2, 3] -> [3, 2], permute(1, 0)
        bias -> bias: [2] -> [2], as it is

    References:
        ``torch.nn`` and ``flax.linen``: the documented shapes of the weights of each layer.
    """
    leaves = _shapes(params)
    hints = {"flattened": dict(flattened or {}), "transposed": dict(transposed or {})}
    search = Search(torch_module, leaves, hints, rules or {})
    guessed = search.run()
    used = {link.path for _, link in search.links}
    search.problems += [
        f"{path} {list(shape)} has no tensor{_tie(path, search.aliases)}"
        for path, shape in leaves.items()
        if path not in used
    ]
    _refuse(search.problems, "params")
    if guessed:
        warnings.warn(
            f"{', '.join(guessed)} were paired by their order alone, since their names differ and their shapes are"
            " equal; give rules= to be sure",
            stacklevel=2,
        )
    order = {name: i for i, (name, _) in enumerate(torch_module.named_parameters())}
    links = sorted((link for _, link in search.links), key=lambda link: (order[link.name], link.start or 0))
    others = frozenset(name for name, _ in torch_module.named_buffers())
    return Mapping(tuple(links), params, search.aliases, others, tuple(guessed))


def statistics_for(torch_module: Any, state: Tree, *, rules: Dictionary[str, str] | None = None) -> Mapping:
    """Find which leaf of a network's state holds which running statistic of a torch module.

    ``running_mean`` and ``running_var`` are ``mean`` and ``var`` in Flax; ``num_batches_tracked`` has no counterpart.

    Args:
        torch_module: A ``torch.nn.Module``.
        state: The state of the JAX network, as `from_linen_with_state` and `from_nnx_with_state` return it, holding
            running statistics alone.
        rules: Paths for torch names, as in `mapping_for`.

    Returns:
        A `Mapping` for the state.

    Raises:
        ValueError: With every statistic that has no leaf and every leaf that has no statistic.

    Cost:
        No array is touched.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxgrad
        >>> import torch
        >>> state = {"batch_stats": {"mean": jnp.ones(2), "var": jnp.ones(2)}}
        >>> mapping = jaxgrad.models.statistics_for(torch.nn.BatchNorm1d(2), state)
        >>> mapping.pairs()
        [('running_mean', 'batch_stats/mean'), ('running_var', 'batch_stats/var')]

    References:
        ``torch.nn.BatchNorm2d`` and ``flax.linen.BatchNorm``.
    """
    leaves = _shapes(state)
    by_form = {form(path.removeprefix("batch_stats/")): path for path in leaves}
    links, problems, others = [], [], {name for name, _ in torch_module.named_parameters(remove_duplicate=False)}
    for name, buffer in torch_module.named_buffers():
        layer, _, own = name.rpartition(".")
        if own not in ("running_mean", "running_var"):
            others.add(name)
            continue
        path = by_form.get(form(join(renamed(layer, rules or {}), own.removeprefix("running_"))))
        try:
            links.append(plain(name, path or "", leaves, tuple(buffer.shape)))
        except (Mismatch, KeyError) as reason:
            problems.append(str(reason) if path else f"{name} has no leaf")
    _refuse(problems, "state")
    return Mapping(tuple(links), state, {}, frozenset(others))


def _shapes(tree: Tree) -> Shapes:
    """Return the shape of every leaf by its path."""
    return dict(zip(_tree.leaf_paths(tree), [leaf.shape for leaf in jax.tree.leaves(tree)], strict=True))


def _tie(path: str, aliases: dict[str, str]) -> str:
    """Say why a leaf may lack a tensor: torch has one for two places."""
    node = form(path.rpartition("/")[0])
    tied = [f"{alias} is tied to {name}" for alias, name in aliases.items() if form(alias.rpartition(".")[0]) == node]
    return f" of its own: in torch {tied[0]}, so share the weight in JAX too" if tied else ""


def _refuse(problems: list[str], argument: str) -> None:
    """Raise one error with every problem.

    Raises:
        ValueError: If there is a problem.
    """
    if problems:
        headline = f"the torch module and {argument} do not correspond (rules= gives paths to names):"
        message = "\n  ".join([headline, *problems])
        raise ValueError(message)
