"""What a static argument is known by: its identity, and what it reaches, read anew at every call.

A compiled program holds the values that its function closed over when it was traced. Here a function is known by its
identity together with what stands in its closure cells, its defaults, the arguments of a partial and the attributes of
a bound object, down to numbers and arrays; so a change of any of these is another program. Module globals are not
read, as in `jax.jit`, but for the functions in an optimizer, which is known by what it is built of.
"""

import functools
import hashlib
import types
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgrad import _check

__all__ = [
    "Reach",
    "holds_state",
    "identity",
    "is_nnx_module",
    "key_of",
    "refuse_array",
    "refuse_global_modules",
    "refuse_no_function",
    "watch",
    "written_by",
]

MANY_OBJECTS = 10_000
"""How many objects a static argument may reach; beyond that a call would take longer to recognise than to run."""

COMPARED_WHOLE = 4096
"""Up to how many bytes a NumPy array is compared as it is; of a larger one a digest is kept."""

PLAIN = frozenset({type(None), bool, int, str, bytes, type(Ellipsis)})
"""Types whose values are known by content."""

FOR_GOOD = (type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, np.dtype, np.ufunc)
"""Types whose objects do not change, nor hold anything that does."""


FUNCTION_TYPES = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
"""Types of what is a function and nothing else."""


class Reach:
    """What the key of one call rests on: objects that are known by identity, and must outlive the program."""

    __slots__ = ("content", "mortal", "seen")

    def __init__(self) -> None:
        self.mortal: list[Any] = []
        """Objects known by identity; the program must go when one of them does."""
        self.content: list[Any] = []
        """Objects that are kept alive by the program: small, or known by content."""
        self.seen: dict[int, tuple[int, Any]] = {}
        """The objects met on the way, by identity: one may reach itself. They are held, so that no identity is
        given twice."""

    def by_identity(self, value: Any) -> int:
        """Note that an object is known by identity."""
        self.mortal.append(value)
        return id(value)

    def is_new(self, value: Any) -> bool:
        """Note an object that is entered, and say whether it was not before.

        Raises:
            ValueError: If there are too many.
        """
        if id(value) in self.seen:
            return False
        if len(self.seen) > MANY_OBJECTS:
            message = (
                f"a function that is passed to jaxgrad reaches more than {MANY_OBJECTS} objects through its closure,"
                " its defaults or the object it is bound to, and what it reaches is read at every call: pass a plain"
                " function, and what changes as an array in the data"
            )
            raise ValueError(message)
        self.seen[id(value)] = len(self.seen), value
        return True


def key_of(value: Any, name: str, reach: Reach) -> Any:
    """Return a hashable key under which two static arguments are the same program.

    Args:
        value: The static argument.
        name: Its name, for messages.
        reach: Takes the objects that the key rests on.

    Raises:
        TypeError: If the argument is an array or a traced value, or a module whose weights would be baked in.
    """
    if identity(value) is not None:
        return reach.by_identity(value)
    refuse_array(value, name)
    if _is_optimizer(value):
        return type(value), tuple(_recipe(item, reach) for item in value)
    if type(value) in (tuple, list):
        return type(value), tuple(key_of(item, name, reach) for item in value)
    if type(value) is dict:
        return tuple((key, key_of(item, name, reach)) for key, item in value.items())
    _refuse_stateful_module(value, name)
    return _content(value, reach)


def identity(value: Any) -> int | None:
    """Return the key of the usual static argument, a plain function with nothing to read; None for any other."""
    if type(value) is types.FunctionType and not (value.__closure__ or value.__defaults__ or value.__kwdefaults__):
        return id(value)
    return None


def refuse_array(value: Any, name: str) -> None:
    """Refuse an array, traced or not, where a Python value is meant.

    Raises:
        TypeError: With what it is.
    """
    if isinstance(value, jax.Array | np.ndarray):
        message = f"{name} must be known when the function is traced, a Python value; got {_check.describe(value)}"
        raise TypeError(message)


