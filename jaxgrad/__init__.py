"""Derivatives beyond ``jax.grad``: pure, jitted JAX functions over parameter pytrees.

Eight families and a bridge to ready-made networks, each a namespace: ``jaxgrad.curvature.hvp(...)``.
`jaxgrad.verify` compares with PyTorch. Each is imported when it is first asked for.

Some arguments mean the same in every function:

``loss_fn``
    A pure function of the parameters and the data, ``loss_fn(params, *data)``, that returns a real number, an array of
    shape ``()``; per example, that of ONE example; ``losses_fn`` returns several. Where any arrays may come out it is
    called ``fun``, and a network that maps points to values ``field_fn``. It is static: the first call with it
    compiles a program, and later ones with the same function, and arrays of the same shapes and dtypes, run that. So
    define it once, outside of loops; a lambda in a loop is another function every time, and its fourth is warned of.
    What it closes over is read at every call, module globals are read when it is traced.

``params``
    What is differentiated: a pytree, such as Flax's nested dictionary, whose leaves are real floating-point arrays
    where they count. A result that belongs to it has its structure, shapes and dtypes. A Flax module is no such tree:
    `jaxgrad.models` makes one of it, together with its function. Leaves that are no weights, such as an activation
    function in an equinox module, are split off first.

``*data``
    Whatever else the function takes, in its order: pytrees of arrays, of integers, keys and booleans too. They are
    traced, so that other values compile nothing anew, and are handed on as they are; the function is not
    differentiated with respect to them. In `jaxgrad.per_example` they are called ``*batch``, and every leaf has the
    examples along its leading axis.

``has_aux``
    With ``has_aux=True`` the function returns a pair, ``(loss, aux)``, where ``aux`` is any pytree of arrays: logits,
    metrics, the new statistics of a BatchNorm. It comes out beside the result, ``(result, aux)``, or beside the value
    where there is one, ``((value, aux), gradient)``, from a pass that is made anyway, and is not differentiated.

``wrt``
    Which leaves of ``params`` count. The others are held at their values; a tree that is returned has zeros there. A
    leaf is known by its path, the keys joined by ``/``. A string is a glob pattern on it, or on that of a node above:
    ``"trunk"`` takes all below that node, ``"*/kernel"`` every kernel. A list of strings takes what any of them takes,
    a predicate ``wrt(path, leaf)`` the leaves for which it is true, and ``None``, the default, all. What selects
    nothing is refused.

``axis_name``
    For calls inside of `jax.shard_map`: the name of the mesh axis, or names, over whose devices the batch is spread.
    The loss is then the mean of the devices' losses (in `jaxgrad.per_example` the sum, mean or noise that of all
    examples), and the result the same on all of them. With ``None``, the default, it is that of the device's own
    examples, as if no other device were there. Arrays on a mesh under ``jax.jit`` need no word.

>>> import jax.numpy as jnp
>>> import jaxgrad
>>> def loss(params, x, y):
...     prediction = jnp.tanh(x @ params["trunk"]["kernel"]) @ params["head"]["kernel"]
...     return jnp.mean((prediction - y) ** 2), jnp.sum(prediction > y)
>>> params = {"trunk": {"kernel": jnp.ones((2, 3))}, "head": {"kernel": jnp.ones(3)}}
>>> x, y = jnp.ones((4, 2)), jnp.ones(4)
>>> gradient, aux = jaxgrad.gradient.parameter_gradient(loss, params, x, y, has_aux=True, wrt="head")
>>> aux.item(), gradient["trunk"]["kernel"].tolist(), bool(jnp.all(gradient["head"]["kernel"] > 0))
(4, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], True)
"""

# first: until it is there, an interrupt of the command is left to Python
from jaxgrad import _interrupt as _interrupt  # isort: split

from typing import TYPE_CHECKING

from jaxgrad._lazy import door

if TYPE_CHECKING:
    from jaxgrad import curvature as curvature
    from jaxgrad import gradient as gradient
    from jaxgrad import inr as inr
    from jaxgrad import meta as meta
    from jaxgrad import models as models
    from jaxgrad import multi_loss as multi_loss
    from jaxgrad import nth as nth
    from jaxgrad import per_example as per_example
    from jaxgrad import shift as shift
    from jaxgrad import verify as verify

__all__ = ["curvature", "gradient", "inr", "meta", "models", "multi_loss", "nth", "per_example", "shift"]

# here and nowhere else: the package's metadata is read from this line when it is built
__version__ = "0.1.0"

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(__name__, {name: f"jaxgrad.{name}" for name in (*__all__, "verify")})
