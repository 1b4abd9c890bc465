"""The ordinary functions of the coverage table, by class; each maps a vector of four positive numbers to an array."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jax.scipy.special as jsp
import jax.scipy.stats as jst
import numpy as np
import optax
from jax import lax

X = jnp.array([0.3, 0.7, 1.1, 0.45])
V = jnp.array([1.0, -0.5, 0.3, 0.8])
KEY = jax.random.key(0)
W = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)) / 2)
SPD = jnp.array([[2.0, 0.3, 0, 0], [0.3, 2, 0.1, 0], [0, 0.1, 2, 0.2], [0, 0, 0.2, 2]])
PLACES = jnp.array([0, 2])


@jax.custom_jvp
def own_jvp(x):
    return jnp.sin(x)


own_jvp.defjvps(lambda t, ans, x: t * jnp.cos(x))


@jax.custom_vjp
def own_vjp(x):
    return jnp.sin(x)


own_vjp.defvjp(lambda x: (jnp.sin(x), x), lambda r, g: (g * jnp.cos(r),))


def image(x):
    return jnp.outer(x, x).reshape(1, 4, 4, 1)


def sequence(x):
    return jnp.stack([x, x**2, jnp.sin(x)])[None]


def module(layer, shape, *more):
    """A Flax module in float64, its weights drawn anew with the same key."""

    def fun(x):
        inputs = shape(x)
        still = lax.stop_gradient(jax.tree.map(lambda leaf: leaf * 0 + 0.5, inputs))
        variables = layer.init(KEY, *[still] * (1 + len(more)))
        out = layer.apply(variables, inputs, *[m(x) for m in more], mutable=["batch_stats"])
        return jax.tree.leaves(out[0])[0]

    return fun


def typed(name, *args, **options):
    return getattr(nn, name)(*args, dtype=jnp.float64, param_dtype=jnp.float64, **options)


def row(x):
    return x[None]


ACTIVATIONS = {
    name: getattr(jax.nn, name)
    for name in [
        "relu",
        "relu6",
        "sigmoid",
        "leaky_relu",
        "silu",
        "softplus",
        "elu",
        "selu",
        "celu",
        "mish",
        "hard_tanh",
        "log_sigmoid",
        "soft_sign",
        "squareplus",
        "hard_sigmoid",
        "hard_silu",
        "softmax",
        "log_softmax",
    ]
} | {
    "gelu, tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu, erf": lambda x: jax.nn.gelu(x, approximate=False),
    "x sigmoid(x)": lambda x: x * jax.nn.sigmoid(x),
    "logsumexp": jsp.logsumexp,
    "glu": lambda x: jax.nn.glu(x),
}

ELEMENTWISE = {
    name: getattr(jnp, name)
    for name in [
        "tanh",
        "sin",
        "cos",
        "tan",
        "exp",
        "exp2",
        "log",
        "log2",
        "log1p",
        "expm1",
        "sqrt",
        "cbrt",
        "arctan",
        "sinh",
        "cosh",
        "arcsinh",
        "square",
        "reciprocal",
        "sinc",
    ]
} | {
    "rsqrt": lax.rsqrt,
    "arcsin": lambda x: jnp.arcsin(x / 2),
    "arccos": lambda x: jnp.arccos(x / 2),
    "arccosh": lambda x: jnp.arccosh(1.5 + x),
    "arctanh": lambda x: jnp.arctanh(x / 2),
    "arctan2": lambda x: jnp.arctan2(x, 1 + x * x),
    "x**3": lambda x: x**3,
    "x**-2": lambda x: x**-2,
    "x**2.5": lambda x: x**2.5,
    "x**y": lambda x: x ** jnp.flip(x),
    "2**x": lambda x: 2.0**x,
    "pow of a negative base": lambda x: lax.pow(-x, jnp.full_like(x, 3.0)),
    "quotient": lambda x: jnp.sin(x) / (1 + x * x),
    "abs": lambda x: jnp.abs(x - 0.5),
    "sign": lambda x: jnp.sign(x) * x,
    "mod": lambda x: jnp.mod(3 * x, 1.0),
    "round": lambda x: jnp.round(x) * x,
    "hypot": lambda x: jnp.hypot(x, 1 + x),
    "nan_to_num": lambda x: jnp.nan_to_num(x * x),
    "stop_gradient": lambda x: lax.stop_gradient(x) * x,
    "reduce_precision": lambda x: lax.reduce_precision(x, 11, 52) ** 2,
    "optimization_barrier": lambda x: lax.optimization_barrier(x) ** 2,
    "cast to bfloat16": lambda x: x.astype(jnp.bfloat16).astype(x.dtype) * x,
    "nextafter": lambda x: jnp.nextafter(x, 2.0) * x,
}

SPECIAL = {
    name: getattr(jsp, name) for name in ["erf", "erfc", "gammaln", "digamma", "i0e", "i1e", "entr", "ndtr", "log_ndtr"]
} | {
    "erfinv": lambda x: jsp.erfinv(x / 2),
    "xlogy": lambda x: jsp.xlogy(x, 1 + x),
    "logaddexp": lambda x: jnp.logaddexp(x, jnp.flip(x)),
    "gammainc in x": lambda x: jsp.gammainc(1.5, 1 + x),
    "gammainc in a": lambda x: jsp.gammainc(x + 1, 1.0 + x),
    "betainc": lambda x: jsp.betainc(1.0, 2.0, x / 2),
    "zeta": lambda x: jsp.zeta(x + 2.0, 1.0),
    "norm.logpdf": jst.norm.logpdf,
    "norm.cdf": jst.norm.cdf,
    "norm.logcdf": jst.norm.logcdf,
}

PRODUCTS = {
    "matmul": lambda x: (W @ x) * x,
    "outer products": lambda x: jnp.outer(x, x) @ jnp.outer(x, x),
    "einsum": lambda x: jnp.einsum("i,ij,j->", x, W, x),
    "conv": module(typed("Conv", 3, (3, 3)), image),
    "conv_transpose": module(typed("ConvTranspose", 2, (3, 3)), image),
    "avg_pool": lambda x: nn.avg_pool(image(x) ** 2, (2, 2), (2, 2)),
    "max_pool": lambda x: nn.max_pool(image(x), (2, 2), (2, 2)),
    "fft": lambda x: jnp.abs(jnp.fft.fft(x)) ** 2,
    "complex exp": lambda x: jnp.real(jnp.exp(1j * x)),
}

REDUCTIONS = {
    "sum": lambda x: jnp.sum(x**2),
    "mean": lambda x: jnp.mean(x**2),
    "var": jnp.var,
    "std": jnp.std,
    "norm": jnp.linalg.norm,
    "prod": jnp.prod,
    "max": lambda x: jnp.max(x**2),
    "min": lambda x: jnp.min(x**2),
    "argmax": lambda x: x[jnp.argmax(x)] ** 2,
    "sort": lambda x: jnp.sort(x) ** 2,
    "top_k": lambda x: lax.top_k(x, 2)[0] ** 2,
    "median": lambda x: jnp.median(x) ** 2,
    "cumsum": lambda x: jnp.cumsum(x**2),
    "cumprod": jnp.cumprod,
    "cummax": lambda x: lax.cummax(x**2),
    "cumlogsumexp": lax.cumlogsumexp,
    "maximum": lambda x: jnp.maximum(x, 0.5),
    "minimum": lambda x: jnp.minimum(x, 0.5),
    "clip": lambda x: jnp.clip(x * x, 0.1, 0.8),
    "where": lambda x: jnp.where(x > 0.5, jnp.sin(x), jnp.cos(x)),
    "select": lambda x: lax.select(x > 0.5, x**2, x**3),
}

INDEXING = {
    "gather": lambda x: x[PLACES] ** 2,
    "at.set": lambda x: jnp.zeros(4).at[PLACES].set(x[:2]) * x,
    "at.add": lambda x: jnp.zeros(4).at[PLACES].add(x[:2]) * x,
    "at.mul": lambda x: x.at[0].mul(x[1]),
    "roll": lambda x: jnp.roll(x, 1) * x,
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (1,), (2,)) ** 2,
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, x[:2] ** 2, (1,)),
    "concatenate": lambda x: jnp.concatenate([x, x**2]),
    "pad": lambda x: jnp.pad(x**2, 1),
    "repeat": lambda x: jnp.repeat(x, 2) ** 2,
    "flip": lambda x: jnp.flip(x) * x,
    "split": lambda x: jnp.split(x, 2)[0] * jnp.split(x, 2)[1],
    "stack": lambda x: jnp.stack([x, x * x]),
    "one_hot": lambda x: x * jax.nn.one_hot(1, 4),
    "interp": lambda x: jnp.interp(x, jnp.linspace(0, 2, 5), jnp.linspace(0, 2, 5) ** 2),
    "transpose": lambda x: jnp.outer(x, x**2).T * x,
    "tril": lambda x: jnp.tril(jnp.outer(x, x)),
}

CONTROL = {
    "cond, fixed": lambda x: lax.cond(True, jnp.sin, jnp.cos, x),
    "cond": lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "switch": lambda x: lax.switch(1, [jnp.sin, jnp.cos], x),
    "scan": lambda x: lax.scan(lambda c, _: (jnp.sin(c) * 1.1, c), x, None, length=3)[0],
    "scan over x": lambda x: lax.scan(lambda c, row: (c * row + jnp.sin(c), c * row), x[0], x)[1],
    "scan in reverse": lambda x: lax.scan(lambda c, row: (c * row, c + row), x[0], x, reverse=True)[1],
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), x),
    "while_loop": lambda x: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1],
    "map": lambda x: lax.map(jnp.sin, x),
    "associative_scan": lambda x: lax.associative_scan(jnp.multiply, x),
    "custom_jvp": own_jvp,
    "custom_vjp": own_vjp,
    "jit": jax.jit(lambda x: jnp.sin(x) * x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "vmap": jax.vmap(jnp.sin),
    "grad": jax.grad(lambda x: jnp.sum(jnp.sin(x) ** 2)),
    "jacfwd": jax.jacfwd(lambda x: jnp.sin(x) * x[0]),
    "hessian": jax.hessian(lambda x: jnp.sum(jnp.sin(x) * x[0])),
    "polyval": lambda x: jnp.polyval(jnp.array([1.0, 2, 3]), x),
    "pure_callback": lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
}

LINEAR_ALGEBRA = {
    "inv": lambda x: jnp.linalg.inv(SPD + jnp.outer(x, x)),
    "solve": lambda x: jnp.linalg.solve(SPD + jnp.diag(x), x),
    "cholesky": lambda x: jnp.linalg.cholesky(SPD + jnp.diag(x)),
    "slogdet": lambda x: jnp.linalg.slogdet(SPD + jnp.diag(x))[1],
    "det": lambda x: jnp.linalg.det(SPD + jnp.diag(x)),
    "eigh": lambda x: jnp.linalg.eigh(SPD + jnp.diag(x))[0],
    "qr": lambda x: jnp.linalg.qr(SPD + jnp.diag(x))[1],
    "svd": lambda x: jnp.linalg.svd(SPD + jnp.diag(x), compute_uv=False),
    "expm": lambda x: jax.scipy.linalg.expm(jnp.diag(x) / 10 + W * x),
    "matrix_power": lambda x: jnp.linalg.matrix_power(jnp.outer(x, x), 3),
    "solve_triangular": lambda x: jax.scipy.linalg.solve_triangular(SPD, x * x),
    "trace": lambda x: jnp.trace(jnp.outer(x, jnp.sin(x))),
}

LAYERS = {
    "LayerNorm": module(typed("LayerNorm"), row),
    "GroupNorm": module(typed("GroupNorm", 2), row),
    "RMSNorm": module(typed("RMSNorm"), row),
    "BatchNorm, training": module(typed("BatchNorm", use_running_average=False), image),
    "BatchNorm, evaluation": module(typed("BatchNorm", use_running_average=True), image),
    "attention": module(typed("MultiHeadDotProductAttention", num_heads=2), sequence),
    "GRUCell": module(typed("GRUCell", features=4), row, row),
    "RNN of GRU": module(nn.RNN(typed("GRUCell", features=3)), sequence),
    "RNN of LSTM": module(nn.RNN(typed("OptimizedLSTMCell", features=3)), sequence),
    "Dense": module(typed("Dense", 3), row),
    "remat": module(nn.remat(nn.Dense)(3, dtype=jnp.float64, param_dtype=jnp.float64), row),
    "Dropout": lambda x: nn.Dropout(0.5, deterministic=False).apply({}, x**2, rngs={"dropout": KEY}),
    "huber_loss": lambda x: optax.huber_loss(x, jnp.zeros_like(x)),
    "cross entropy": lambda x: optax.softmax_cross_entropy_with_integer_labels(x, jnp.array(1)),
    "cosine_similarity": lambda x: optax.cosine_similarity(x, jnp.flip(x)),
    "l2_loss": lambda x: optax.l2_loss(x**2),
    "embedding": lambda x: jnp.take(jnp.outer(x, x), PLACES, axis=0),
    "standardize": lambda x: jax.nn.standardize(x),
    "normalize": lambda x: x / jnp.linalg.norm(x),
}

FUNCTIONS = ACTIVATIONS | ELEMENTWISE | SPECIAL | PRODUCTS | REDUCTIONS | INDEXING | CONTROL | LINEAR_ALGEBRA | LAYERS

HAS_SLOPE_OF_NEXTAFTER = jax.__version_info__ >= (0, 12)

REFUSED = ({} if HAS_SLOPE_OF_NEXTAFTER else {"nextafter": "nextafter"}) | {
    "gammainc in a": "igamma_grad_a",
    "pure_callback": "pure_callback",
}
"""Functions that jvp refuses too, and the primitive that the error names."""
