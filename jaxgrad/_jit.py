"""The one spelling of ``jax.jit``: direct calls, programs kept in a bounded cache, arguments explained on failure.

A function given to ``jax.jit`` as a static argument stays alive for ever, with every array that it closes over, and
is compared by hash, which bound methods of some modules do not have. Here the static functions are compared by
identity instead, and only the last `MAX_PROGRAMS` programs of a public function are kept.
"""

import functools
import inspect
import threading
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import jax
import jax.extend.core
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from jaxgrad import _check, _sharding

__all__ = ["MAX_PROGRAMS", "jit"]

MAX_PROGRAMS = 64
"""How many programs, one for each choice of static arguments, a public function keeps."""

MANY_FUNCTIONS = 16
"""How many functions from one line of code a public function takes before it warns."""

P = ParamSpec("P")
R = TypeVar("R")


def jit(
    *static: str, non_negative: tuple[str, ...] = (), static_functions: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function with the named arguments static; the function's type is kept.

    Outside of any trace a call runs a compiled program; inside one (``jit``, ``vmap``, ``grad``, ``scan``, ...) the
    body is inlined. Static functions are told apart by identity, so hoist them out of loops.

    Args:
        *static: Names of the arguments that are functions or options, known when the function is traced.
        non_negative: Names of the traced arguments that are refused when they are numbers of Python or NumPy below
            zero, or trees with such numbers.
        static_functions: Names of keyword arguments that are static where they are functions, and traced elsewhere.

    Returns:
        A decorator. The function it returns has ``programs``, its cache, for inspection.
    """

    def decorate(fun: Callable[P, R]) -> Callable[P, R]:
        names = [p.name for p in inspect.signature(fun).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        positions = {names.index(name): name for name in static if name in names}
        programs = _Programs(fun.__name__)

        @functools.wraps(fun)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            fixed = (*static, *(name for name in static_functions if callable(kwargs.get(name))))
            options = {name: args[i] for i, name in positions.items() if i < len(args)}
            options |= {name: kwargs[name] for name in fixed if name in kwargs}
            key = tuple((name, _identity(value, name)) for name, value in options.items())
            given = {name: tree for name, tree in _name_arguments(names, args, kwargs).items() if name not in fixed}
            for name in non_negative:
                _check.non_negative(given.get(name), name)
            if not _outside_of_traces():
                _explain_arguments(fun.__name__, given)
                arrays = [value if i in positions else _as_arrays(value) for i, value in enumerate(args)]
                named = {name: value if name in fixed else _as_arrays(value) for name, value in kwargs.items()}
                with _sharding.mesh_of((arrays, named)):
                    return fun(*arrays, **named)  # type: ignore[arg-type]
            program = programs.get(key, options, lambda: _specialise(fun, args, kwargs, positions, fixed))
            traced = [value for i, value in enumerate(args) if i not in positions]
            named = {name: value for name, value in kwargs.items() if name not in fixed}
            with _arguments_as_given(fun.__name__, given):
                try:
                    return program(*traced, **named)
                except (TypeError, ValueError):
                    _explain_arguments(fun.__name__, given)
                    raise

        call.programs = programs  # type: ignore[attr-defined]
        return call

    return decorate


class _Programs:
    """The last programs of one public function, the least recently used dropped first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept: OrderedDict[Any, Any] = OrderedDict()
        self.seen: dict[types.CodeType, set[int]] = {}
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.kept)

    def get(self, key: Any, options: dict[str, Any], make: Callable[[], Any]) -> Any:
        """Return the program for a choice of static arguments, made where there is none."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key][0]
            # the options stay beside their program: identities are unique only among living objects
            program = make()
            self.kept[key] = (program, options)
            while len(self.kept) > MAX_PROGRAMS:
                self.kept.popitem(last=False)
            crowded = [code for value in options.values() for code in _codes(value) if self._is_crowded(code, value)]
        for code in crowded:
            warnings.warn(
                f"{self.name} was called with {MANY_FUNCTIONS} different functions that are all defined at"
                f" {code.co_filename}:{code.co_firstlineno}; each one is traced and compiled anew. Define the function"
                " once, outside of the loop, and pass what changes as an array in the data.",
                stacklevel=3,
            )
        return program

    def _is_crowded(self, code: types.CodeType, value: Any) -> bool:
        """Note a function, and say whether its line of code has just brought one too many."""
        seen = self.seen.setdefault(code, set())
        if len(seen) >= MANY_FUNCTIONS:
            return False
        seen.add(hash(_identity(value, "")))
        return len(seen) == MANY_FUNCTIONS


def _specialise(
    fun: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    positions: dict[int, str],
    static: tuple[str, ...],
) -> Callable[..., R]:
    """Return ``fun`` compiled for one choice of its static arguments."""
    fixed = {i: args[i] for i in positions if i < len(args)}
    options = {name: kwargs[name] for name in static if name in kwargs}

    def body(*traced: Any, **named: Any) -> R:
        _explain_arguments(*_given.stack[-1])
        rest: Iterator[Any] = iter(traced)
        total = len(fixed) + len(traced)
        with _sharding.mesh_of((traced, named)):
            return fun(*[fixed[i] if i in fixed else next(rest) for i in range(total)], **options, **named)

    body.__name__ = fun.__name__
    # an argument of which only the shape is read still says on which devices, of Explicit axes, the result lies
    return jax.jit(body, keep_unused=True)


def _identity(value: Any, name: str) -> Any:
    """Return a hashable key under which two static arguments are the same program.

    Raises:
        TypeError: If the argument is an array or a traced value, or a module whose weights would be baked in.
    """
    if type(value) is types.FunctionType:  # the usual case, in every call: none of what follows
        return types.FunctionType, id(value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return type(value), value
    if isinstance(value, np.integer | np.floating | np.bool_):
        return type(value.item()), value.item()
    if name and isinstance(value, jax.Array | np.ndarray):
        message = f"{name} must be known when the function is traced, a Python value; got {_check.describe(value)}"
        raise TypeError(message)
    if _is_optimizer(value):
        return type(value), tuple(_recipe(item) for item in value)
    if isinstance(value, tuple | list):
        return type(value), tuple(_identity(item, name) for item in value)
    if isinstance(value, dict):
        return tuple((key, _identity(item, name)) for key, item in value.items())
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return functools.partial, tuple(_identity(part, "") for part in parts)
    if isinstance(value, types.MethodType):
        _refuse_stateful_module(value.__self__, name)
        return types.MethodType, id(value.__self__), id(value.__func__)
    _refuse_stateful_module(value, name)
    return type(value), id(value)


def _is_optimizer(value: Any) -> bool:
    """Say whether a static argument is an optax transformation."""
    return getattr(type(value), "_fields", ()) == ("init", "update")


def _recipe(function: Any) -> Any:
    """Return a key under which functions that were built alike, as by ``optax.adam(1e-3)`` twice, are the same.

    A function is known by its code and by what it closes over: plain values and functions by content, anything else
    by identity. What it closed over when it was first seen counts.
    """
    if not isinstance(function, types.FunctionType):
        return _identity(function, "")
    if function not in _recipes:
        _recipes[function] = _content(function, {})
    return _recipes[function]


_recipes: weakref.WeakKeyDictionary[types.FunctionType, Any] = weakref.WeakKeyDictionary()


def _content(value: Any, known: dict[int, Any]) -> Any:
    """Return the key of a function, or of something that it closes over; ``known`` holds those of the functions met."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return type(value), value
    if isinstance(value, tuple):
        return type(value), tuple(_content(item, known) for item in value)
    if isinstance(value, functools.partial):
        return functools.partial, _content((value.func, value.args, *value.keywords.items()), known)
    if not isinstance(value, types.FunctionType):
        return type(value), id(value)
    if id(value) not in known:
        known[id(value)] = id(value)  # where it closes over itself
        cells = [cell for cell in value.__closure__ or () if cell != types.CellType()]  # a cell may be empty
        inside = (*(cell.cell_contents for cell in cells), value.__defaults__, *(value.__kwdefaults__ or {}).items())
        known[id(value)] = value.__code__, len(cells), id(value.__globals__), _content(inside, known)
    return known[id(value)]


