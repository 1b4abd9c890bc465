"""Cost lines of gradients at moved parameters, of gradients by the input, and of whole Jacobians."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgrad import gradient, shift
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, in_its_own_direction, loss, several

part = functools.partial
PARAMETERS = 5 * WIDTH * (WIDTH + 1)
MANY = 8
"""How often the batch is taken where there is work for every parameter: beside so many examples it is little."""


def of_many(fun):
    """Return a program of a batch that is some times as large."""
    return lambda params, x: fun(params, jnp.tile(x, (MANY, 1)))


def critic(params, x):
    return jnp.sum(mlp_jax(params, x) ** 2)


def penalty(params, x):
    return gradient.gradient_penalty(critic, params, x)


def rows(count, **options):
    """Return the program of a Jacobian, or of another derivative, of some losses."""
    return lambda params, x: gradient.jacobian(several(count), params, x, **options)


def hessians(count):
    return lambda params, x: gradient.hessian(several(count), params, x, max_bytes=2**34)


def mixed(params, x):
    return gradient.mixed_jacobian(loss, params, x, max_bytes=2**40)


def with_outputs(params, x):
    """Return a loss, and what a whole forward makes beside it."""
    out = mlp_jax(params, x)
    return jnp.mean(out**2), jnp.mean(out, axis=0)


def clean_aux(fun):
    return lambda _: in_its_own_direction(part(fun, with_outputs, has_aux=True))


def exact(count):
    return part(shift.value_and_sam_gradient, loss, radius=0.1, num_steps=count, exact=True)


def from_values(**options):
    """Return programs of the score function at some shifts at once."""

    def program(k):
        def found(params, x):
            shifts = jax.tree.map(lambda leaf: jnp.stack([leaf] * k), params)
            return shift.score_function_gradient(loss, params, shifts, x, scale=0.1, chunk=k, **options)

        return found

    return program


def ivon(count):
    """Return a step from some samples, which are given: they are drawn of random numbers, and those counted apart."""

    def program(params, x):
        method = shift.ivon(0.1, effective_sample_size=100.0)
        shifts = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), params)
        slopes = jax.vmap(lambda a: shift.gradient(loss, params, a, x))(shifts)
        return method.update(slopes, shifts, method.init(params), params)

    return of_many(program)


def looksam(step):
    """Return the program of a step whose number is known, so that XLA keeps the one branch that is taken."""

    def program(params, x):
        state = shift.looksam_init(params)._replace(step=jnp.asarray(step, jnp.int32))
        return shift.looksam_gradient(loss, params, state, x, radius=0.1, every=5)

    return of_many(program)


def looksam_mapped(_):
    def program(params, x):
        def one(kept):
            state = shift.looksam_init(params)._replace(step=kept)
            return shift.looksam_gradient(loss, params, state, x, radius=0.1, every=5)

        return jax.vmap(one)((x[:1, 0] > 0).astype(jnp.int32))  # a number that XLA does not know

    return of_many(program)


def sam_transform(count):
    def program(params, x):
        sam = shift.sam_transform(optax.sgd(0.1), radius=0.1, num_steps=count)
        return sam.update(params, sam.init(params), params, grad_fn=lambda p: jax.grad(loss)(p, x))

    return program


CLAIMS = [
    Claim(
        "gradient.value_and_grad",
        "3 where matrix products dominate",
        "evaluation",
        lambda _: 3,
        lambda _: part(gradient.value_and_grad, loss),
    ),
    Claim(
        "gradient.input_gradient",
        "One gradient, less the products that only the gradient of the parameters needs",
        "gradient",
        lambda _: 10 / 14,  # of five layers the forward and the backward by the input, and not that by the weights
        lambda _: part(gradient.input_gradient, loss),
    ),
    Claim(
        "gradient.gradient_penalty",
        "About 2/3 of a gradient over the batch",
        "gradient",
        lambda _: 2 / 3,
        lambda _: penalty,
    ),
    Claim(
        "gradient.gradient_penalty",
        "its own gradient with respect to ``params`` about 2.1",
        "gradient",
        lambda _: 2.1,
        lambda _: jax.grad(penalty),
        within=CLOSE,
    ),
    Claim(
        "gradient.jacobian",
        "one evaluation, and two for each number of the result",
        "gradient",
        lambda k: (1 + 2 * k) / 3,
        rows,
        (2, 8),
        within=CLOSE,
    ),
    Claim(
        "gradient.jacobian",
        "two for each parameter",
        "gradient",
        lambda _: 2 * PARAMETERS / 3,
        part(rows, mode="forward"),
        within=CLOSE,
    ),
    Claim(
        "gradient.hessian",
        "``P`` forward passes over a program of ``M`` backward passes, each about 1.9 gradients for one result and 1.2"
        " more for every further one",
        "gradient",
        lambda m: PARAMETERS * (1.9 + 1.2 * (m - 1)),
        hessians,
        (1, 2),
        within=CLOSE,
    ),
    Claim(
        "gradient.mixed_jacobian",
        "About one gradient and ``min(P, N)`` products of 1.4 gradients each",
        "gradient",
        lambda _: 1 + 1.4 * BATCH * WIDTH,
        lambda _: mixed,
        within=CLOSE,
    ),
    Claim(
        "shift.gradient",
        "a clean aux is one more forward",
        "gradient",
        lambda _: 4 / 3,
        clean_aux(shift.gradient),
    ),
    Claim(
        "shift.value_and_grad",
        "One gradient",
        "gradient",
        lambda _: 1,
        lambda _: in_its_own_direction(part(shift.value_and_grad, loss)),
    ),
    Claim(
        "shift.value_and_grad",
        "a clean aux is one more forward",
        "gradient",
        lambda _: 4 / 3,
        clean_aux(shift.value_and_grad),
    ),
    *(
        Claim(
            f"shift.{name}",
            "two more for every step where it is exact",
            "gradient",
            lambda n: 1 + n + 2 * n,
            lambda n, fun=fun: part(fun, loss, radius=0.1, num_steps=n, exact=True),
            (1, 2),
            within=CLOSE,
        )
        for name, fun in (
            ("sam_gradient", shift.sam_gradient),
            ("value_and_sam_gradient", shift.value_and_sam_gradient),
        )
    ),
    Claim(
        "shift.value_and_sam_gradient",
        "``num_steps + 1`` gradients",
        "gradient",
        lambda n: n + 1,
        lambda n: part(shift.value_and_sam_gradient, loss, radius=0.1, num_steps=n),
        (1, 2),
    ),
    Claim(
        "shift.value_and_extragradient",
        "Two gradients",
        "gradient",
        lambda _: 2,
        lambda _: part(shift.value_and_extragradient, loss, learning_rate=0.1),
    ),
    Claim(
        "shift.score_function_gradient",
        'one more for the baseline ``"clean"``',
        "evaluation",
        lambda k: k + 1,
        from_values(baseline="clean"),
        (2, 4),
    ),
    Claim("shift.ivon", "One gradient a sample", "gradient", lambda k: MANY * k, ivon, (1, 4), within=CLOSE),
    Claim(
        "shift.looksam_gradient",
        "One gradient",
        "gradient",
        lambda _: MANY,
        looksam,
        (1, 4),
        compiled=True,
        within=CLOSE,
    ),
    Claim(
        "shift.looksam_gradient",
        "two at every ``k``-th step",
        "gradient",
        lambda _: 2 * MANY,
        looksam,
        (0, 5),
        compiled=True,
        within=CLOSE,
    ),
    Claim(
        "shift.looksam_gradient",
        "under ``vmap`` two at all of them",
        "gradient",
        lambda _: 2 * MANY,
        looksam_mapped,
        compiled=True,
        within=CLOSE,
    ),
    Claim(
        "shift.sam_transform",
        "``num_steps`` calls of ``grad_fn`` at a step of SAM",
        "gradient",
        lambda n: n,
        sam_transform,
        (1, 2),  # the steps but the last one are a loop
    ),
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.name}: {claim.words}")
def test_the_count_is_what_the_cost_line_says(claim):
    check(claim)