def refuse_no_function(value: Any, name: str, following: dict[str, Any]) -> None:
    """Refuse what is no function where one is meant; a linen module is one of its variables only once it is bound.

    Args:
        value: What was given.
        name: The argument's name, for messages.
        following: The arguments after it, by name.

    Raises:
        TypeError: With what to write instead.
    """
    if not callable(value):
        swapped = next((other for other, given in following.items() if isinstance(given, FUNCTION_TYPES)), None)
        advice = f"the function comes first, and {swapped} is one: swap them" if swapped else "the function comes first"
        message = f"{name} must be a function; got {_check.describe(value)}: {advice}"
        raise TypeError(message)
    kind: Any = type(value)
    if _is_linen_module(kind) and getattr(value, "scope", None) is None:
        message = (
            f"{name} is a linen module, which is no function of params: write a function that calls"
            " module.apply({'params': params}, x), or take the one of jaxgrad.models.from_linen(module, x)"
        )
        raise TypeError(message)


def written_by(value: Any) -> list[types.FunctionType]:
    """Return the functions in a static argument that its caller wrote.

    Every optimizer of one kind comes from one line of optax, so the line says nothing of a loop of the caller's,
    nor does that of a public function of ours: all of them come from one line.
    """
    if _is_optimizer(value) or _is_ours(value):
        return []
    if isinstance(value, functools.partial):
        return written_by([value.func, *value.args, *value.keywords.values()])
    if isinstance(value, tuple | list):
        return [function for item in value for function in written_by(item)]
    function = getattr(value, "__func__", value)
    return [function] if isinstance(function, types.FunctionType) else []


def refuse_global_modules(function: types.FunctionType) -> None:
    """Refuse a function that names an NNX module among the globals of its file: they are not read at every call.

    Raises:
        TypeError: With the name.
    """
    for name in _names(function.__code__):
        _refuse_stateful_module(function.__globals__.get(name), "", f"the global {name!r} of a static function")


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function, or one inside of it, may look up among its globals."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _content(value: Any, reach: Reach) -> Any:
    """Return the key of a value that a static argument reaches."""
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind in (float, complex):
        # as text: 0 and -0 are equal as numbers, and NaN equals nothing
        return kind, repr(value)
    if isinstance(value, FOR_GOOD):
        return reach.by_identity(value)
    if isinstance(value, np.generic | np.ndarray):
        return _content_of_numpy(value, reach)
    if isinstance(value, jax.Array):
        return reach.by_identity(value)
    if isinstance(value, types.MethodType):
        return kind, _content(value.__func__, reach), _content(value.__self__, reach)
    if isinstance(value, functools.partial):
        # made anew for every call, as often as not
        return kind, _content((value.func, value.args, value.keywords), reach)
    if not reach.is_new(value):
        return "met", reach.seen[id(value)][0]
    if isinstance(value, tuple | list):
        return kind, tuple([_content(item, reach) for item in value])
    if isinstance(value, dict):
        return kind, tuple([(_content(k, reach), _content(item, reach)) for k, item in value.items()])
    if isinstance(value, set | frozenset):
        return kind, frozenset(_content(item, reach) for item in value)
    return _content_of_object(value, reach)


def _content_of_object(value: Any, reach: Reach) -> Any:
    """Return the key of a function or an object: its identity, and what stands in it."""
    if isinstance(value, types.FunctionType):
        if _is_ours(value):
            return reach.by_identity(value)
        return reach.by_identity(value), _content_of_function(value, reach)
    _refuse_stateful_module(value, "")
    kind: Any = type(value)
    attributes = None if _is_for_good(kind) else getattr(value, "__dict__", None)
    if not attributes:
        return reach.by_identity(value)
    return reach.by_identity(value), tuple([(name, _content(item, reach)) for name, item in attributes.items()])


def _content_of_function(function: types.FunctionType, reach: Reach) -> Any:
    """Return the key of what stands in the cells and the defaults of a function."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]  # one may be empty
    inside = (*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items())
    return len(cells), tuple([_content(item, reach) for item in inside])


def _content_of_numpy(value: Any, reach: Reach) -> Any:
    """Return the key of an array that may be written to in place."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        return array.shape, _content(array.tolist(), reach)
    data = np.ascontiguousarray(array)
    whole = data.tobytes() if array.nbytes <= COMPARED_WHOLE else hashlib.blake2b(data.view(np.uint8).data).digest()
    return type(value), array.shape, array.dtype.str, whole


