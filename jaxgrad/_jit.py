"""The one spelling of ``jax.jit``: direct calls, programs kept in a bounded cache, arguments explained on failure.

A function given to ``jax.jit`` as a static argument stays alive for ever, with every array that it closes over, and
is compared by hash, which bound methods of some modules do not have. Here the static functions are compared by
identity instead, and only the last `MAX_PROGRAMS` programs of a public function are kept.
"""

import functools
import inspect
import itertools
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
import jax.extend.core
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from jaxgrad import _check, _sharding, _static

__all__ = ["MAX_PROGRAMS", "jit"]

MAX_PROGRAMS = 64
"""How many programs, one for each choice of static arguments, a public function keeps."""

MANY_FUNCTIONS = 4
"""How many functions from one line of code a public function takes before it warns."""

F = TypeVar("F", bound=Callable[..., Any])
"""The whole type of a function: one made of parameters and result, a ``ParamSpec``, loses the ``*Ts`` in it."""


def jit(
    *static: str, non_negative: tuple[str, ...] = (), static_functions: tuple[str, ...] = (), name: str = ""
) -> Callable[[F], F]:
    """Compile a function with the named arguments static; the function's type is kept.

    Outside of any trace a call runs a compiled program; inside one (``jit``, ``vmap``, ``grad``, ``scan``, ...) the
    body is inlined. Static functions are told apart by identity and by what they close over, so hoist them out of
    loops.

    Args:
        *static: Names of the arguments that are functions or options, known when the function is traced.
        non_negative: Names of the traced arguments that are refused when they are numbers of Python or NumPy below
            zero, or trees with such numbers.
        static_functions: Names of keyword arguments that are static where they are functions, and traced elsewhere.
        name: What messages call the function, where that is not its own name.

    Returns:
        A decorator. The function it returns has ``programs``, its cache, for inspection.
    """

    def decorate(fun: F) -> F:
        layout = _Layout(fun, name, static, static_functions, non_negative)
        programs = _Programs(layout)

        @functools.wraps(fun)
        def call(*args: Any, **kwargs: Any) -> Any:
            layout.check_numbers(args, kwargs)
            if _trace_state(convention="nnx") != _no_trace:
                return layout.inline(args, kwargs)
            program = programs.get(args, kwargs)
            outer, _given.call = _given.call, (layout, args, kwargs, program)
            try:
                return program.run(*layout.traced(args), **layout.traced_by_name(kwargs))
            except (TypeError, ValueError):
                layout.explain(args, kwargs)
                raise
            finally:
                _given.call = outer
                if program.traced:
                    programs.know_as_it_is_now(program, args, kwargs)

        call.programs = programs  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate


