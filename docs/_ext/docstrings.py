"""Docstrings and signatures for autodoc."""

import inspect
import re
from typing import Any

import imports
import markup
from docutils import nodes
from sphinx import addnodes
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.typing import stringify_annotation

_SECTIONS = Config(
    napoleon_use_ivar=True,
    napoleon_use_rtype=False,
    napoleon_attr_annotations=False,
    napoleon_custom_sections=["Source"],
)


def convert(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Convert a docstring; napoleon reads its sections.

    napoleon itself would take the words before a colon for a type in properties and in "Returns".
    """
    kind = "method" if what == "property" else what
    text = markup.with_returns(markup.paragraphs(imports.with_imports(obj, lines)))
    lines[:] = markup.one_name_each(GoogleDocstring(text, _SECTIONS, None, kind, name, obj, options).lines())


def signature(app: Any, what: str, name: str, obj: Any, options: Any, sig: str | None, result: Any) -> Any:
    """Return the signature with annotations as they are written, not as they are evaluated."""
    if sig is None or not callable(obj):
        return None
    try:
        found = inspect.signature(_called(obj))
    except (TypeError, ValueError):
        return None
    parameters = [*found.parameters.values()]
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    text = _arguments(parameters)
    returns = found.return_annotation
    if what in {"class", "exception"} or returns is inspect.Signature.empty:
        return text, ""
    return text, _annotation(returns)


def _called(obj: Any) -> Any:
    """Return the function that takes the arguments of a call; the metaclass of Flax hides it."""
    init = inspect.getattr_static(obj, "__init__", None) if inspect.isclass(obj) else None
    return init if inspect.isfunction(init) else obj


def _arguments(parameters: list[inspect.Parameter]) -> str:
    out, starred = [], False
    for i, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            out.append("*")
            starred = True
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = mark + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}" if ":" in text else f"={_default(parameter.default)}"
        out.append(text)
        following = parameters[i + 1].kind if i + 1 < len(parameters) else None
        if parameter.kind is parameter.POSITIONAL_ONLY and following is not parameter.POSITIONAL_ONLY:
            out.append("/")
    return f"({', '.join(out)})"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else stringify_annotation(annotation, "smart").replace("~", "")


def _default(value: Any) -> str:
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    text = repr(value)
    return re.sub(r"^<(?:[\w.]*\.)?(\w+) object at .*>$|^<(.*)>$", r"\1\2", text)


def join_names(app: Any, doctree: nodes.document) -> None:
    """Write a text once that several arguments or attributes in a row share: "apply, x - the model and its inputs"."""
    for body in doctree.findall(nodes.field_body):
        for items in body.findall(nodes.bullet_list):
            shown: nodes.paragraph | None = None
            shared: list[str] = []
            for item in list(items):
                paragraph = item[0]
                if not isinstance(paragraph[0], addnodes.literal_strong):
                    shown = None
                    continue
                text = [str(node) for node in (*paragraph[1:], *item[1:])]
                if shown is not None and text == shared:
                    end = 1 + max(i for i, node in enumerate(shown) if isinstance(node, addnodes.literal_strong))
                    shown[end:end] = [nodes.Text(", "), paragraph[0]]
                    items.remove(item)
                else:
                    shown, shared = paragraph, text


def setup(app: Any) -> dict[str, bool]:
    """Connect the hooks."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", convert)
    app.connect("doctree-read", join_names)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
