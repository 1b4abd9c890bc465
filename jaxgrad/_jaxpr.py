"""The one reader of traced programs, for every supported JAX.

JAX renames what a program is made of: from 0.11 a scan counts its operands by ``ft_in`` in place of ``num_consts`` and
``num_carry``, Jaxpr and ClosedJaxpr are one class, and `jax.checkpoint` may be a primitive of another kind. The
interpreters of the package know none of that: they ask here.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

TESTED_JAX = "0.10.2 to 0.12.0"
"""The versions of JAX that the tests run on."""


def untested(what: str) -> str:
    """Say that JAX has changed something that is read here."""
    return (
        f"this jax ({jax.__version__}) is newer than what jaxgrad was tested with ({TESTED_JAX}), or built otherwise:"
        f" {what}; install a tested version of jax, or a newer jaxgrad"
    )


try:
    from jax.extend.core import (
        ClosedJaxpr,
        DebugInfo,
        DropVar,
        Jaxpr,
        JaxprEqn,
        Literal,
        Var,
        jaxpr_as_fun,
        jaxprs_in_params,
    )
    from jax.extend.source_info_util import summarize, user_context
    from jax.interpreters import partial_eval
except ImportError as error:
    raise ImportError(untested(str(error))) from error

__all__ = [
    "CheckpointCall",
    "ClosedJaxpr",
    "DropVar",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Scan",
    "Var",
    "While",
    "as_scan",
    "as_while",
    "bind",
    "bind_scan",
    "branches",
    "call",
    "cast_to",
    "checkpoint",
    "contains",
    "evaluate",
    "functions",
    "has_backward_rule",
    "has_refs",
    "is_argument",
    "is_inexact",
    "is_reverse_only",
    "jaxpr_as_fun",
    "line_of",
    "live_equations",
    "name_of",
    "needed",
    "reached",
    "refuse_refs",
    "restricted",
    "settled",
    "traced_in",
    "with_body",
]

T = TypeVar("T")

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "core_closed_call"})
"""Names of primitives that only call a function."""

CUSTOM_JVP = "custom_jvp_call"
"""The name of the primitive that calls a function with a `jax.custom_jvp`."""

CHECKPOINT = "checkpoint"
"""The name under which the interpreters know `jax.checkpoint`, whatever JAX calls it."""

CHECKPOINTS = frozenset({"remat", "remat2", CHECKPOINT})
"""What JAX calls it."""


class Scan(NamedTuple):
    """A `jax.lax.scan`: its operands are constants, carries, then arrays that are sliced."""

    body: ClosedJaxpr
    """Maps constants, carries and slices to carries and slices."""
    consts: int
    carries: int
    length: int
    reverse: bool
    unroll: Any


class While(NamedTuple):
    """A `jax.lax.while_loop`: its operands are the constants of the test, those of the body, then carries."""

    test: ClosedJaxpr
    test_consts: int
    body: ClosedJaxpr
    body_consts: int


class CheckpointCall(NamedTuple):
    """A call of a function under `jax.checkpoint`."""

    body: ClosedJaxpr
    prevent_cse: Any
    policy: Any


def _parameter(eqn: JaxprEqn, *names: str) -> Any:
    """Return the parameter of an equation that has one of these names.

    Raises:
        RuntimeError: If it has none: this JAX has renamed it.
    """
    for name in names:
        if name in eqn.params:
            return eqn.params[name]
    raise RuntimeError(untested(f"its {eqn.primitive.name} has no parameter {' or '.join(names)}"))


def _closed(jaxpr: Any) -> ClosedJaxpr:
    """Return a jaxpr with its constants; one without any may come open."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def as_scan(eqn: JaxprEqn) -> Scan | None:
    """Return what an equation says as a scan; ``None`` where it is none."""
    if eqn.primitive.name != "scan":
        return None
    if "num_consts" in eqn.params:
        consts, carries = eqn.params["num_consts"], _parameter(eqn, "num_carry")
    else:
        groups = _parameter(eqn, "ft_in").unpack()
        consts, carries = len(groups[0]), len(groups[1])
    rest = (_parameter(eqn, name) for name in ("length", "reverse", "unroll"))
    return Scan(_closed(_parameter(eqn, "jaxpr")), consts, carries, *rest)


def as_while(eqn: JaxprEqn) -> While | None:
    """Return what an equation says as a while loop; ``None`` where it is none."""
    if eqn.primitive.name != "while":
        return None
    test, test_consts, body, body_consts = (
        _parameter(eqn, name) for name in ("cond_jaxpr", "cond_nconsts", "body_jaxpr", "body_nconsts")
    )
    return While(_closed(test), test_consts, _closed(body), body_consts)


