"""The mapping between a torch module and a tree, found by names, classes and shapes."""

import dataclasses
import re
import warnings
from collections.abc import Mapping as Dictionary
from typing import Any

import jax

from jaxgrad import _tree
from jaxgrad._types import Params, Tree
from jaxgrad.models._facts import STATISTICS, JaxFacts, Shapes, TorchFacts, kinds_of, torch_facts
from jaxgrad.models._link import Layout, Link
from jaxgrad.models._mapping import Mapping
from jaxgrad.models._search import Found, correspond
from jaxgrad.models._units import torch_units
from jaxgrad.models._unpaired import unpaired

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
    facts = dataclasses.replace(torch_facts(torch_module), transposed=dict(transposed or {}))
    leaves = JaxFacts(_shapes(params))
    pinned, problems = _pinned(facts, rules or {})
    layers = {unit.path.split("#")[0] for unit in torch_units(facts)}
    problems += [
        f"{argument} speaks of {name}, which is no layer"
        for argument, named in (("flattened", flattened or {}), ("transposed", transposed or {}))
        for name in named
        if name not in layers
    ]
    found = correspond(facts, leaves, pinned, shared=False)
    loose = {key: facts.shapes[key] for key in found.unused if key in facts.loose}
    found = dataclasses.replace(found, unused=tuple(key for key in found.unused if key not in loose))
    problems += [
        f"{name} {list(facts.shapes[name])} has no leaf{why and '; '}{why}"
        if name in facts.shapes
        else f"{name} {list(leaves.shapes[name])} has no tensor{_tie(name, facts.aliases) or (why and '; ' + why)}"
        for name, why in unpaired(found, facts, leaves).items()
    ]
    problems += _strange_layers(torch_module) + _unsure(found)
    _refuse(problems, "params")
    guessed = _guessed(found)
    place = {name: i for i, name in enumerate(facts.shapes)}
    links = sorted(
        (_flattened(link, flattened or {}) for link in found.links),
        key=lambda link: (place[link.name], link.start or 0),
    )
    linked = {link.name for link in links}
    others = frozenset(name for name, _ in torch_module.named_buffers() if name not in linked)
    return Mapping(tuple(links), params, facts.aliases, others, guessed)


def _pinned(facts: TorchFacts, rules: Dictionary[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the JAX layer that rules give to torch's, and what is wrong with the rules."""
    names = {unit.path.split("#")[0] for unit in torch_units(facts)} | set(facts.kinds)
    problems = [f"rules: nothing is called {rule}" for rule in rules if not any(re.fullmatch(rule, n) for n in names)]
    pinned: dict[str, str] = {}
    owners: dict[str, list[str]] = {}
    for unit in torch_units(facts):
        name = unit.path.split("#")[0]
        path, (layer, _, own) = renamed(name, rules), name.rpartition(".")
        if path == name and unit.kind == "parameter" and renamed(layer, rules) != layer:
            path = join(renamed(layer, rules), own)
        if path != name:
            pinned[unit.path] = path
            owners.setdefault(path, []).append(name)
    problems += [
        f"{path} is the place of {' and of '.join(dict.fromkeys(layers))}"
        for path, layers in owners.items()
        if len(set(layers)) > 1
    ]
    return pinned, problems


def _unsure(found: Found) -> list[str]:
    """Say which layers could go to several places, of which neither names nor shapes choose one."""
    lines = []
    for match in found.matches:
        if match.rivals and not match.by_count:
            others = ", ".join(dict.fromkeys([match.jax, *match.rivals]))
            lines.append(
                f"{match.torch} could lie in any of {others}: their shapes are equal and the names do not say which;"
                f" give rules={{{re.escape(match.torch)!r}: ...}}"
            )
        for path, doubt in match.doubts.items():
            if doubt.startswith("as many channels"):
                lines.append(
                    f"{path}: weight has as many channels in as out: say with transposed={{{match.torch!r}: True}} or"
                    " False what transpose_kernel is"
                )
    return lines


def _guessed(found: Found) -> tuple[str, ...]:
    """Return the layers that were paired by their order alone, and warn of them."""
    guessed = tuple(match.torch for match in found.matches if match.rivals)
    if guessed:
        warnings.warn(
            f"{', '.join(guessed)} were paired by their order alone, since their names differ and their shapes are"
            " equal; give rules= to be sure",
            stacklevel=3,
        )
    return guessed


def _strange_layers(torch_module: Any) -> list[str]:
    """Say what layers have that no layer of Flax knows."""
    lines = []
    for name, part in torch_module.named_modules():
        where = name or "the module"
        if type(part).__name__.startswith("ConvTranspose") and part.groups != 1:
            lines.append(f"{where} has groups, which Flax's ConvTranspose does not know")
        if getattr(part, "bias_k", None) is not None:
            lines.append(f"Flax's attention has no bias_k, which {where} has")
    return lines


def _flattened(link: Link, images: Dictionary[str, tuple[int, ...]]) -> Link:
    """Return the link of a kernel behind a flattened image, whose inputs go from C, H, W to H, W, C."""
    image = tuple(images.get(link.name.rpartition(".")[0], ()))
    if not image or link.layout.axes != (1, 0):
        return link
    shape = link.layout.torch_shape
    layout = Layout(shape, (shape[0], *image), (*range(2, len(image) + 1), 1, 0), link.layout.jax_shape)
    return dataclasses.replace(link, layout=layout)


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
    statistics = {
        name: tuple(buffer.shape)
        for name, buffer in torch_module.named_buffers()
        if name.rpartition(".")[2] in STATISTICS
    }
    facts, leaves = TorchFacts(statistics, kinds_of(torch_module)), JaxFacts(_shapes(state))
    pinned, problems = _pinned(facts, rules or {})
    found = correspond(facts, leaves, pinned, shared=False)
    for name, why in unpaired(found, facts, leaves).items():
        shape, lack = (statistics[name], "leaf") if name in statistics else (leaves.shapes[name], "statistic")
        problems.append(f"{name} {list(shape)} has no {lack}{why and '; '}{why}")
    problems += _unsure(found)
    _refuse(problems, "state")
    place = {name: i for i, name in enumerate(statistics)}
    links = sorted(found.links, key=lambda link: place[link.name])
    named = [*torch_module.named_parameters(remove_duplicate=False), *torch_module.named_buffers()]
    others = frozenset(name for name, _ in named if name not in statistics)
    return Mapping(tuple(links), state, {}, others, _guessed(found))


def _shapes(tree: Tree) -> Shapes:
    """Return the shape of every leaf by its path."""
    return dict(zip(_tree.leaf_paths(tree), [leaf.shape for leaf in jax.tree.leaves(tree)], strict=True))


def form(name: str) -> tuple[str, ...]:
    """Return the letters and the numbers of a name, in which ``layers.0.fc1`` and ``layers_0/fc1`` are one."""
    return tuple(re.findall(r"[a-z]+|\d+", name.lower()))


def join(*parts: str) -> str:
    """Join the parts of a path that are not empty."""
    return "/".join(part for part in parts if part)


def renamed(name: str, rules: Dictionary[str, str]) -> str:
    """Return the path that the first rule that matches gives to a name, or the name."""
    for pattern, path in rules.items():
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(path)
    return name


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
