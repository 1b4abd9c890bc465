"""The JAX half of a pair: linen, NNX, or a plain function, behind one pure call that can be watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from jaxgrad.verify._errors import PairError, first_line
from jaxgrad.verify.port.frameworks._contexts import follow, wide_attention
from jaxgrad.verify.port.frameworks._parts import Parts

__all__ = ["JaxSide", "Watch", "flatten", "unflatten"]

Watch = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Called for every call of a submodule as ``watch(path, call, args, kwargs)``; returns what the caller sees."""

WATCHED_METHODS = ("__call__", "attend")


class JaxSide:
    """``apply(params, rest, *inputs) -> (output, rest)``, with parameters and other collections by leaf path."""

    kind: str = "function"
    """``"linen"``, ``"nnx"`` or ``"function"``; only the first two can be watched inside."""

    parts: Parts = Parts()
    kwargs: dict[str, Any]

    def __init__(self, params: Any, rest: Any) -> None:
        self.params, self.rest = params, rest

    def arguments(self, params: Any, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the model is called with: its inputs, and the user's options.

        Arrays among the options take the dtype of the parameters.
        """
        args, named = self.parts.arguments(inputs)
        wide = _dtype_of(params)
        options = {n: cast(x, wide) if wide is not None and _is_array(x) else x for n, x in self.kwargs.items()}
        return args, {**options, **named}

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Apply the model."""
        raise NotImplementedError

    def outline(self, dtype: str) -> tuple[Any, Any]:
        """Return the shapes of the parameters and collections, with floating-point numbers in a dtype."""

        def leaf(x: Any) -> Any:
            floating = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
            return jax.ShapeDtypeStruct(np.shape(x), dtype) if floating else x

        return jax.tree.map(leaf, (self.params, self.rest))

    def modules(self) -> dict[str, Any]:
        """Return the submodules that can be found without a call, by path, for their configuration."""
        return {}


class LinenSide(JaxSide):
    """A linen module with its variables."""

    kind = "linen"

    def __init__(
        self, module: Any, variables: Any, kwargs: dict[str, Any], inputs: tuple[Any, ...], *, train: bool, parts: Parts
    ) -> None:
        self.module, self.kwargs, self.train, self.parts = module, kwargs, train, parts
        self.found: dict[str, Any] = {}
        self.fresh = variables is None
        if variables is None:
            args, named = parts.arguments(inputs)
            try:
                variables = _initialise(module, args, {**kwargs, **named})
            except Exception as error:
                message = (
                    f"the JAX model cannot be initialised on the batch: {first_line(error)}. What it takes by keyword"
                    ' goes into jax_kwargs, or into a batch with names, {"x": ..., "mask": ..., "target": ...}'
                )
                raise PairError(message) from error
        variables = {name: _plain(tree) for name, tree in dict(variables).items()}
        super().__init__(variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"})

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Apply the module; every collection but the parameters may be written."""
        import flax.linen as nn

        here, wide = _trace_state(), _dtype_of(params)
        running: list[str] = []

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            self.found.setdefault("/".join(context.module.path), context.module)
            follow(getattr(context.module, "cell", None), wide)
            # a call inside scan or remat belongs to another trace: its values cannot be taken out
            path = "/".join(context.module.path)
            # `super().__call__` is the same call once more; a module that is applied inside of another has no path
            if watch is None or context.method_name not in WATCHED_METHODS or _trace_state() != here or path in running:
                return call(*args, **kwargs)
            running.append(path)
            try:
                return watch(path, call, args, kwargs)
            finally:
                running.pop()

        with nn.intercept_methods(intercept):
            # a port that writes its statistics in evaluation mode is to be compared, not to fail
            args, named = self.arguments(params, inputs)
            output, changed = self.module.apply({"params": params, **rest}, *args, mutable=list(rest), **named)
        return output, {**rest, **_plain(changed)} if self.train else rest

    def modules(self) -> dict[str, Any]:
        """Return the submodules of the last call."""
        return self.found


def _initialise(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return variables for a module that came without: only shapes count for what torch's weights will fill."""

    def init() -> Any:
        return module.init(jax.random.key(0), *inputs, **kwargs)

    outline = jax.eval_shape(init)
    if set(outline) <= {"params", "batch_stats"}:
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), outline)
    return jax.jit(init)()  # noqa: TID251 - runs once


