"""Docstrings and signatures for autodoc, and links from code to the reference."""

import inspect
import re
from typing import Any

import markup
from docutils import nodes
from public_names import entries, resolve, short
from reference import namespace_page, page_of
from sphinx import addnodes
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import stringify_annotation

_CODE = re.compile(r"(?:(?:ek|equikit)\.)?[A-Za-z]\w*(?:\.[A-Za-z_]\w*)*(?=\(|$)")
_PLAIN_FUNCTIONS = {"hom", "symmetrize"}


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
    text = markup.with_returns(markup.paragraphs(lines))
    lines[:] = GoogleDocstring(text, _SECTIONS, None, kind, name, obj, options).lines()


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
    """Return the function whose arguments are those of a call; the metaclass of Flax hides it."""
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


class CodeLinks(SphinxPostTransform):
    """Link code such as `ek.nn.Linear` to its entry in the reference."""

    default_priority = 4  # before references are resolved

    def run(self, **kwargs: Any) -> None:
        """Wrap literals that name something public in a reference."""
        document = self.env.docname
        namespace = _namespace_of(document)
        for literal in list(self.document.findall(nodes.literal)):
            if any(isinstance(a, nodes.reference | nodes.title | addnodes.pending_xref) for a in _ancestors(literal)):
                continue
            target = target_of(literal.astext(), namespace)
            if target is None:
                continue
            uri = self.uri(target, document)
            if uri:
                reference = nodes.reference("", "", internal=True, refuri=uri, classes=["to-reference"])
                literal.replace_self(reference)
                reference += literal

    def uri(self, target: str, document: str) -> str | None:
        """Return the address of an entry, relative to a document; `None` on its own page."""
        builder = self.app.builder
        objects = self.env.domains["py"].objects
        from public_names import namespaces

        if target in namespaces():
            page, anchor = namespace_page(target), ""
        elif target in objects:
            page, anchor = objects[target].docname, f"#{objects[target].node_id}"
        else:
            return None
        own = page == document and (target.count(".") < 1 or page_is_of(target, document))
        return None if own else builder.get_relative_uri(document, page) + anchor


def page_is_of(target: str, document: str) -> bool:
    """Whether a document is the page of a name itself."""
    return document.rpartition("/")[2] == target.rpartition(".")[2]


def target_of(text: str, namespace: str) -> str | None:
    """Return the path that code names, if it is sure to name something public.

    A word alone is a name only on pages of the reference, and only if it is written as a class is or is a function of
    `ek` that is no common word.
    """
    found = _CODE.match(text)
    if not found:
        return None
    name = found[0]
    if name.startswith(("ek.", "equikit.")):
        return resolve(name)
    first = name.split(".")[0]
    classlike = first[0].isupper() and len(first) > 2 and not first.isupper()
    if namespace and "." not in name and (classlike or name in _PLAIN_FUNCTIONS):
        return resolve(name, namespace)
    if "." in name and (first in {"nn", "frames"} or (classlike and namespace)):
        return resolve(name, namespace)
    return None


def _namespace_of(document: str) -> str:
    pages = {page_of(name): namespace for namespace, names in entries().items() for name in names}
    pages |= {namespace_page(namespace): namespace for namespace in entries()}
    return pages.get(document, "")


def _ancestors(node: nodes.Node) -> Any:
    while node.parent is not None:
        node = node.parent
        yield node


class TypeLinks(SphinxPostTransform):
    """Link the types in signatures and the errors in "Raises" to the reference.

    Types of other libraries stay text, as there is no network to link them. Sphinx would take any entry whose last part
    fits, such as one of four attributes `inputs`.
    """

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Replace the references of the Python domain that are not full paths."""
        objects = self.env.domains["py"].objects
        namespace = _namespace_of(self.env.docname)
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("refdomain") != "py" or node["reftarget"] in objects:
                continue
            node.replace_self(self.linked(node["reftarget"], namespace))

    def linked(self, target: str, namespace: str) -> nodes.Node:
        """Return the names of a target, which are separated by commas, with links to those that are public."""
        objects, out = self.env.domains["py"].objects, nodes.inline()
        for i, each in enumerate(target.split(", ")):
            out += nodes.Text(", " if i else "")
            last = each.rpartition(".")[2] if each.startswith("equikit") else each
            entry = objects.get(resolve(each, namespace) or resolve(last, "equikit.typing") or "")
            if entry is None:
                out += nodes.Text(last)
                continue
            uri = self.app.builder.get_relative_uri(self.env.docname, entry.docname) + f"#{entry.node_id}"
            out += nodes.reference("", last, internal=True, refuri=uri)
        return out


def shorten(app: Any, doctree: Any, docname: str) -> None:
    """Show entries as users spell them, `ek.nn.Linear`."""
    for node in doctree.findall(addnodes.desc_addname):
        path = node.astext().rstrip(".")
        if path.startswith("equikit"):
            node.children = [nodes.Text(f"{short(path)}.")]


def setup(app: Any) -> dict[str, bool]:
    """Connect the hooks."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", convert)
    app.connect("autodoc-process-signature", signature)
    app.connect("doctree-resolved", shorten)
    app.add_post_transform(CodeLinks)
    app.add_post_transform(TypeLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
