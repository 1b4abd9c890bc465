"""Every number of gradients, evaluations, passes or products in a Cost line is counted by a test, or says why not.

A Cost section is read clause by clause. A clause that holds such a number must share a word with what a claim of
`test_cost_lines` quotes, or with an exemption; clauses about memory are not read, for FLOPs say nothing of them.
"""

import importlib
import pathlib
import re

import pytest

from tests.contract.costs import cost_of
from tests.contract.house import FAMILIES

# the docstrings and the claims are the same on every JAX
pytestmark = pytest.mark.either_lane

NUMBER = re.compile(
    r"``(?!jax\.)[^`\"]+(?<!\(\))``|\d|\b(?:one|two|three|ten|half|twice|each|another)\b", re.IGNORECASE
)
UNIT = re.compile(
    r"\b(?:gradients?|evaluations?|forwards?|backwards?|(?:forward|backward|directional) (?:pass|passes|derivatives)"
    r"|products?|losses|calls|trainings)\b"
)
BARE = re.compile(r"(?<![\w`])\d+(?:[./]\d+)?(?![\w`])")
"""A number whose unit stands in the clause before."""
MEMORY = re.compile(r"\b(?:memory|bytes|random numbers?|numbers of memory|copy|copies|trees?|bits)\b")

EXEMPT: dict[str, dict[str, str]] = {
    "inr.image_targets": {"Two products with a matrix along each axis": "the operations behind it are counted"},
    "inr.sine": {"20 instructions for 8 entries": "instructions of a processor"},
    "inr.sine_cosine": {"40 instructions for 8 entries": "instructions of a processor"},
    "meta.data_weights_gradient": {"leaving out each of ``N`` examples": "of another method, which is not here"},
    "meta.hypergradient": {"``num_steps`` gradients": "in the counts of what comes beside them"},
    "meta.smoothness": {"three trainings": "in the seven gradients a step that are counted"},
    "meta.value_and_meta_sgd_gradient": {"one product a step": "of two numbers; the gradients behind it are counted"},
    "multi_loss.aggregate": {"each row is read": "what is read from memory"},
    "multi_loss.aggregated_gradient": {"for two losses that of their gradients": "what is held in memory"},
    "multi_loss.cagrad": {"one elimination of": "operations on a small matrix, in a solver that XLA does not count"},
    "multi_loss.famo": {"a forward for ``after``": "of the caller"},
    "multi_loss.gradnorm": {
        "``K`` operations beside the losses": "operations on as many numbers",
        "one backward": "in the count of the norms",
    },
    "multi_loss.gradients": {"One forward and ``K`` backwards": "the number of gradients behind it is counted"},
    "multi_loss.mgda": {"a few operations on": "operations on a small matrix"},
    "nth.biharmonic": {"Interpolation from fourth derivatives": "of another method, which is not here"},
    "shift.evolution_gradient": {"or of low rank of ``2 chunk`` forward passes": "what is held in memory"},
    "shift.expected_gradient": {"the whole batch has that of its own forward pass": "what is held in memory"},
}
"""For a function, words of a clause, and why no count is held against it."""


def claims():
    """Return what is quoted of each function's Cost section."""
    quoted: dict[str, list[str]] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("test_cost_lines*.py")):
        if path.stem != pathlib.Path(__file__).stem:
            for claim in importlib.import_module(f"tests.contract.{path.stem}").CLAIMS:
                quoted.setdefault(claim.name, []).append(claim.words)
    return quoted


def clauses(text):
    """List where the clauses begin and end that hold a number of what is counted."""
    plain = re.sub(r"``[^`]*``", lambda code: "_" * len(code.group()), text)
    ends = [found.end() for found in re.finditer(r"[.;:,](?=\s|$)|\s(?=and\s)", plain)] + [len(text)]
    for start, end in zip([0, *ends], ends, strict=False):
        clause = text[start:end]
        counts = (NUMBER.search(clause) and UNIT.search(clause)) or BARE.search(clause)
        if counts and not MEMORY.search(clause):
            yield start, end


def uncovered(text, phrases):
    """List the clauses with which no phrase shares a word."""
    spans = [(text.find(phrase), text.find(phrase) + len(phrase)) for phrase in phrases if phrase in text]
    return [
        text[start:end].strip()
        for start, end in clauses(text)
        if not any(first < end - 1 and last > start + 1 for first, last in spans)
    ]


def public():
    return [
        f"{family}.{name}"
        for family in FAMILIES
        for name in importlib.import_module(f"jaxgrad.{family}").__all__
        if cost_of(f"{family}.{name}")
    ]


QUOTED = claims()


@pytest.mark.parametrize("name", public())
def test_every_number_is_counted_or_says_why_not(name):
    left = uncovered(cost_of(name), [*QUOTED.get(name, ()), *EXEMPT.get(name, ())])
    assert left == [], "count it in a test_cost_lines file, or say in EXEMPT why not"


@pytest.mark.parametrize("name", sorted(EXEMPT))
def test_no_exemption_is_stale(name):
    text, counted = cost_of(name), QUOTED.get(name, [])
    left = " ".join(uncovered(text, counted))
    for phrase, reason in EXEMPT[name].items():
        assert reason
        assert phrase in text
        assert phrase in left, "a claim counts it"


def test_a_number_without_a_claim_is_found():
    text = "About 1.7 gradients in time, 1.3 for each of several, and one gradient in memory; no array of P x P."
    assert uncovered(text, ["1.7 gradients"]) == ["1.3 for each of several,"]
    assert uncovered(text, ["About 1.7 gradients", "1.3 for"]) == []
    assert uncovered("``K + 1`` backwards, the products of `gram`.", []) == ["``K + 1`` backwards,"]
