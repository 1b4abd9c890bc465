"""What the stateless scalarizers share: the twins, trees of losses, small dtypes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrad import multi_loss
from tests.bridge import assert_parity
from tests.multi_loss.scalarizers import LOSSES, OPTIONS, evaluated, evaluated_torch, ours

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.parametrize("name", OPTIONS)
def test_matches_torch(name):
    assert_parity(evaluated(name), evaluated_torch(name))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_tree_of_losses_is_that_array(name):
    """Of several dtypes, and Python's numbers; weights may be a tree like it."""
    value = evaluated(name)[0][0]
    named = {"a": LOSSES[0, 0], "b": jnp.asarray(LOSSES[0, 1]), "c": float(LOSSES[0, 2])}
    np.testing.assert_allclose(ours(name)(named), value, rtol=1e-14)
    if "weights" in OPTIONS[name]:
        weights = dict(zip("abc", OPTIONS[name]["weights"].tolist(), strict=True))
        np.testing.assert_allclose(ours(name)(named, weights=weights), value, rtol=1e-14)


@pytest.mark.parametrize("name", OPTIONS)
def test_losses_of_16_bits_are_joined_in_float32(name):
    narrow = jnp.asarray(LOSSES[1], jnp.bfloat16)
    value, slope = jax.value_and_grad(ours(name))(narrow)
    assert (value.dtype, slope.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(value, ours(name)(narrow.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sick_loss_shows(name):
    """Beside losses that are sound, and beside one of zero."""
    sick = np.array([[0.0, value, 1.0] for value in (np.nan, np.inf, -np.inf)])
    values = jax.jit(jax.vmap(ours(name)))(np.concatenate([sick, sick + 1]))
    assert not np.isfinite(values).any()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_no_square_or_product_leaves_float32(name, scale):
    """With ``mu`` and the penalty of the cosine in the unit of the losses, the joined loss is linear in it."""
    options = {key: value * (scale if key in {"mu", "reference"} else 1) for key, value in OPTIONS[name].items()}
    if name == "cosmos":
        options["penalty"] *= scale
    value, slope = jax.value_and_grad(lambda losses: getattr(multi_loss, name)(losses, **options))(
        (LOSSES[0] * scale).astype(np.float32)
    )
    np.testing.assert_allclose(value / scale, evaluated(name)[0][0], rtol=1e-5)
    np.testing.assert_allclose(slope, evaluated(name)[1][0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, r"losses must be an array of shape \(K,\).*got float64\[2,3\].*jax.vmap"),
        (jnp.array(1.0), ValueError, r"losses must be an array of shape \(K,\).*got float64\[\]"),
        ({"a": np.ones(2)}, ValueError, r"losses must be .*dict of scalars.*got float64\[2\].*\.mean\(\)"),
        (np.ones(0), ValueError, r"losses must be an array of shape \(K,\)"),
        (jnp.array([1, 2]), TypeError, r"losses must have leaves that are real floating-point.*\n.*got int64\[2\]"),
        ((1.0, 1j), TypeError, r"losses\[1\]: got "),
    ],
)
def test_what_is_no_losses_is_refused(name, losses, error, message):
    with pytest.raises(error, match=message):
        ours(name)(losses)


def without_trees(name):
    """Return the options that are one number."""
    return {option: value for option, value in OPTIONS[name].items() if np.ndim(value) == 0}


@pytest.mark.parametrize("name", [name for name in OPTIONS if "weights" in OPTIONS[name]])
def test_rejects_weights_of_other_losses(name):
    for argument in {"weights", "reference"} & OPTIONS[name].keys():
        with pytest.raises(
            ValueError, match=rf"{argument} must hold one number for each of the 3 losses.*float64\[2\]"
        ):
            ours(name)(LOSSES[0], **{argument: jnp.ones(2)})
        with pytest.raises(TypeError, match=f"{argument} must hold real numbers"):
            ours(name)(LOSSES[0], **{argument: jnp.full(3, 1j)})
        named = {argument: dict(zip("abd", (1.0, 2.0, 3.0), strict=True))}
        for losses in (LOSSES[0], dict(zip("abc", LOSSES[0], strict=True))):
            options = named if argument == "weights" else named | {"weights": np.ones(3)}
            with pytest.raises(ValueError, match=rf"{argument} must hold one number.*got a tree PyTreeDef\("):
                getattr(multi_loss, name)(losses, **{**without_trees(name), **options})
