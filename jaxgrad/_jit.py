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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.extend.core
import jax.numpy as jnp

from jaxgrad import _check, _frames, _leaves, _sharding, _static

__all__ = ["MAX_PROGRAMS", "jit"]

MAX_PROGRAMS = 64
"""How many programs, one for each choice of static arguments, a public function keeps."""

MANY_FUNCTIONS = 4
"""How many functions from one line of code a public function takes before it warns."""

FUNCTIONS = ("loss_fn", "losses_fn", "inner_loss", "fun", "field_fn", "field", "model_fn", "product")
"""What the first argument of a public function is called where it is a function."""

F = TypeVar("F", bound=Callable[..., Any])
"""The whole type of a function: one made of parameters and result, a ``ParamSpec``, loses the ``*Ts`` in it."""


def jit(
    *static: str,
    non_negative: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
    static_functions: tuple[str, ...] = (),
    checks: Mapping[str, Callable[[Any, str], None]] | None = None,
    name: str = "",
) -> Callable[[F], F]:
    """Compile a function with the named arguments static; the function's type is kept.

    Outside of any trace a call runs a compiled program; inside one (``jit``, ``vmap``, ``grad``, ``scan``, ...) the
    body is inlined. Static functions are told apart by identity and by what they close over, so hoist them out of
    loops.

    Args:
        *static: Names of the arguments that are functions or options, known when the function is traced.
        non_negative: Names of the traced arguments that are refused when they are numbers of Python or NumPy below
            zero, or trees with such numbers.
        positive: Names of those that are refused at zero too.
        static_functions: Names of keyword arguments that are static where they are functions, and traced elsewhere.
        checks: What else is asked of traced arguments, by name: ``check(value, name)`` is given what the user gave.
        name: What messages call the function, where that is not its own name.

    Returns:
        A decorator. The function it returns has ``programs``, its cache, for inspection, and ``trace``, which takes
        what a call takes and returns what that of ``jax.jit`` does: ``trace(...).lower().compile()`` is the very
        program that the call runs.
    """

    def decorate(fun: F) -> F:
        asked = dict.fromkeys(non_negative, _check.non_negative) | dict.fromkeys(positive, _check.positive)
        layout = _Layout(fun, name, static, static_functions, {**asked, **(checks or {})})
        programs = _Programs(layout)

        @functools.wraps(fun)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if not _is_outside():
                    return layout.inline(args, kwargs)
                if layout.checks:
                    layout.check_numbers(args, kwargs)
                return programs.run(args, kwargs)
            except Exception as error:
                _frames.name_assertion(error, layout.name)
                if _is_outside():
                    _frames.hide(error)
                raise

        def trace(*args: Any, **kwargs: Any) -> Any:
            return programs.run(args, kwargs, trace=True)

        call.programs, call.trace = programs, trace  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate


