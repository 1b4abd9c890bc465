"""Imports point down one ladder, and each outside package is used only where it may be."""

import ast
import functools
from pathlib import Path

import pytest

# the text of the house is the same on every JAX
pytestmark = pytest.mark.either_lane

ROOT = Path(__file__).parents[2]

LADDER = (
    ("_types", "_interrupt", "_lazy", "_natural", "_frames", "_whites", "__version__"),
    ("_jaxpr", "_sharding", "_deprecated"),
    ("_tree",),
    ("_check",),
    ("_static",),
    ("_leaves",),
    ("_jit",),
    ("gradient",),
    ("_uses",),
    ("shift", "nth", "curvature", "per_example", "multi_loss"),
    ("meta", "inr"),
    ("models",),
    ("verify",),
    ("fit",),
    ("cli",),
    ("__main__",),
)
"""What stands on which rung; nothing on a rung imports its neighbour."""

RUNG = {name: rung for rung, names in enumerate(LADDER) for name in names}

ROOMS = (
    ("_errors", "_files", "_bridge", "_environment"),
    ("judge",),
    ("report",),
    ("port.frameworks",),
    ("_nonsmooth",),
    ("port.mapping",),
    ("port.quantities",),
    ("port.tracing",),
    ("port.diagnosis",),
    ("port",),
    ("port.dumps",),
    ("cases",),
    ("__init__",),
    ("pytest_plugin",),
)
"""The rooms of ``verify``, a rung for each: a stage of the pipeline knows those before it, never one behind it."""

ROOM_RUNG = {name: rung for rung, names in enumerate(ROOMS) for name in names}

OUTSIDE = {
    "flax": {"models", "verify", "cli"},
    "torch": {"models", "verify", "cli"},
    "matfree": {"curvature"},
    "lineax": {"curvature"},
    "torch_ref": {"verify", "cli"},
    "typer": {"cli"},
    "rich": {"cli", "verify"},
    "sklearn": {"verify", "cli"},
    "skimage": {"verify", "fit", "cli"},
    "matplotlib": {"verify", "fit", "cli"},
    "safetensors": {"verify", "fit", "cli"},
    "orbax": {"fit"},
    "PIL": {"fit"},
    "tifffile": {"fit"},
}
"""Who may import a package; whoever is not listed here may import jax, numpy, optax and the standard library."""

ONLY_INSIDE_FUNCTIONS = {"torch", "torch_ref", "sklearn", "skimage", "matplotlib", "typer", "rich", "safetensors"} | {
    "orbax",
    "PIL",
    "tifffile",
}
"""Optional packages: the library imports without them."""

ALLOWED_AT_THE_TOP = {("cli", "typer"), ("cli", "rich")}
"""Modules that are themselves imported only when their package is there (``cli/__init__.py`` sees to it)."""


def unit(path: Path) -> str:
    """Return the rung that a file of the package belongs to."""
    parts = path.relative_to(ROOT / "jaxgrad").parts
    return parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> set[str]:
    """Return the full names of every module that a syntax tree imports, names from packages included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the rung"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def imports_of(text: str) -> frozenset[str]:
    """Return what a text imports; several tests ask of the same texts."""
    return frozenset(imports(ast.parse(text)))


def top_level(tree: ast.Module) -> set[str]:
    """Return what a module imports when it is imported itself."""
    type_checking = [n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    body = [n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.ClassDef) and n not in type_checking]
    return set().union(*[imports(node) for node in body]) if body else set()


def room(module: str) -> str:
    """Return the room of a module of ``verify``, named from there: ``port.mapping._search`` is in ``port.mapping``."""
    package = module.rpartition(".")[0]
    return next((name for name in (module, package, package.split(".")[0]) if name in ROOM_RUNG), module)


def inside(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return what every module of ``verify`` imports of it, inside of functions too; packages stand for their door."""

    def target(name: str) -> str:
        parts = name.removeprefix("jaxgrad.verify").strip(".").split(".")
        paths = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        return next((m for path in paths for m in (path, f"{path}.__init__") if m in sources), "__init__")

    return {
        module: {target(n) for n in imports_of(text) if n.startswith("jaxgrad.verify")}
        for module, text in sources.items()
    }