class NnxSide(JaxSide):
    """An NNX module, split into a graph and its states; the module itself is never touched."""

    kind = "nnx"

    def __init__(self, module: Any, kwargs: dict[str, Any], *, train: bool, parts: Parts) -> None:
        from flax import nnx

        self.kwargs, self.fresh, self.parts = kwargs, False, parts
        self.graph, params, rest = nnx.split(module, nnx.Param, ...)
        self.state_params, self.state_rest = params, rest
        self.train = train
        self.origin = module
        super().__init__(nnx.to_pure_dict(params), nnx.to_pure_dict(rest))

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Rebuild a private copy of the module, set its mode, and call it."""
        from flax import nnx

        state_params, state_rest = _filled(self.state_params, params), _filled(self.state_rest, rest)
        module = nnx.merge(self.graph, state_params, state_rest, copy=True)
        (module.train if self.train else module.eval)()
        for _, node in list(_nnx_modules(module)):
            follow(node, _dtype_of(params))
        if watch is not None:
            _watch_nnx(module, watch)
        args, named = self.arguments(params, inputs)
        output = module(*args, **named)
        changed = nnx.to_pure_dict(nnx.split(module, nnx.Param, ...)[2]) if self.train else rest
        return output, changed

    def modules(self) -> dict[str, Any]:
        """Return the submodules by path."""
        return dict(_nnx_modules(self.origin))


class FunctionSide(JaxSide):
    """A plain ``apply_fn(params, *inputs)``, nothing of which can be seen inside."""

    def __init__(self, apply_fn: Callable[..., Any], params: Any, kwargs: dict[str, Any], *, parts: Parts) -> None:
        self.apply_fn, self.kwargs, self.fresh, self.parts = apply_fn, kwargs, False, parts
        super().__init__(params, {})

    def apply(self, params: Any, rest: Any, *inputs: Any, watch: Watch | None = None) -> tuple[Any, Any]:
        """Call the function."""
        del watch
        args, named = self.arguments(params, inputs)
        return self.apply_fn(params, *args, **named), rest


def make(
    jax_model: Any,
    kwargs: dict[str, Any],
    inputs: tuple[Any, ...],
    *,
    train: bool,
    parts: Parts = Parts(),  # noqa: B008
) -> JaxSide:
    """Return the side of what the user gave: a linen module, ``(module, variables)``, NNX, ``(apply_fn, params)``.

    Raises:
        TypeError: If it is none of these.
    """
    import flax.linen as nn
    from flax import nnx

    first, second = jax_model if isinstance(jax_model, tuple) and len(jax_model) == 2 else (jax_model, None)
    if isinstance(first, nn.Module):
        return LinenSide(first, second, kwargs, inputs, train=train, parts=parts)
    if isinstance(first, nnx.Module) and second is None:
        return NnxSide(first, kwargs, train=train, parts=parts)
    if callable(first) and second is not None:
        return FunctionSide(first, second, kwargs, parts=parts)
    message = (
        "jax must be a linen module, (linen module, variables), an NNX module or (apply_fn, params);"
        f" got {type(jax_model).__name__}"
    )
    raise TypeError(message)


def _is_array(value: Any) -> bool:
    """Say whether an option is an array, which follows the precision, and no setting."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, np.generic)


def flatten(tree: Any) -> dict[str, Any]:
    """Return the leaves by path, keys joined by ``/``."""
    return {jtu.keystr(p, simple=True, separator="/"): leaf for p, leaf in jtu.tree_leaves_with_path(tree)}


def unflatten(like: Any, leaves: dict[str, Any]) -> Any:
    """Return a tree of the structure of ``like`` with the leaves of a dictionary by path."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in flatten(like)])


def _plain(tree: Any) -> Any:
    """Turn Flax's own dictionaries into plain ones, and unbox partitioned leaves."""
    from flax import core

    return core.meta.unbox(core.unfreeze(tree))


def _dtype_of(params: Any) -> Any:
    """Return the dtype of the parameters that a call is given."""
    floating = [x.dtype for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.floating)]
    return floating[0] if floating else None


def _trace_state() -> Any:
    """Return what tells one trace from another."""
    return jax.extend.core.get_opaque_trace_state(convention="nnx")


def _filled(state: Any, values: Any) -> Any:
    """Return an NNX state with the values of a pure dictionary; random state keeps its own."""
    from flax import nnx

    copied = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(copied, values)
    return copied


def _nnx_modules(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield every NNX module below, with its path."""
    from flax import nnx

    for path, node in nnx.iter_modules(module):
        yield "/".join(map(str, path)), node


def _watch_nnx(module: Any, watch: Watch) -> None:
    """Give every module of a private copy a subclass of its class whose call reports to ``watch``."""
    here = _trace_state()

    def watched(cls: type, path: str, name: str) -> Callable[..., Any]:
        original = getattr(cls, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if _trace_state() != here:
                return original(self, *args, **kwargs)
            return watch(path, lambda *a, **k: original(self, *a, **k), args, kwargs)

        return method

    for path, node in list(_nnx_modules(module)):
        cls = type(node)
        methods = {name: watched(cls, path, name) for name in WATCHED_METHODS if callable(getattr(cls, name, None))}
        if methods:
            object.__setattr__(node, "__class__", type(cls.__name__, (cls,), methods))


@contextmanager
def precision() -> Iterator[None]:
    """Compute with float64 kept and the usual promotion; the user's matrix precision stands, for it is judged too."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        wide_attention(),
    ):
        yield


@contextmanager
def framework_default() -> Iterator[None]:
    """Compute as JAX does by default, with x64 off."""
    with jax.enable_x64(False):
        yield


def cast(tree: Any, dtype: Any) -> Any:
    """Cast the floating-point leaves of a tree, and leave keys and integers."""

    def leaf(x: Any) -> Any:
        if jax.dtypes.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key):
            return x
        # in NumPy, and put: an eager cast, or `jnp.asarray`, would compile a program for every shape
        array = np.asarray(x)
        return jax.device_put(array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array)

    return jax.tree.map(leaf, tree)


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every leaf by path."""
    return {path: tuple(np.shape(leaf)) for path, leaf in flatten(tree).items()}
