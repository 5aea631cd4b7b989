"""The next steps that the package writes into its errors: their texts, with a place for each value, by parsing it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

from house import modules, parsed

CODE = re.compile(r"\w=[^\s,;)=]|\w\(")
"""A step is code if it has a keyword with a value, or a call."""


def texts(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may have, with `{}` for each value in them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value)
    elif isinstance(node, ast.BinOp):
        for left in texts(node.left):
            yield from (left + right for right in texts(node.right))


def _of_statement(node: ast.AST) -> Iterator[ast.AST]:
    """Expressions of steps: of keywords, of variables of that name, and of what checks write into theirs."""
    if isinstance(node, ast.keyword) and node.arg == "step" and node.value is not None:
        yield node.value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id.lower().endswith("step"):
                yield node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=True):
                    if isinstance(name, ast.Name) and name.id == "step":
                        yield value
    elif isinstance(node, ast.Call) and len(node.args) > 2 and ast.unparse(node.func).endswith("refuse_without"):
        yield node.args[2]


@functools.cache
def code_steps() -> dict[str, str]:
    """Every text of a step that is code, with the file that has it."""
    found = {}
    for path in modules().values():
        for node in ast.walk(parsed(path)):
            for value in _of_statement(node):
                for text in texts(value):
                    if CODE.search(text):
                        found[text] = path.name
    return found


def matches(text: str, step: str) -> bool:
    """Whether a step has this text, with values in its places."""
    return re.fullmatch(".*?".join(map(re.escape, text.split("{}"))), step, re.DOTALL) is not None