def branches(eqn: JaxprEqn) -> list[ClosedJaxpr] | None:
    """Return the branches of a `jax.lax.switch`, whose first operand chooses; ``None`` where it is none."""
    return [_closed(branch) for branch in _parameter(eqn, "branches")] if eqn.primitive.name == "cond" else None


def call(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Return the function that an equation only calls, as a nested ``jit`` does; ``None`` where it does more."""
    return _closed(_parameter(eqn, "jaxpr", "call_jaxpr")) if eqn.primitive.name in CALLS else None


def checkpoint(eqn: JaxprEqn) -> CheckpointCall | None:
    """Return what an equation says as a `jax.checkpoint`; ``None`` where it is none."""
    if eqn.primitive.name in CHECKPOINTS:
        body, prevent_cse, policy = (_parameter(eqn, name) for name in ("jaxpr", "prevent_cse", "policy"))
        return CheckpointCall(_closed(body), prevent_cse, policy)
    # under jax_remat3 the primitive holds an object with the same fields
    inside: Any = eqn.params.get("_prim")
    if type(inside).__name__ != "RematTraced":
        return None
    if not all(hasattr(inside, name) for name in ("jaxpr", "policy")):
        raise RuntimeError(untested("its jax.checkpoint has other fields"))
    return CheckpointCall(_closed(inside.jaxpr), getattr(inside, "prevent_cse", True), inside.policy)


def has_backward_rule(eqn: JaxprEqn) -> bool:
    """Say whether an equation is a function of `jax.custom_vjp`, which has no forward rule."""
    return eqn.primitive.name in {"custom_vjp_call", "custom_vjp_call_jaxpr"}


def custom_vjp(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Return the function of an equation that calls one with a `jax.custom_vjp`; ``None`` where it is none."""
    return _closed(_parameter(eqn, "call_jaxpr", "fun_jaxpr")) if has_backward_rule(eqn) else None


def custom_jvp(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """Return the function of an equation that calls one with a `jax.custom_jvp`; ``None`` where it is none."""
    return _closed(_parameter(eqn, "call_jaxpr")) if eqn.primitive.name == CUSTOM_JVP else None


def custom_jvp_origins(eqn: JaxprEqn) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the file and the name of the function with a `jax.custom_jvp` that an equation calls, and of its jvp.

    What `functools.wraps` has dressed goes by the name of what is inside.
    """
    return _origin(_parameter(eqn, "call_jaxpr").jaxpr), _origin(_parameter(eqn, "jvp_jaxpr_fun"))


def custom_vjp_origins(eqn: JaxprEqn) -> tuple[str, ...]:
    """Return the files of the function with a `jax.custom_vjp` that an equation calls, and of both its rules."""
    body = _parameter(eqn, "call_jaxpr", "fun_jaxpr").jaxpr
    return tuple(_origin(fun)[0] for fun in (body, _parameter(eqn, "fwd_jaxpr_thunk"), _parameter(eqn, "bwd")))


def _origin(traced: Any) -> tuple[str, str]:
    """Return the file and the name of a function of which JAX has kept where it was written."""
    name, _, place = str(traced.debug_info.func_src_info).partition(" at ")
    return place.rpartition(":")[0], name


class LinearSolve(NamedTuple):
    """A `jax.lax.custom_linear_solve`: the operands are the constants of its functions, then right-hand sides."""

    matvec: ClosedJaxpr
    matvec_consts: int
    consts: int
    """How many constants its functions have together."""


def linear_solve(eqn: JaxprEqn) -> LinearSolve | None:
    """Return what an equation says as a linear solve; ``None`` where it is none."""
    if eqn.primitive.name != "custom_linear_solve":
        return None
    lengths, functions = _parameter(eqn, "const_lengths"), _parameter(eqn, "jaxprs")
    return LinearSolve(_closed(functions.matvec), lengths.matvec, sum(lengths))


def is_reverse_only(eqn: JaxprEqn) -> bool:
    """Say whether an equation is what a `jax.custom_vjp` leaves in a derivative: to be transposed, not evaluated."""
    return eqn.primitive.name.startswith("custom_lin") and eqn.primitive.name != "custom_linear_solve"


def has_refs(eqn: JaxprEqn) -> bool:
    """Say whether an equation makes, reads or writes a mutable array, as of `jax.new_ref`."""
    return any(hasattr(getattr(atom, "aval", None), "inner_aval") for atom in (*eqn.invars, *eqn.outvars))


def refuse_refs(jaxpr: Any, what: str) -> None:
    """Refuse a traced function that makes, reads or writes a mutable array.

    Raises:
        NotImplementedError: With the line that does.
    """
    if not contains(jaxpr, has_refs):
        return
    lines = [line_of(eqn) for eqn in jaxpr.eqns if has_refs(eqn)]
    where = f"; used at {lines[0]}" if lines and lines[0] else ""
    message = (
        f"{what} makes or writes a mutable array (jax.new_ref), which is not differentiated here{where}: write"
        " array.at[index].set(value), or carry the array through the loop"
    )
    raise NotImplementedError(message)


def cast_to(eqn: JaxprEqn) -> frozenset[Any] | None:
    """Return the mesh axes over which the result of a cast of `jax.shard_map` varies; ``None`` where it is none."""
    if eqn.primitive.name != "pvary":
        return None
    aval: Any = eqn.outvars[0].aval
    return frozenset(aval.manual_axis_type.varying)


def functions(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """List the bodies of the functions that an equation holds."""
    kept = checkpoint(eqn)
    # an open jaxpr may have constants that its equation feeds, and is looked at as it is
    yield from [kept.body.jaxpr] if kept else (getattr(inner, "jaxpr", inner) for inner in jaxprs_in_params(eqn.params))


def contains(jaxpr: Jaxpr, wanted: Callable[[JaxprEqn], bool]) -> bool:
    """Say whether an equation anywhere in a jaxpr, and in the functions inside of it, is wanted."""
    return any(wanted(eqn) or any(contains(inner, wanted) for inner in functions(eqn)) for eqn in jaxpr.eqns)


def bind(eqn: JaxprEqn, *values: Any) -> list[Any]:
    """Evaluate one equation on arrays; what it becomes is traced back to the line that wrote it."""
    traceback = getattr(eqn.source_info, "traceback", None)
    with user_context(traceback) if traceback is not None else nullcontext():
        if "call_jaxpr" not in eqn.params and not list(jaxprs_in_params(eqn.params)):
            results = eqn.primitive.bind(*values, **eqn.params)
            return list(results) if eqn.primitive.multiple_results else [results]
        # an equation that holds functions is evaluated by JAX, as a jaxpr of its own
        given = {atom: value for atom, value in zip(eqn.invars, values, strict=True) if isinstance(atom, Var)}
        outvars = [Var(var.aval) if isinstance(var, DropVar) else var for var in eqn.outvars]
        about = DebugInfo("jaxgrad", eqn.primitive.name, None, None)
        whole = Jaxpr((), list(given), outvars, [eqn.replace(outvars=outvars)], eqn.effects, about)
        return list(jaxpr_as_fun(ClosedJaxpr(whole, ()))(*given.values()))


def with_body(eqn: JaxprEqn, body: ClosedJaxpr) -> JaxprEqn:
    """Return a scan with another body, of the same operands and results."""
    return eqn.replace(params={**eqn.params, "jaxpr": body})


def bind_scan(scan: Scan, operands: Sequence[Any]) -> list[Any]:
    """Evaluate a scan in this very order of operands: its transposition wants the linear ones together.

    `jax.lax.scan` collects the constants itself, in an order of its own.
    """
    slices = len(operands) - scan.consts - scan.carries
    model = _model_scan(scan.consts, scan.carries, slices, len(scan.body.out_avals) - scan.carries)
    ours = {"jaxpr": scan.body, "length": scan.length, "reverse": scan.reverse, "unroll": scan.unroll}
    return list(model.primitive.bind(*operands, **{**model.params, **ours}))


@functools.cache
def _model_scan(consts: int, carries: int, slices: int, results: int) -> JaxprEqn:
    """Return an equation of a scan with so many operands and results: how JAX counts them is its own affair."""

    def scanned(fixed: list[Any], start: list[Any], rows: list[Any]) -> Any:
        def step(state: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
            total = sum([*fixed, *row], jnp.zeros((), jnp.float32))
            return [s + total for s in state], [total + k for k in range(results)]

        return lax.scan(step, start, rows, length=1)

    one, row = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        program = jax.make_jaxpr(scanned)([one] * consts, [one] * carries, [row] * slices)
    (found,) = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name == "scan"]
    described = as_scan(found)
    assert described is not None, "it is a scan by its name"
    if (described.consts, described.carries, len(found.invars)) != (consts, carries, consts + carries + slices):
        raise RuntimeError(untested("its scan takes other operands than it is given"))
    return found


def evaluate(
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[T],
    operate: Callable[[JaxprEqn, list[T]], Sequence[T]],
    lift: Callable[[Any], T] = lambda value: value,
    equations: Sequence[JaxprEqn] | None = None,
) -> list[T]:
    """Evaluate a jaxpr with an arithmetic of one's own.

    Args:
        jaxpr: The open jaxpr.
        consts: The values of its constants.
        args: What stands for its arguments.
        operate: Takes an equation and what stands for its operands, and returns what stands for its results.
        lift: Turns a constant or a literal into what stands for it.
        equations: The equations to go through; all of them by default.

    Returns:
        What stands for the results.
    """
    known: dict[Any, T] = dict(zip(jaxpr.invars, args, strict=True))
    known |= {var: lift(value) for var, value in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom: Any) -> T:
        return lift(atom.val) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns if equations is None else equations:
        known.update(zip(eqn.outvars, operate(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def restricted(jaxpr: Any, outvars: Sequence[Any]) -> Any:
    """Return an open jaxpr with other results, picked from its variables."""
    about = DebugInfo("jaxgrad", "restricted", None, None)
    return jaxpr.replace(outvars=list(outvars), debug_info=about)


def live_equations(jaxpr: Any) -> list[JaxprEqn]:
    """Return the equations that the results depend on: a jvp leaves many behind that they do not."""
    wanted = {atom for atom in jaxpr.outvars if isinstance(atom, Var)}
    live = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or not wanted.isdisjoint(eqn.outvars):
            live.append(eqn)
            wanted.update(atom for atom in eqn.invars if isinstance(atom, Var))
    return live[::-1]


def needed(jaxpr: Any, wanted: Sequence[bool]) -> tuple[Any, list[bool]]:
    """Return a jaxpr without what the wanted results do not need, in its loops too, and which arguments it reads."""
    part, used = partial_eval.dce_jaxpr(jaxpr, list(wanted))
    return part, list(used)


def reached(body: Any, moving: Sequence[bool], counts: Callable[[Any], bool] | None = None) -> list[bool]:
    """Say which results of a jaxpr depend on an argument that moves, by way of variables that count."""
    touched = {var for var, move in zip(body.invars, moving, strict=True) if move}
    for eqn in body.eqns:
        if any(isinstance(atom, Var) and atom in touched for atom in eqn.invars):
            touched.update(eqn.outvars if counts is None else filter(counts, eqn.outvars))
    return [isinstance(atom, Var) and atom in touched for atom in body.outvars]


def settled(
    body: Any, consts: list[bool], carry: list[bool], xs: list[bool], counts: Callable[[Any], bool] | None = None
) -> tuple[list[bool], list[bool]]:
    """Return which carries of a loop move once it has gone round often enough, and which further results do."""
    while True:
        results = reached(body, consts + carry + xs, counts)
        grown = [a or b for a, b in zip(carry, results, strict=False)]
        if grown == carry:
            return carry, results[len(carry) :]
        carry = grown


def is_argument(value: Any) -> bool:
    """Say whether a value is traced, and not the result of an operation of the trace that it belongs to."""
    # what an operation has computed knows that operation as its parent
    return isinstance(value, jax.core.Tracer) and getattr(value, "parent", None) is None


def is_inexact(thing: Any) -> bool:
    """Say whether an array or a variable is floating-point or complex."""
    dtype = getattr(getattr(thing, "aval", thing), "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


def line_of(eqn: JaxprEqn) -> str:
    """Return the file, line and function that wrote an equation; empty where nobody knows."""
    found = summarize(eqn.source_info).strip()
    return "" if found.startswith("<unknown>") else found


def traced_in(eqn: JaxprEqn, function: Callable[..., Any]) -> bool:
    """Say whether an equation was traced while a function ran, which need not be the user's own."""
    code, traceback = inspect.unwrap(function).__code__, eqn.source_info.traceback
    frames: Sequence[Any] = () if traceback is None else traceback.frames
    return any(f.function_name == code.co_name and f.file_name == code.co_filename for f in frames)


def name_of(eqn: JaxprEqn) -> str:
    """Return the name of the function that an equation calls, as its author wrote it; empty where nobody knows."""
    for body in functions(eqn):
        name = getattr(body.debug_info, "func_name", None)
        if name:
            return str(name)
    return ""
