"""Measures of the package: imports between rooms, files in a room, lines, and how many lines are checks of arguments.

Run `python tests/house.py` for the table.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from equikit import _errors as errors

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "equikit"


@dataclass(frozen=True)
class Import:
    """One module of the package imports another one."""

    source: str
    target: str
    inside_function: bool
    for_types: bool

    @property
    def folders(self) -> tuple[str, str]:
        """The top-level folders of both modules; "" for modules of the package itself."""
        source, target = (self.source.split("."), self.target.split("."))
        return source[1] if len(source) > 2 else "", target[1] if len(target) > 2 else ""


@functools.cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def file_of(module: str) -> str:
    """The file of a module, in the package."""
    return modules()[module].relative_to(PACKAGE).as_posix()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _under(tree: ast.AST, chosen: type[ast.AST], condition: str = "") -> set[int]:
    """Nodes below those of one type; of conditions, those that name `condition`."""
    tops = [node for node in ast.walk(tree) if isinstance(node, chosen)]
    if condition:
        tops = [node for node in tops if condition in ast.dump(node.test)]
    return {id(node) for top in tops for node in ast.walk(top)}


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if submodule in modules() else node.module
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)


@functools.cache
def imports() -> tuple[Import, ...]:
    """All imports of the package's modules by each other, each pair once for each kind."""
    found: dict[Import, None] = {}
    for name, path in modules().items():
        tree = parsed(path)
        inside, typing = _under(tree, ast.FunctionDef), _under(tree, ast.If, "TYPE_CHECKING")
        for node in ast.walk(tree):
            for target in _targets(node):
                if target in modules() and target != name:
                    found[Import(name, target, id(node) in inside, id(node) in typing)] = None
    return tuple(found)


def private_imports() -> list[Import]:
    """Imports of a private module of another top-level folder."""
    return [
        one
        for one in imports()
        if "" not in one.folders and len(set(one.folders)) == 2 and one.target.split(".")[-1].startswith("_")
    ]


def cycles() -> list[set[str]]:
    """Files that import each other when they are loaded."""
    loaded = [(one.source, one.target) for one in imports() if not one.inside_function and not one.for_types]
    return [found for found in nx.strongly_connected_components(nx.DiGraph(loaded)) if len(found) > 1]


def later_imports() -> set[tuple[str, str]]:
    """Imports inside functions from the same top-level folder."""
    return {(one.source, one.target) for one in imports() if one.inside_function and len(set(one.folders)) == 1}


def files_by_folder() -> Counter[str]:
    """How many modules are in each folder, `__init__` aside."""
    paths = (path for path in modules().values() if path.name != "__init__.py")
    return Counter(str(path.parent.relative_to(ROOT)) for path in paths)


def lines_by_folder() -> Counter[str]:
    """Lines in each top-level folder of the package."""
    counted: Counter[str] = Counter()
    for path in modules().values():
        inner = path.relative_to(PACKAGE).parts
        counted[inner[0] if len(inner) > 1 else "equikit"] += len(path.read_text(encoding="utf-8").splitlines())
    return counted


def _executable(tree: ast.AST) -> set[int]:
    """Lines of statements that do something: docstrings, imports, annotations and headers of definitions aside."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        inner = [child.lineno for field in ("body", "orelse") for child in getattr(node, field, []) or []]
        last = min(inner) - 1 if inner else node.end_lineno or node.lineno
        lines |= set(range(node.lineno, max(last, node.lineno) + 1))
    return lines


NO_CHECKS = {"call_of", "options_of", "answer_misspelled", "shown", "nearest", "count_text", "axis_text", "takes"}
"""Functions of `_checks` that describe calls and values, and refuse nothing."""


def _checks_by_name(name: str) -> bool:
    return re.match(r"_?(refuse|check|checked)(_|$)", name) is not None and name != "check"


def _makes_error(node: ast.AST) -> bool:
    calls = (ast.unparse(each.func) for each in ast.walk(node) if isinstance(each, ast.Call))
    return any(called in vars(errors) for called in calls)


def _is_check(node: ast.AST) -> bool:
    """Whether a statement only refuses: it raises, makes an error, or calls a check."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.If):
        return all(_is_check(child) for child in node.body) and not node.orelse
    if not isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return) or node.value is None:
        return False
    called = ast.unparse(node.value.func) if isinstance(node.value, ast.Call) else ""
    owner, _, name = called.rpartition(".")
    by_name = name not in NO_CHECKS if owner.endswith(("_checks", "_keywords")) else _checks_by_name(name)
    return _makes_error(node) or (by_name and not isinstance(node, ast.Return))


def _prepared(function: ast.AST, checks: set[int]) -> set[int]:
    """Lines that assign what only checks use, such as the text of a next step."""
    found: set[int] = set()
    uses: dict[str, set[int]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses.setdefault(node.id, set()).add(node.lineno)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            names = {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
            lines = set().union(*(uses.get(name, set()) for name in names))
            if lines and lines <= checks:
                found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


@functools.cache
def lines_of_checks(path: Path) -> tuple[int, int]:
    """How many executable lines a module has, and how many of them check arguments.

    A check is a `raise` with its text, the condition around it, every other statement that makes an error, a call of
    `_checks` or of a function whose name begins with refuse or check, and what is assigned for these alone. In a
    function with such a name, and in one of a module of checks that checks anything, every line is one.
    """
    tree = parsed(path)
    executable, checks = _executable(tree), set[int]()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    shared = path.name.endswith(("_checks.py", "_keywords.py"))
    for node in ast.walk(tree):
        named = isinstance(node, ast.FunctionDef) and _checks_by_name(node.name)
        if named or _is_check(node):
            checks |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for function in functions:
        whole = set(range(function.lineno, (function.end_lineno or function.lineno) + 1))
        checks |= whole if shared and whole & checks else _prepared(function, checks)
    return len(executable), len(executable & checks)


def checks_by_folder() -> dict[str, tuple[int, int]]:
    """Executable lines and lines of checks in each top-level folder; the texts of `_errors.py` are left out."""
    found: dict[str, tuple[int, int]] = {}
    for path in modules().values():
        inner = path.relative_to(PACKAGE).parts
        if inner[-1] == "_errors.py":
            continue
        folder, counted = inner[0] if len(inner) > 1 else "equikit", lines_of_checks(path)
        before = found.get(folder, (0, 0))
        found[folder] = before[0] + counted[0], before[1] + counted[1]
    return found


def table() -> str:
    """Lines, files and share of checks of each top-level folder, and the imports between them."""
    checks, lines = checks_by_folder(), lines_by_folder()
    rows = [f"{'folder':16} {'lines':>7} {'executable':>11} {'checks':>7} {'share':>7}"]
    for folder in sorted(lines):
        executable, checking = checks[folder]
        share = checking / executable if executable else 0
        rows.append(f"{folder:16} {lines[folder]:7} {executable:11} {checking:7} {share:7.1%}")
    total, checking = (sum(pair[i] for pair in checks.values()) for i in (0, 1))
    rows.append(f"{'total':16} {lines.total():7} {total:11} {checking:7} {checking / total:7.1%}")
    rows.append(f"imports of private modules of another folder: {len(private_imports())}")
    rows.append(f"imports inside functions: {len(later_imports())}")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
