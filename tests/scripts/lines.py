"""Lines of code: without blank lines, comments, docstrings and imports."""

import ast
import io
import tokenize

__all__ = ["count"]

SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def count(source: str) -> dict[str, int]:
    """Return the number of lines of code of each function and class, and of the whole under ``""``."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for t in tokens if t.type not in SILENT for line in range(t.start[0], t.end[0] + 1)}
    module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, ast.stmt) and (isinstance(node, ast.Import | ast.ImportFrom) or _is_a_text(node)):
            code -= set(_lines_of(node))
    parts = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return {"": len(code)} | {node.name: len(code.intersection(_lines_of(node))) for node in parts}


def _is_a_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _lines_of(node: ast.stmt) -> range:
    """Return the numbers of the lines of a statement."""
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
