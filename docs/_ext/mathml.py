"""Write math as MathML, which browsers draw themselves: no script, no font and no network."""

from typing import Any

from latex2mathml.converter import convert
from sphinx.util import logging

_LOG = logging.getLogger(__name__)


def mathml(latex: str, display: str) -> str:
    """Return a formula as MathML; a formula that cannot be converted is shown as text, with a warning."""
    try:
        return convert(latex, display=display)
    except Exception as error:  # the converter raises many kinds
        _LOG.warning("formula %r cannot be converted: %r", latex, error)
        return f"<code>{latex}</code>"


def visit_inline(writer: Any, node: Any) -> None:
    """Write math within a line."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise _skip()


def visit_block(writer: Any, node: Any) -> None:
    """Write math on lines of its own."""
    writer.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
