"""What a name says of the part that a tensor plays in its layer."""

import pytest

from jaxgrad.models._names import role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("kernel", ("weight", "")),
        ("Gamma", ("weight", "")),
        ("weight_g", ("g", "")),
        ("running_var", ("var", "")),
        ("conv1_w", ("weight", "conv1")),
        ("lm_head_bias", ("bias", "lm_head")),
        ("bn_running_mean", ("mean", "bn")),
        ("cls_token", None),
        ("table2", None),
    ],
)
def test_the_role_and_the_rest_of_a_name(name, role):
    assert role_of(name) == role