def _refuse_stateful_module(owner: Any, name: str) -> None:
    """Refuse a module that holds its weights: a compiled program would keep the old ones for ever."""
    homes = {f"{base.__module__}.{base.__qualname__}" for base in type(owner).__mro__}
    if any(home.startswith("flax.nnx") and home.endswith(".Module") for home in homes):
        message = (
            f"{name or 'a static argument'} is an NNX module, or a method of one: its weights would be baked into the"
            " compiled program. Write `apply_fn, params = jaxgrad.models.from_nnx(module)` and a loss of `params`."
        )
        raise TypeError(message)
    if "torch.nn.modules.module.Module" in homes:
        message = f"{name or 'a static argument'} is a torch module; jaxgrad differentiates JAX functions of a pytree"
        raise TypeError(message)


def _codes(value: Any) -> list[types.CodeType]:
    """Return the code objects of the functions in a static argument that its caller wrote.

    Every optimizer of one kind comes from one line of optax, so the line says nothing of a loop of the caller's.
    """
    if _is_optimizer(value):
        return []
    if isinstance(value, functools.partial):
        return _codes(value.func)
    if isinstance(value, tuple | list):
        return [code for item in value for code in _codes(item)]
    function = getattr(value, "__func__", value)
    return [function.__code__] if isinstance(function, types.FunctionType) else []