class _Layout:
    """Which arguments of a public function are static, and what is checked before it runs."""

    def __init__(
        self,
        fun: Callable[..., Any],
        name: str,
        static: tuple[str, ...],
        static_functions: tuple[str, ...],
        non_negative: tuple[str, ...],
    ) -> None:
        parameters = inspect.signature(fun).parameters.values()
        self.fun, self.name = fun, name or fun.__name__
        self.names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.static, self.static_functions, self.non_negative = static, static_functions, non_negative
        self.positions = {self.names.index(name): name for name in static if name in self.names}
        self.first_only = list(self.positions) == [0]

    def static_names(self, kwargs: dict[str, Any]) -> list[str]:
        """Return the names of the keyword arguments that are static."""
        if not kwargs:
            return []
        found = [name for name in self.static if name in kwargs]
        return found + [name for name in self.static_functions if callable(kwargs.get(name))]

    def options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the static arguments by name."""
        found = {name: args[i] for i, name in self.positions.items() if i < len(args)}
        return found | {name: kwargs[name] for name in self.static_names(kwargs)}

    def whole(self, args: Sequence[Any], traced: Sequence[Any]) -> list[Any]:
        """Return the positional arguments with what is traced in the place of what was given."""
        rest = iter(traced)
        return [value if i in self.positions else next(rest) for i, value in enumerate(args)]

    def traced(self, args: Sequence[Any]) -> Any:
        """Return the positional arguments that are traced."""
        return args[1:] if self.first_only else [value for i, value in enumerate(args) if i not in self.positions]

    def traced_by_name(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that are traced."""
        if not kwargs:
            return kwargs
        fixed = self.static_names(kwargs)
        return {name: value for name, value in kwargs.items() if name not in fixed}

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the traced arguments by name; what lies beyond the named ones is data."""
        given = dict(zip(self.names, args, strict=False))
        given |= {f"data[{i}]": value for i, value in enumerate(args[len(given) :])}
        given |= kwargs
        fixed = (*self.static, *self.static_names(kwargs))
        return {name: tree for name, tree in given.items() if name not in fixed}

    def check_numbers(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse negative numbers where they have no meaning."""
        for name in self.non_negative:
            if name in kwargs:
                _check.non_negative(kwargs[name], name)
            elif name in self.names and self.names.index(name) < len(args):
                _check.non_negative(args[self.names.index(name)], name)

    def explain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse, or warn of, arguments that JAX takes otherwise than their giver thinks."""
        _explain_arguments(self.name, self.given(args, kwargs))

    def inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the body inside of another trace, on arrays as a compiled program would see them."""
        for name, value in self.options(args, kwargs).items():
            _static.refuse_array(value, name)
        self.explain(args, kwargs)
        fixed = self.static_names(kwargs)
        arrays = [value if i in self.positions else _as_arrays(value) for i, value in enumerate(args)]
        named = {name: value if name in fixed else _as_arrays(value) for name, value in kwargs.items()}
        if not _sharding.lacks_mesh((arrays, named)):
            return self.fun(*arrays, **named)
        # compiled: under a transformation alone, `jax.grad` without `jit`, JAX runs nothing on a mesh without devices
        fixed_named = {name: named.pop(name) for name in fixed}

        def body(moving: Any, options: Any) -> Any:
            with _sharding.mesh_of((moving, options)):
                return self.fun(*self.whole(arrays, moving), **fixed_named, **options)

        return jax.jit(body)(self.traced(arrays), named)


class _Program:
    """A compiled program, and what must live as long as it does."""

    __slots__ = ("kept", "run", "traced", "used")

    def __init__(self, run: Callable[..., Any], kept: list[Any], used: int) -> None:
        self.run = run
        self.kept = kept
        """What the key knows by identity, weakly where that can be, and what is known by content."""
        self.used = used
        """When it was used last."""
        self.traced = False
        """Whether the call under way has traced it."""


