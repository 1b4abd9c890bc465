"""Which tests need PyTorch: those carry the marker ``torch``, and the others run where it is not installed.

A test needs it if its code, or what its code reaches in the tests and in `jaxgrad.verify`, imports torch or the
reference, or reads one of their objects; by the house's names, whatever ends in ``_torch`` is one of them. That is read
from the code and not from a run, so that ``-m "not torch"`` picks the same tests everywhere. What cannot be seen there,
as in a test that runs ``jaxgrad verify`` in a process of its own, is marked by hand.

Where torch is missing, a test module still imports: while it is collected, torch is a stand-in, of which a test without
the marker can make no number. At run time torch is missing as it is for a user.
"""

import dis
import functools
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["HAS_TORCH", "needs_torch", "stand_ins"]

HAS_TORCH = importlib.util.find_spec("torch") is not None
PACKAGES = ("torch", "torch_ref")
OURS = ("tests", "jaxgrad.verify", "jaxgrad.cli")
IN_A_TEXT = re.compile(r"^\s*(import [\w., ]*\btorch\b|from torch\b)|\A(torch_ref|bench)\.[\w.]*\Z", re.MULTILINE)
"""Code in a text of its own, or the name of a module that is imported by it; the benchmarks compare with torch."""


def _of_torch(name: Any) -> bool:
    """Whether a module belongs to torch or to the reference."""
    return isinstance(name, str) and name.split(".")[0] in PACKAGES


class StandIn(ModuleType):
    """Whatever a module takes from torch while it is imported; it is called, subclassed and computed with freely."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> "StandIn":
        return self

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return (Base,)

    def __or__(self, _: Any) -> Any:
        return self

    __ror__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __or__
    __pow__ = __getitem__ = __or__

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Base:
    """The base of a class that has one of torch's."""

    __module__ = "torch"


class _Finder:
    """Finds a stand-in for every module of torch."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if _of_torch(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """Let ``import torch`` succeed, where it is missing."""
    if HAS_TORCH:
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _of_torch(name)]:
            del sys.modules[name]


class Doctest:
    """A doctest, for `needs_torch`."""

    def __init__(self, test: Any) -> None:
        source = "".join(example.source for example in test.examples)
        self.needs = _of_torch(test.globs.get("__name__")) or (
            code_needs(compile(source, test.name, "exec"), test.globs) if source else False
        )


def needs_torch(*values: Any) -> bool:
    """Whether any of some functions, or of the values that they are given, needs torch."""
    return any(_needs(value, 5) for value in values)


def _needs(value: Any, depth: int) -> bool:
    """Whether a value is torch's, or code that reaches for it."""
    if isinstance(value, Doctest):
        return value.needs
    if isinstance(value, StandIn | ModuleType):
        return _of_torch(value.__name__)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return depth > 0 and any(_needs(item, depth - 1) for item in value)
    if isinstance(value, str):
        return bool(IN_A_TEXT.search(value))
    if isinstance(value, functools.partial):
        return _needs((value.func, value.args, value.keywords), depth)
    value = value.__func__ if isinstance(value, MethodType) else value
    value = getattr(getattr(value, "hypothesis", None), "inner_test", getattr(value, "__wrapped__", value))
    if _of_torch(getattr(value, "__module__", None)) or _of_torch(type(value).__module__):
        return True
    if isinstance(value, FunctionType) and value.__module__.startswith(OURS):
        return _function_needs(value)
    if isinstance(value, type) and value.__module__.startswith(OURS):
        return _class_needs(value)
    if type(value).__module__.startswith(OURS):
        return depth > 0 and _needs(list(getattr(value, "__dict__", {}).values()), depth - 1)
    return False


_known: dict[Any, bool] = {}


def _once(look: Any) -> Any:
    """Ask about a function or a class once; one that leads back to itself adds nothing."""

    @functools.wraps(look)
    def asked(value: Any) -> bool:
        if value not in _known:
            _known[value] = False
            _known[value] = look(value)
        return _known[value]

    return asked


@_once
def _class_needs(cls: type) -> bool:
    """Whether a method of a class needs torch; properties are seen where they are read, by their names."""
    return any(_of_torch(base.__module__) for base in cls.__mro__) or any(
        _function_needs(member) for member in vars(cls).values() if isinstance(member, FunctionType)
    )


@_once
def _function_needs(function: FunctionType) -> bool:
    """Whether a function needs torch, by its code, its defaults and what it closes over."""
    held = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return code_needs(function.__code__, function.__globals__) or _needs([function.__defaults__ or (), held], 5)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def code_needs(code: CodeType, names: dict[str, Any]) -> bool:
    """Whether code needs torch: what it imports, the names that it reads, and the code within it."""
    if any(name.endswith("_torch") for name in code.co_names):
        return True
    # `jaxgrad.verify` asks for its packages so
    if "need" in code.co_names and "torch" in str(code.co_consts):
        return True
    # a code has few imports and many instructions: they are looked through where a module could be meant
    modules = any(_of_torch(name) or (name.startswith(OURS) and name in sys.modules) for name in code.co_names)
    for instruction in dis.get_instructions(code) if modules else ():
        if instruction.opname == "IMPORT_NAME" and _import_needs(instruction.argval, code):
            return True
    read = [names[name] for name in code.co_names if name in names]
    modules = [value for value in read if isinstance(value, ModuleType) and value.__name__.startswith(OURS)]
    read += [getattr(module, name) for module in modules for name in code.co_names if hasattr(module, name)]
    return any(_needs(value, 5) for value in read) or any(
        code_needs(inner, names) if isinstance(inner, CodeType) else _needs(inner, 1) for inner in code.co_consts
    )


def _import_needs(name: str, code: CodeType) -> bool:
    """Whether an import inside of a function is torch's, or brings in something of ours that needs it."""
    module = sys.modules.get(name)
    if module is None or not name.startswith(OURS):
        return _of_torch(name)
    return any(_needs(getattr(module, own, None), 5) for own in code.co_names)