def _outside_of_traces() -> bool:
    """Say whether no JAX transformation is tracing in this thread."""
    return jax.extend.core.get_opaque_trace_state(convention="nnx") == _no_trace


_no_trace = jax.extend.core.get_opaque_trace_state(convention="nnx")


class _Given(threading.local):
    """The arguments of the calls under way in this thread, as the user gave them."""

    def __init__(self) -> None:
        self.stack: list[tuple[str, dict[str, Any]]] = [("", {})]


_given = _Given()
_warned: set[tuple[str, str]] = set()


@contextmanager
def _arguments_as_given(name: str, given: dict[str, Any]) -> Iterator[None]:
    """Keep a call's arguments at hand while it traces."""
    _given.stack.append((name, given))
    try:
        yield
    finally:
        _given.stack.pop()


def _as_arrays(tree: Any) -> Any:
    """Turn NumPy arrays and Python numbers into JAX arrays, as a compiled program would."""
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), tree)


def _name_arguments(names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Pair the arguments with their names; what lies beyond them is data."""
    given = dict(zip(names, args, strict=False))
    given |= {f"data[{i}]": value for i, value in enumerate(args[len(given) :])}
    return given | kwargs


def _explain_arguments(name: str, given: dict[str, Any]) -> None:
    """Refuse leaves that JAX cannot take, by path, and warn of float64 that x64 mode would keep.

    Raises:
        TypeError: If a leaf is a string, an array of another framework, or the keys of a dictionary do not sort.
    """
    for argument, tree in given.items():
        try:
            leaves = jtu.tree_leaves_with_path(tree)
        except ValueError as error:
            message = f"{name}: {argument} cannot be flattened; do its dictionaries mix keys of several types? {error}"
            raise TypeError(message) from None
        for path, leaf in leaves:
            if isinstance(leaf, jax.core.Tracer | jax.Array | float | int | complex):
                continue
            _explain_leaf(name, _check.locate(argument, path), leaf)


def _explain_leaf(name: str, where: str, leaf: Any) -> None:
    """Refuse or warn of one leaf that is not a JAX array."""
    if type(leaf).__module__.split(".")[0] == "torch":
        message = f"{name}: {where} is a torch tensor; convert it with jnp.asarray(tensor.detach().numpy())"
        raise TypeError(message)
    if isinstance(leaf, types.FunctionType | types.BuiltinFunctionType | types.MethodType | functools.partial) or (
        type(leaf).__name__ == "PjitFunction"
    ):
        message = f"{name}: {where} is a function, not an array; call it inside of the function that you differentiate"
        raise TypeError(message)
    if isinstance(leaf, str | bytes):
        message = f"{name}: {where} is the string {leaf!r}, not an array"
        raise TypeError(message)
    if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        message = f"{name}: {where} is an array of Python objects; give it a numeric dtype"
        raise TypeError(message)
    if not hasattr(leaf, "dtype") and not hasattr(leaf, "__jax_array__"):
        picture = " of floats: jnp.asarray(leaf, float) / 255 for bytes" if hasattr(leaf, "__array_interface__") else ""
        message = f"{name}: {where} is a {type(leaf).__qualname__}, not an array; pass an array{picture}"
        raise TypeError(message)
    doubled = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype in (np.float64, np.complex128)
    if doubled and not _check.x64_is_on() and (name, where) not in _warned:
        _warned.add((name, where))
        warnings.warn(
            f"{name}: {where} is {leaf.dtype}, but JAX computes in float32 because x64 is off; call"
            ' jax.config.update("jax_enable_x64", True) at the start, or pass float32',
            stacklevel=2,
        )