def _is_ours(value: Any) -> bool:
    """Say whether a value is a public function of ours: what it closes over, its cache of programs, is no input."""
    return isinstance(value, types.FunctionType) and hasattr(value, "programs")


def _is_optimizer(value: Any) -> bool:
    """Say whether a static argument is an optax transformation."""
    return getattr(type(value), "_fields", ()) == ("init", "update")


def _recipe(value: Any, reach: Reach) -> Any:
    """Return a key under which functions that were built alike, as by ``optax.adam(1e-3)`` twice, are the same.

    A function is known by its code, by what it closes over, and by the globals that it names: two lambdas of one line
    are one function where a number that they read is the same, and two where it is not. Anything but plain values,
    functions and arrays of NumPy is known by identity.
    """
    reach.content.append(value)
    if isinstance(value, functools.partial):
        return functools.partial, _recipe((value.func, value.args, *value.keywords.items()), reach)
    if isinstance(value, tuple | list):
        return type(value), tuple([_recipe(item, reach) for item in value])
    if not isinstance(value, types.FunctionType):
        return _content(value, reach)
    if not reach.is_new(value):
        return "met", reach.seen[id(value)][0]
    cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    inside = (*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).items())
    inside += tuple(_globals_read(value))
    return value.__code__, id(value.__globals__), len(cells), tuple([_recipe(item, reach) for item in inside])


LIBRARIES = frozenset({"optax", "jax", "jaxgrad", "flax", "chex", "numpy"})
"""Packages whose functions read no globals that change."""


def _globals_read(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Return the globals that a function of the caller's names, with their values."""
    scope = function.__globals__
    if str(scope.get("__name__", "")).partition(".")[0] in LIBRARIES:
        return []
    return [(name, scope[name]) for name in sorted(_names(function.__code__)) if name in scope]


@functools.cache
def _homes(kind: Any) -> frozenset[str]:
    """Return the full names of a class and of those it is made from."""
    return frozenset(f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


@functools.cache
def _is_for_good(kind: Any) -> bool:
    """Say whether the objects of a class are not entered: Flax freezes a linen module, and torch is not traced."""
    return any(home.startswith(("flax.linen.module.Module", "torch.", "jaxlib.")) for home in _homes(kind))


@functools.cache
def _is_linen_module(kind: Any) -> bool:
    """Say whether a class is one of linen's modules."""
    return "flax.linen.module.Module" in _homes(kind)


@functools.cache
def is_nnx_module(kind: Any) -> bool:
    """Say whether a class is one of NNX's modules."""
    return any(home.startswith("flax.nnx") and home.endswith(".Module") for home in _homes(kind))


@functools.cache
def holds_state(kind: Any) -> bool:
    """Say whether a class is one of NNX's variables that are no weights, such as the statistics of a BatchNorm."""
    homes = _homes(kind)
    return "flax.nnx.variablelib.Variable" in homes and "flax.nnx.variablelib.Param" not in homes


def _refuse_stateful_module(owner: Any, name: str, otherwise: str = "what a static function reaches") -> None:
    """Refuse a module that holds its weights: a compiled program would keep the old ones for ever."""
    kind: Any = type(owner)
    if is_nnx_module(kind):
        message = (
            f"{name or otherwise} is an NNX module, or a method of one: its weights would be"
            " baked into the compiled program. Write `apply_fn, params = jaxgrad.models.from_nnx(module)` and a loss of"
            " `params`."
        )
        raise TypeError(message)
    if name and "torch.nn.modules.module.Module" in _homes(kind):
        message = f"{name} is a torch module; jaxgrad differentiates JAX functions of a pytree"
        raise TypeError(message)


def watch(value: Any, gone: Callable[[Any], None]) -> Any:
    """Return a weak reference that calls ``gone`` when an object dies; the object itself where it takes none."""
    try:
        return weakref.ref(value, gone)
    except TypeError:
        return value