def upward(graph: dict[str, set[str]]) -> list[str]:
    """List every import inside of ``verify`` that does not point to a lower rung or to the same room."""
    return [
        f"{room(module)} imports {other}, which is not below it"
        for module, others in sorted(graph.items())
        for other in sorted(others)
        if room(other) != room(module) and ROOM_RUNG.get(room(other), 99) >= ROOM_RUNG.get(room(module), -1)
    ]


def circles(graph: dict[str, set[str]]) -> set[str]:
    """Return the modules that are left when those that import nothing of the rest are taken away, again and again."""
    left = {module: set(others) for module, others in graph.items()}
    while free := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in free}
    return set(left)


def violations(path: Path, text: str) -> list[str]:
    """List every import of a file that the ladder forbids."""
    own, tree = unit(path), ast.parse(text)
    wrong = []
    for name in sorted(imports(tree)):
        package, *rest = name.split(".")
        if package == "jaxgrad" and own != "__init__":
            target = rest[0] if rest else "__init__"
            if target != own and RUNG.get(target, 99) >= RUNG[own]:
                wrong.append(f"{own} imports {name}, which is not below it")
        elif package in OUTSIDE and own not in OUTSIDE[package]:
            wrong.append(f"{own} imports {package}")
    for name in sorted(top_level(tree)):
        package = name.split(".")[0]
        if package in ONLY_INSIDE_FUNCTIONS and (own, package) not in ALLOWED_AT_THE_TOP:
            wrong.append(f"{own} imports the optional {package} at the top of the module")
    return wrong


@pytest.mark.parametrize("path", sorted((ROOT / "jaxgrad").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    assert violations(path, path.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "torch_ref").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_reference_imports_torch_alone(path):
    family = path.relative_to(ROOT / "torch_ref").parts[0]
    allowed = {"torch", "math", "typing", "collections", "copy", "itertools", "functools", "__future__"}
    for name in imports(ast.parse(path.read_text())):
        package = name.split(".")[0]
        assert package in allowed or name.startswith(f"torch_ref.{family}"), f"{path.name} imports {name}"


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("curvature/_x.py", "from jaxgrad import meta", "not below it"),
        ("curvature/_x.py", "from jaxgrad.shift import gradient", "not below it"),
        ("gradient/_x.py", "import torch", "gradient imports torch"),
        ("verify/_x.py", "import torch", "at the top"),
        ("_tree.py", "from jaxgrad import _jit", "not below it"),
        ("nth/_x.py", "def f():\n    import flax", "nth imports flax"),
    ],
)
def test_a_broken_rung_is_found(file, line, complaint):
    assert complaint in " ".join(violations(ROOT / "jaxgrad" / file, line))


VERIFY = ROOT / "jaxgrad" / "verify"
SOURCES = {".".join(p.relative_to(VERIFY).with_suffix("").parts): p.read_text() for p in VERIFY.rglob("*.py")}


def test_verify_is_a_house_of_rungs():
    graph = inside(SOURCES)
    assert sorted({room(module) for module in graph} - ROOM_RUNG.keys()) == []
    assert upward(graph) == []
    assert circles(graph) == set()


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("port.mapping._x", "def f():\n    from jaxgrad.verify.port import _check", "port.mapping imports port._check"),
        ("judge._x", "from jaxgrad.verify.port.tracing import _record_jax", "judge imports port.tracing._record_jax"),
        ("port.quantities._x", "def f():\n    import jaxgrad.verify.cases._run", "port.quantities imports cases._run"),
        ("port.diagnosis._x", "from jaxgrad.verify import pair", "port.diagnosis imports __init__"),
    ],
)  # fmt: skip
def test_an_import_that_points_up_is_found(module, line, complaint):
    assert any(text.startswith(complaint) for text in upward(inside(SOURCES | {module: line})))


def test_a_circle_is_found_though_its_imports_are_inside_of_functions():
    lazy = "def f():\n    from jaxgrad.verify.judge import _{} as other\n    return other"
    found = circles(inside(SOURCES | {"judge._a": lazy.format("b"), "judge._b": lazy.format("a")}))
    assert found == {"judge._a", "judge._b"}