class _Roles(NamedTuple):
    """What is static and what is traced in one way of calling a function."""

    fixed: tuple[tuple[int, str], ...]
    """The positions of static arguments, and their names."""
    moving: tuple[int, ...]
    """The positions of traced arguments."""
    fixed_names: tuple[str, ...]
    """The keyword arguments that are static."""
    moving_names: tuple[str, ...]
    """The keyword arguments that are traced."""

    def options(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the static arguments by name."""
        found = {name: args[i] for i, name in self.fixed}
        return found | {name: kwargs[name] for name in self.fixed_names}

    def traced(self, args: Sequence[Any]) -> list[Any]:
        """Return the positional arguments that are traced."""
        return [args[i] for i in self.moving]

    def traced_by_name(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that are traced."""
        return {name: kwargs[name] for name in self.moving_names}

    def whole(self, args: Sequence[Any], traced: Sequence[Any]) -> list[Any]:
        """Return the positional arguments with what is traced in the place of what was given."""
        whole = list(args)
        for i, value in zip(self.moving, traced, strict=True):
            whole[i] = value
        return whole


class _Layout:
    """Which arguments of a public function are static, and what is checked before it runs."""

    def __init__(
        self,
        fun: Callable[..., Any],
        name: str,
        static: tuple[str, ...],
        static_functions: tuple[str, ...],
        checks: Mapping[str, Callable[[Any, str], None]],
    ) -> None:
        parameters = inspect.signature(fun).parameters.values()
        self.fun, self.name = fun, name or fun.__name__
        self.names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.static, self.static_functions = static, static_functions
        self.checks = checks
        self.positions = {self.names.index(name): name for name in static if name in self.names}
        self.first_only = list(self.positions) == [0]
        self.function = next((name for name in self.names[:1] if name in static and name in FUNCTIONS), "")
        self.known: dict[Any, _Roles] = {}

    def roles(self, args: Sequence[Any], kwargs: dict[str, Any]) -> "_Roles":
        """Return what is static and what is traced in a call; known from earlier calls that were written alike."""
        called = tuple([name for name in self.static_functions if callable(kwargs.get(name))])
        key = (len(args), called, *kwargs)
        found = self.known.get(key)
        if found is None:
            fixed = tuple((i, name) for i, name in self.positions.items() if i < len(args))
            moving = tuple(i for i in range(len(args)) if i not in self.positions)
            fixed_names = tuple(name for name in (*self.static, *called) if name in kwargs)
            moving_names = tuple(name for name in kwargs if name not in fixed_names)
            found = self.known[key] = _Roles(fixed, moving, fixed_names, moving_names)
        return found

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the traced arguments by name; what lies beyond the named ones is data."""
        given = dict(zip(self.names, args, strict=False))
        given |= {f"data[{i}]": value for i, value in enumerate(args[len(given) :])}
        given |= kwargs
        fixed = (*self.static, *self.roles(args, kwargs).fixed_names)
        return {name: tree for name, tree in given.items() if name not in fixed}

    def check_numbers(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse numbers that have no meaning, such as negative ones, and zeros."""
        for name, check in self.checks.items():
            if name in kwargs:
                check(kwargs[name], name)
            elif name in self.names and self.names.index(name) < len(args):
                check(args[self.names.index(name)], name)

    def check_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse what is no function where one comes first."""
        if self.function and (args or self.function in kwargs):
            value = kwargs[self.function] if self.function in kwargs else args[0]
            if not isinstance(value, types.FunctionType):
                following = dict(zip(self.names[1:], args[1:], strict=False)) | kwargs
                _static.refuse_no_function(value, f"{self.name}: {self.function}", following)

    def explain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse, or warn of, arguments that JAX takes otherwise than their giver thinks."""
        _leaves.explain(self.name, self.given(args, kwargs))

    def inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the body inside of another trace, on arrays as a compiled program would see them."""
        self.check_numbers(args, kwargs)
        self.check_function(args, kwargs)
        roles = self.roles(args, kwargs)
        for name, value in roles.options(args, kwargs).items():
            _static.refuse_array(value, name)
        self.explain(args, kwargs)
        fixed = {name: kwargs[name] for name in roles.fixed_names}
        moving, named = _as_arrays((roles.traced(args), roles.traced_by_name(kwargs)))

        def body(moving: Any, named: Any) -> Any:
            with _sharding.mesh_of((moving, named)):
                return self.fun(*roles.whole(args, moving), **fixed, **named)

        # compiled where arrays lie on a mesh that is not set: under a transformation alone, `jax.grad` without `jit`,
        # JAX runs nothing on a mesh without devices
        return (jax.jit(body) if _sharding.lacks_mesh((moving, named)) else body)(moving, named)


class _LaidOutError(Exception):
    """Arrays lie on a mesh with Explicit axes, and the program that is traced does not keep unused arguments."""


class _Program:
    """A compiled program, and what must live as long as it does."""

    __slots__ = ("compiled", "kept", "run", "traced", "used")

    def __init__(self, layout: _Layout, options: tuple[str, ...]) -> None:
        self.compiled = functools.partial(_compiled, layout, options)
        self.run: Any = self.compiled(laid_out=False)
        self.kept: list[Any] = []
        """What the key knows by identity, weakly where that can be, and what is known by content."""
        self.used = 0
        """When it was used last."""
        self.traced = False
        """Whether the call under way has traced it."""

    def look_at_layouts(self) -> None:
        """From now on, look at every call whether its arrays lie on a mesh with Explicit axes: few programs need it."""
        plain, laid_out = self.run, self.compiled(laid_out=True)

        def chosen(traced: tuple[Any, ...], named: dict[str, Any]) -> Any:
            return laid_out if _sharding.is_laid_out((traced, named)) else plain

        def run(*traced: Any, **named: Any) -> Any:
            return chosen(traced, named)(*traced, **named)

        run.trace = lambda *traced, **named: chosen(traced, named).trace(*traced, **named)  # type: ignore[attr-defined]
        self.run = run


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

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, trace: bool = False) -> Any:
        """Run the program for a choice of static arguments on the others, or trace it alone."""
        # the usual case in the fewest steps: a function is the only static argument, and known by its identity alone
        layout = self.layout
        alone = layout.first_only and args and not (kwargs and layout.roles(args, kwargs).fixed_names)
        program = self.kept.get(_static.identity(args[0])) if alone else None
        if program is None:
            program = self.get(args, kwargs)
        program.used = next(self.clock)
        while True:  # at most twice
            outer, _given.call = _given.call, (layout, args, kwargs, program)
            try:
                run = program.run.trace if trace else program.run
                if alone:
                    return run(*args[1:], **kwargs)
                roles = layout.roles(args, kwargs)
                return run(*roles.traced(args), **roles.traced_by_name(kwargs))
            except _LaidOutError:
                program.look_at_layouts()
            except (TypeError, ValueError):
                layout.explain(args, kwargs)
                raise
            finally:
                _given.call = outer
                if program.traced:
                    self.know_as_it_is_now(program, args, kwargs)

    def get(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Program:
        """Return the program for a choice of static arguments, made where there is none."""
        self.layout.check_function(args, kwargs)
        reach = _static.Reach()
        key = self._key(args, kwargs, reach)
        program = self.kept.get(key)
        if program is None:
            options = self.layout.roles(args, kwargs).options(args, kwargs)
            self._look_at_functions(options)
            program = _Program(self.layout, tuple(options))
            self._keep(program, key, reach)
        return program

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any], reach: _static.Reach) -> Any:
        """Return the key of a choice of static arguments."""
        roles = self.layout.roles(args, kwargs)
        if self.layout.first_only and args and not roles.fixed_names:
            return _static.key_of(args[0], self.layout.names[0], reach)
        options = roles.options(args, kwargs)
        return tuple([(name, _static.key_of(value, name, reach)) for name, value in options.items()])

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
                stacklevel=5,
            )


class _Crowd:
    """The functions from one line of code that have had a program, told apart by what they close over too."""

    def __init__(self) -> None:
        self.alive: dict[Any, weakref.ref[types.FunctionType]] = {}
        self.count = 0

    def grows(self, function: types.FunctionType) -> bool:
        """Note a function, and say whether it has now brought one too many."""
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


def _compiled(layout: _Layout, options: tuple[str, ...], *, laid_out: bool) -> Callable[..., Any]:
    """Return the compiled function. It holds no static argument: those of the call under way are the same.

    An argument of which only the shape is read still says on which devices, of Explicit axes, the result lies, so it is
    kept there; elsewhere it is dropped, since JAX 0.12 keeps for ever what a program without drops has closed over.
    """

    def body(*traced: Any, **named: Any) -> Any:
        owner, args, kwargs, program = _given.call
        assert owner is layout, "a program is traced in its own call alone"
        if not laid_out and _sharding.is_laid_out((traced, named)):
            raise _LaidOutError
        program.traced = True
        layout.explain(args, kwargs)
        whole = layout.roles(args, kwargs).whole(args, traced)
        with _sharding.mesh_of((traced, named)):
            return layout.fun(*whole, **{name: kwargs[name] for name in options if name in kwargs}, **named)

    body.__name__ = layout.name
    return jax.jit(body, keep_unused=laid_out)


_trace_state = jax.extend.core.get_opaque_trace_state
_no_trace = _trace_state(convention="nnx")


def _has_no_trace() -> bool:
    """Say whether no transformation is under way."""
    return _trace_state(convention="nnx") == _no_trace


try:
    # a third of the time of the public question, which is a good part of what a direct call adds to a compiled one
    from jax._src.core import trace_ctx

    _is_outside = trace_ctx.is_top_level
except (ImportError, AttributeError):
    _is_outside = _has_no_trace


class _Given(threading.local):
    """The arguments of the call under way in this thread, as the user gave them."""

    call: Any = None


_given = _Given()


def _as_arrays(tree: Any) -> Any:
    """Turn NumPy arrays and Python numbers into JAX arrays, as a compiled program would."""
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), tree)
