"""A test that needs torch is found by its code, however far torch is, and no other is."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import torch_ref.nth
from jaxgrad import verify
from tests import bridge, problems
from tests.bridge import assert_parity, to_torch
from tests.lanes import HAS_TORCH, needs_torch


def imports_it():
    import torch

    return torch.ones(1)


def reads_the_reference():
    return torch_ref.nth.jet


def asks_a_helper():
    return [imports_it() for _ in range(2)]


def asks_a_module_of_helpers():
    return bridge.to_torch


def reads_a_twin():
    return problems.regression().params_torch


def runs_a_text():
    return "x = 1\nimport numpy, torch\n"


def closes_over(value):
    return lambda: value


def runs_the_cases():
    return list(verify.run("H2"))


@given(st.integers())
def draws(number):
    imports_it()


def plain():
    """Compares with a closed form, in words about torch."""
    assert_parity(np.ones(1), np.ones(1))
    return "a torch tensor"


@pytest.mark.parametrize(
    "code",
    [
        imports_it,
        reads_the_reference,
        asks_a_helper,
        asks_a_module_of_helpers,
        reads_a_twin,
        runs_a_text,
        closes_over(to_torch),
        closes_over([{"twin": torch_ref.nth.jet}]),
        functools.partial(plain, torch_ref.nth.jet),
        runs_the_cases,
        draws,
    ],
)
def test_what_needs_torch_is_found(code):
    assert needs_torch(code)


@pytest.mark.parametrize("code", [plain, closes_over(plain), SimpleNamespace(value=1), "torch", None])
def test_what_does_not_is_left_alone(code):
    assert not needs_torch(code)


def test_this_run_says_what_it_is(request):
    marked = [item for item in request.session.items if item.get_closest_marker("torch")]
    assert HAS_TORCH or marked == []
