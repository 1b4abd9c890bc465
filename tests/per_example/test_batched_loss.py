"""A loss of a whole batch, in every function of the family: the error says that a loss sees one example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from tests.contract.test_bad_inputs import OF_A_LOSS

FAMILY = [name for name in OF_A_LOSS if name.startswith("per_example.")]
W = {"w": jnp.array([0.5, -1.0])}
NOTE = "The function takes ONE example, without the leading axis of the batch; it was given batch[0]: float64[2]"
LAYER = linen.Conv(1, (3,), param_dtype=jnp.float64)
VARIABLES = LAYER.init(jax.random.key(0), jnp.asarray(np.ones((1, 5, 1))))
NORM = linen.BatchNorm(use_running_average=False, axis_name="batch", param_dtype=jnp.float64)


def indexed(params, x):
    return jnp.mean(x[:, 0] * params["w"][0])


def transposed(params, x):
    return jnp.mean(x.transpose(1, 0) @ params["w"])


def contracted(params, x):
    return jnp.mean(jnp.einsum("bi,i->b", x, params["w"]))


def averaged(params, x):
    return jnp.sum(x * params["w"], axis=1).mean()


def flattened(params, x):
    return jnp.mean(x.reshape(x.shape[0], x.shape[1]) @ params["w"])


def by_flax(params, x):
    return jnp.mean(LAYER.apply(VARIABLES, x[:, :, None])) * params["w"][0]


def over_an_axis(params, x):
    return jnp.mean(jax.lax.pmean(x @ params["w"], "batch"))


def by_batch_norm(params, x):
    statistics = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    variables = {"params": {"scale": params["w"], "bias": params["w"]}, "batch_stats": statistics}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return NORM.apply(variables, x, mutable=["batch_stats"])[0].mean()


def unreduced(params, x):
    return x * params["w"]


LOSSES = [
    indexed, transposed, contracted, averaged, flattened, by_flax, over_an_axis, by_batch_norm, unreduced
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_the_note_is_there(name, loss):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        OF_A_LOSS[name](loss, W)
    assert any(note.startswith(NOTE) for note in caught.value.__notes__), caught.value
    unbound = any("Examples do not see each other here" in note for note in caught.value.__notes__)
    assert unbound == (loss in (over_an_axis, by_batch_norm))


def test_the_note_is_there_once():
    with pytest.raises(IndexError) as caught:
        OF_A_LOSS["per_example.clipped_sum"](indexed, {"w": np.ones(2)})
    assert sum(note.startswith(NOTE) for note in caught.value.__notes__) == 1
