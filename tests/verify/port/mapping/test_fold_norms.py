"""Weight norm of torch's, folded where the port holds the product."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from jaxgrad.verify.port.frameworks._torch_module import copied
from jaxgrad.verify.port.mapping._fold_norms import folded, layers_to_fold


def mapping(used, unused):
    return SimpleNamespace(entries=[SimpleNamespace(torch=tuple(used))], unused=unused)


def test_the_layers_are_those_whose_length_has_no_place():
    new = "parametrizations.weight.original"
    assert layers_to_fold(mapping([f"a.{new}1"], [f"a.{new}0"])) == ["a"]
    assert layers_to_fold(mapping(["a.weight_v", "b.weight_v", "b.weight_g"], ["a.weight_g"])) == ["a"]
    assert layers_to_fold(mapping(["weight_v"], ["weight_g"])) == [""]
    assert layers_to_fold(mapping([], ["a.weight_g"])) == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
def test_the_copy_computes_the_same_and_the_module_is_not_changed(norm):
    layer = nn.Sequential(norm(nn.Linear(3, 2)))
    names, x = set(dict(layer.named_parameters())), torch.ones(1, 3)
    plain = folded(layer, ["0"], copied)
    assert set(dict(plain.named_parameters())) == {"0.weight", "0.bias"}
    torch.testing.assert_close(plain(x), layer(x))
    assert set(dict(layer.named_parameters())) == names
