"""The directive `drawn`: Python code, and the picture of its last expression, drawn when the site is built."""

import ast
from html import escape
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

import equikit as ek


def evaluated(code: str, names: dict[str, Any]) -> Any:
    """Run statements, and return the value of the last one, an expression."""
    *before, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        raise ValueError(f"the last line of a picture is not an expression: {ast.unparse(last)}")
    exec(compile(ast.Module(before, []), "<picture>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<picture>", "eval"), names)


def html(value: Any) -> str:
    """Return a value as HTML: its own picture or table, a picture that is a string, or its text."""
    for method in ("_repr_html_", "_repr_svg_"):
        if hasattr(value, method):
            return str(getattr(value, method)())
    if isinstance(value, str) and value.startswith("<"):
        return value
    return f"<pre>{escape(str(value))}</pre>"


class Drawn(SphinxDirective):
    """Code with its picture. All pictures of a page share their names, `ek` among them.

    Options: `no-code` shows only the picture.
    """

    has_content = True
    option_spec = {"no-code": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the code and its picture."""
        code = "\n".join(self.content)
        if "drawn" not in self.env.temp_data:
            self.env.temp_data["drawn"] = {"ek": ek}
        try:
            picture = html(evaluated(code, self.env.temp_data["drawn"]))
        except Exception as error:
            raise self.error(f"the code of a picture raises {error!r}") from error
        shown = nodes.raw("", f'<div class="drawn">{picture}</div>', format="html")
        if "no-code" in self.options:
            return [shown]
        return [nodes.literal_block(code, code, language="python"), shown]


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("drawn", Drawn)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
