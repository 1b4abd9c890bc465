"""Cost lines of the targets of a picture, counted in operations an entry; and of slopes of what a field is fitted by."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxgrad import inr
from jaxgrad.verify.cases.families._networks import mlp_jax
from tests.contract.costs import BATCH, CLOSE, WIDTH, Claim, check, dimension

part = functools.partial
CHANNELS = 3
POINTS = 4096


def of_picture(fun):
    """Return the program of a function of a picture of a height and twice that width."""
    return lambda height: lambda params, x: fun(jnp.zeros((height, 2 * height, CHANNELS)))


def entries(height):
    return 2 * height**2 * CHANNELS
