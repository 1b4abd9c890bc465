"""Layers of equal shapes whose names do not say which is which: what both models compute with either decides."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from jaxgrad.models._search import Match
from jaxgrad.verify.judge._tolerances import FLATTENED_ALIKE
from jaxgrad.verify.port.frameworks._compile import quick
from jaxgrad.verify.port.mapping._model_pair import ModelPair
from jaxgrad.verify.port.mapping._search import Mapping

__all__ = ["resolve_twins"]

TRIES = 12
"""How many other mappings are tried, each by one evaluation of a program that is compiled once."""


def resolve_twins(pair: ModelPair) -> ModelPair:
    """Return a pair in which layers that names leave open are mapped so that both losses are the same.

    A pair whose losses are the same already, or with no exchange, is left as it is; so is one that fails in float64,
    which is told where its quantities are asked for.
    """
    with contextlib.suppress(Exception):
        return _resolved(pair) if pair.mapping.twins else pair
    return pair


def _resolved(pair: ModelPair) -> ModelPair:
    """Try the mapping that there is, and then the others."""
    want = pair.torch.value(pair.batch)
    # the code of the port is asked, also where its own weights are judged
    asked = dataclasses.replace(pair, options=dataclasses.replace(pair.options, weights="torch"))

    def loss(params: Any, rest: Any, *batch: Any) -> Any:
        return asked.jax_loss_of(rest)(params, *batch)

    program, data = quick(asked.wide(loss)), asked.data("float64")
    for mapping in itertools.chain([pair.mapping], _others(pair.mapping)):
        weights = dataclasses.replace(asked, mapping=mapping).weights("float64")
        if abs(float(program(*weights, *data)) - want) <= FLATTENED_ALIKE * abs(want):
            return dataclasses.replace(pair, mapping=dataclasses.replace(mapping, twins=()))
    return pair


def _others(mapping: Mapping) -> Iterator[Mapping]:
    """Yield the mappings in which twins have changed places, as far as they fill the same leaves."""
    paths, keys = {e.jax for e in mapping.entries}, {k for e in mapping.entries for k in e.torch}
    for pinned in itertools.islice(exchanges(mapping.twins), TRIES):
        found = mapping.exchanged(pinned) if mapping.exchanged is not None else mapping
        if {e.jax for e in found.entries} == paths and {k for e in found.entries for k in e.torch} == keys:
            yield dataclasses.replace(mapping, entries=found.entries, links=found.links)


def exchanges(twins: Sequence[Match]) -> Iterator[dict[str, str]]:
    """Yield the JAX layer of each torch layer after twins have changed places: two of them, or all that can at once."""
    pairs = [(a, b) for a, b in itertools.combinations(twins, 2) if b.jax in a.rivals or a.jax in b.rivals]
    apart: list[tuple[Match, Match]] = []
    for pair in pairs:
        if not any({one.torch for one in pair} & {one.torch for one in other} for other in apart):
            apart.append(pair)
    for group in [[pair] for pair in pairs] + ([apart] if len(apart) > 1 else []):
        yield {torch: jax for a, b in group for torch, jax in ((a.torch, b.jax), (b.torch, a.jax))}
