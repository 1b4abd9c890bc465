"""A digits classifier trained privately: ``python -m bench.private_digits``.

Poisson-sampled batches, padded to a fixed length; each gradient clipped, the sum noised; epsilon by ``dp-accounting``
(``pip install dp-accounting``), which knows how the batches were sampled.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer

from bench._command import run_command
from jaxgrad import per_example
from jaxgrad.verify.cases.families._networks import mlp_jax, mlp_params


def loss(params: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of one digit."""
    return optax.softmax_cross_entropy_with_integer_labels(mlp_jax(params, x), y)


def digits() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the digits, pixels scaled to unit norm, for training and for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order].astype(np.int32)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float | None:
    """Return the epsilon of Poisson-sampled Gaussian steps, or ``None`` without ``dp-accounting``."""
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError:
        return None
    accountant = PLDAccountant()
    step = PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier))
    accountant.compose(SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))


def train(noise_multiplier: float, rate: float, steps: int) -> tuple[float, float]:
    """Train for a number of steps, and return the accuracy on the test digits and the mean fraction clipped."""
    (x, y), (x_test, y_test) = digits()
    expected, length = rate * len(y), int(rate * len(y) + 6 * np.sqrt(rate * len(y)))
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), mlp_params((64, 64, 10), 0))
    optimizer = optax.chain(
        per_example.dp_aggregate(
            loss,
            clip_norm=1.0,
            noise_multiplier=noise_multiplier,
            expected_batch_size=expected,
            key=jax.random.key(1),
        ),
        optax.sgd(2.0, momentum=0.5),
    )
    state, rng, clipped = optimizer.init(params), np.random.default_rng(2), []
    for _ in range(steps):
        chosen = np.flatnonzero(rng.random(len(y)) < rate)
        if len(chosen) > length:
            # a batch this large comes once in a billion steps; dropping examples of it would break the accounting
            message = f"the sampled batch of {len(chosen)} does not fit into {length}"
            raise RuntimeError(message)
        index = np.concatenate([chosen, np.zeros(length - len(chosen), int)])
        padding = jnp.arange(length) >= len(chosen)
        update, state = optimizer.update(None, state, params, batch=(x[index], y[index]), is_padding=padding)
        params = optax.apply_updates(params, update)
        clipped.append(float(state[0].fraction_clipped))
    correct = jnp.argmax(mlp_jax(params, jnp.asarray(x_test)), -1) == y_test
    return float(correct.mean()), float(np.mean(clipped))


def main(
    noise: Annotated[float, typer.Option(min=0.0, help="Noise in multiples of the clip norm.")] = 1.5,
    rate: Annotated[float, typer.Option(min=0.001, max=1.0, help="Chance of an example to be in a batch.")] = 0.1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 150,
) -> None:
    """Train, and print epsilon and accuracy."""
    accuracy, clipped = train(noise, rate, steps)
    spent = epsilon(noise, rate, steps, 1e-5)
    shown = "unknown: pip install dp-accounting" if spent is None else f"{spent:.2f}"
    print(f"epsilon {shown} at delta 1e-5, test accuracy {accuracy:.1%}, {clipped:.0%} of the gradients clipped")


if __name__ == "__main__":
    run_command(main)