class _Programs:
    """The last programs of one public function, the least recently used dropped first.

    A program dies with the function that it was made for, and with any object that its key knows by identity.
    """

    def __init__(self, layout: _Layout) -> None:
        self.layout = layout
        self.kept: dict[Any, _Program] = {}
        self.clock = itertools.count()
        self.lock = threading.RLock()  # a death may be told while the lock is held

    def __len__(self) -> int:
        return len(set(map(id, list(self.kept.values()))))

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any], reach: _static.Reach) -> Any:
        """Return the key of a choice of static arguments, and whether arrays lie on a mesh with Explicit axes."""
        try:
            explicit = jax.device_count() > 1 and _sharding.is_laid_out((args, kwargs))
        except ValueError:
            explicit = False  # a tree that cannot be flattened is told of when the call traces
        if self.layout.first_only and args and not kwargs:
            return explicit, _static.key_of(args[0], self.layout.names[0], reach)
        options = self.layout.options(args, kwargs)
        return explicit, tuple([(name, _static.key_of(value, name, reach)) for name, value in options.items()])

    def get(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Program:
        """Return the program for a choice of static arguments, made where there is none."""
        reach = _static.Reach()
        key = self._key(args, kwargs, reach)
        program = self.kept.get(key)
        if program is None:
            options = self.layout.options(args, kwargs)
            self._look_at_functions(options)
            # an argument of which only the shape is read still says on which devices, of Explicit axes, the result
            # lies; elsewhere it is dropped, since JAX 0.12 keeps for ever what such a program has closed over
            run = jax.jit(_body_of(self.layout, tuple(options)), keep_unused=key[0])
            program = _Program(run, [], 0)
            self._keep(program, key, reach)
        program.used = next(self.clock)
        return program

    def know_as_it_is_now(self, program: _Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep a program under the key that its arguments have after it was traced.

        A function may write into what it closes over while it is traced, a count of its traces for instance.
        """
        program.traced = False
        reach = _static.Reach()
        self._keep(program, self._key(args, kwargs, reach), reach)

    def _keep(self, program: _Program, key: Any, reach: _static.Reach) -> None:
        """Keep a program under a key, for as long as the objects live that the key knows by identity."""
        if self.kept.get(key) is program:
            return
        programs = weakref.ref(self)

        def gone(_: Any) -> None:
            mine = programs()
            if mine is not None:
                mine._drop(key)

        watched = [_static.watch(value, gone) for value in reach.mortal]
        with self.lock:
            program.kept += watched + reach.content
            self.kept[key] = program
            while len(self) > MAX_PROGRAMS:
                oldest = min((kept for kept in self.kept.values() if kept is not program), key=lambda kept: kept.used)
                for name in [name for name, kept in self.kept.items() if kept is oldest]:
                    del self.kept[name]

    def _drop(self, key: Any) -> None:
        """Drop the program of a key."""
        with self.lock:
            self.kept.pop(key, None)

    def _look_at_functions(self, options: dict[str, Any]) -> None:
        """Refuse globals that would be baked in, and warn where one line of code has had many functions."""
        functions = [function for value in options.values() for function in _static.written_by(value)]
        for function in functions:
            _static.refuse_global_modules(function)
        with self.lock:
            crowds = [_crowds.setdefault((self.layout.name, function.__code__), _Crowd()) for function in functions]
            full = [function for function, crowd in zip(functions, crowds, strict=True) if crowd.grows(function)]
        for function in full:
            code = function.__code__
            warnings.warn(
                f"{self.layout.name} was called with {MANY_FUNCTIONS} different functions that are all defined at"
                f" {code.co_filename}:{code.co_firstlineno}, or with one that closes over something else each time;"
                " each one is traced and compiled anew. Define the function once, outside of the loop, and pass what"
                " changes as an array in the data.",
                stacklevel=4,
            )


class _Crowd:
    """The functions from one line of code that have had a program, told apart by what they close over too."""

    def __init__(self) -> None:
        self.alive: dict[Any, weakref.ref[types.FunctionType]] = {}
        self.count = 0

    def grows(self, function: types.FunctionType) -> bool:
        """Note a function, and say whether it has just brought one too many."""
        if self.count >= MANY_FUNCTIONS:
            return False
        key = _static.key_of(function, "", _static.Reach())
        known = self.alive.get(key)
        if known is not None and known() is function:
            return False
        self.alive[key] = weakref.ref(function)
        self.count += 1
        return self.count == MANY_FUNCTIONS


_crowds: dict[tuple[str, types.CodeType], _Crowd] = {}
"""By the name of the public function, and the line of code."""


def _body_of(layout: _Layout, options: tuple[str, ...]) -> Callable[..., Any]:
    """Return the function to compile. It holds no static argument: those of the call under way are the same."""

    def body(*traced: Any, **named: Any) -> Any:
        owner, args, kwargs, program = _given.call
        assert owner is layout, "a program is traced in its own call alone"
        program.traced = True
        layout.explain(args, kwargs)
        whole = layout.whole(args, traced)
        with _sharding.mesh_of((traced, named)):
            return layout.fun(*whole, **{name: kwargs[name] for name in options if name in kwargs}, **named)

    body.__name__ = layout.name
    return body


_trace_state = jax.extend.core.get_opaque_trace_state
_no_trace = _trace_state(convention="nnx")


class _Given(threading.local):
    """The arguments of the call under way in this thread, as the user gave them."""

    call: Any = None


_given = _Given()
_warned: set[tuple[str, ...]] = set()


def _as_arrays(tree: Any) -> Any:
    """Turn NumPy arrays and Python numbers into JAX arrays, as a compiled program would."""
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), tree)


def _explain_arguments(name: str, given: dict[str, Any]) -> None:
    """Refuse leaves that JAX cannot take, by path, and warn of float64 that x64 mode would keep.

    Raises:
        TypeError: If a leaf is a string, an array of another framework, or the keys of a dictionary do not sort.
    """
    doubled: list[str] = []
    for argument, tree in given.items():
        try:
            leaves = jtu.tree_leaves_with_path(tree)
        except ValueError as error:
            message = f"{name}: {argument} cannot be flattened; do its dictionaries mix keys of several types? {error}"
            raise TypeError(message) from None
        if argument == "params":
            _refuse_state(name, tree)
        for path, leaf in leaves:
            if isinstance(leaf, jax.core.Tracer | jax.Array | float | int | complex):
                continue
            where = _check.locate(argument, path)
            _explain_leaf(name, where, leaf, differentiated=argument == "params")
            is_wide = isinstance(leaf, np.ndarray | np.generic) and leaf.dtype in (np.float64, np.complex128)
            doubled += [f"{where} is {leaf.dtype}"] if is_wide else []
    if doubled and not _check.x64_is_on():
        _warn_of_float64(name, doubled)


def _refuse_state(name: str, params: Any) -> None:
    """Refuse parameters that hold what is no weight: an NNX module, or variables that are not `nnx.Param`.

    Raises:
        TypeError: With the first one.
    """

    def ends(node: Any) -> bool:
        kind: Any = type(node)
        return _static.is_nnx_module(kind) or _static.holds_state(kind)

    for path, node in jtu.tree_leaves_with_path(params, is_leaf=ends):
        if ends(node):
            kind: Any = type(node)
            what = "an NNX module" if _static.is_nnx_module(kind) else f"an nnx.{kind.__name__}, which is no weight"
            message = (
                f"{name}: {_check.locate('params', path)} is {what}: all of its numbers, the statistics of a BatchNorm"
                " too, would be differentiated. Write `apply_fn, params = jaxgrad.models.from_nnx(module)` and a loss"
                " of `params`, or pass `nnx.state(module, nnx.Param)`"
            )
            raise TypeError(message)


def _explain_leaf(name: str, where: str, leaf: Any, *, differentiated: bool) -> None:
    """Refuse one leaf that is not an array.

    Raises:
        TypeError: If it is a tensor of torch, a string, an array of objects, or a function among the parameters.
    """
    if type(leaf).__module__.split(".")[0] == "torch":
        message = f"{name}: {where} is a torch tensor; convert it with jnp.asarray(tensor.detach().numpy())"
        raise TypeError(message)
    if isinstance(leaf, str | bytes):
        message = f"{name}: {where} is the string {leaf!r}, not an array"
        raise TypeError(message)
    if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
        message = f"{name}: {where} is an array of Python objects; give it a numeric dtype"
        raise TypeError(message)
    if callable(leaf):
        advice = (
            "split it off, as by equinox.partition(module, equinox.is_inexact_array), and combine the parts inside of"
            " the loss"
            if differentiated
            else "call it inside of the function that you differentiate"
        )
        message = f"{name}: {where} is a function, not an array ({getattr(leaf, '__name__', leaf)}): {advice}"
        raise TypeError(message)
    if not hasattr(leaf, "dtype") and not hasattr(leaf, "__jax_array__"):
        picture = " of floats: jnp.asarray(leaf, float) / 255 for bytes" if hasattr(leaf, "__array_interface__") else ""
        message = f"{name}: {where} is a {type(leaf).__qualname__}, not an array; pass an array{picture}"
        raise TypeError(message)


def _warn_of_float64(name: str, leaves: list[str]) -> None:
    """Warn, once for each function and set of leaves, that JAX computes in float32."""
    if (name, *leaves) in _warned:
        return
    _warned.add((name, *leaves))
    more = f", and {len(leaves) - 1} more leaves are wide" if len(leaves) > 1 else ""
    warnings.warn(
        f"{name}: {leaves[0]}, but JAX computes in float32 because x64 is off{more}; call"
        ' jax.config.update("jax_enable_x64", True) at the start, or pass float32',
        stacklevel=2,
    )
