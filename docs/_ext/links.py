"""Links that nobody has to write: from code and types to the reference, from words to terms of the glossary."""

import functools
import re
from typing import Any

from docutils import nodes
from public_names import entries, namespaces, resolve, short
from reference import namespace_page, page_of
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from staging import DOCS

_CODE = re.compile(r"(?:(?:ek|equikit)\.)?[A-Za-z]\w*(?:\.[A-Za-z_]\w*)*(?=\(|$)")
_PLAIN_FUNCTIONS = {"hom", "symmetrize"}


class _Links(SphinxPostTransform):
    builder: Any = None


class CodeLinks(_Links):
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
        objects = self.env.domains["py"].objects
        if target in namespaces():
            page, anchor = namespace_page(target), ""
        elif target in objects:
            page, anchor = objects[target].docname, f"#{objects[target].node_id}"
        else:
            return None
        own = page == document and page_is_of(target, document)
        return None if own else self.builder.get_relative_uri(document, page) + anchor


def page_is_of(target: str, document: str) -> bool:
    """Whether a document is the page of a name itself."""
    return document.rpartition("/")[2] == target.rpartition(".")[2]


def target_of(text: str, namespace: str) -> str | None:
    """Return the path that code names, if it is sure to name something public.

    A word alone is a name only on pages of the reference, and only if it is written as a class is or is a function of
    `ek` that is not a common word.
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


class GlossaryLinks(_Links):
    """Give every term of the glossary an address, and let links to the glossary lead to the term that they name."""

    default_priority = 200  # after references are resolved

    def run(self, **kwargs: Any) -> None:
        """Number the rows of the glossary; on other pages complete the links."""
        document = self.env.docname
        if document == "glossary":
            for row in self.document.findall(nodes.row):
                row.children[0]["ids"].append(term_id(row.children[0].astext()))
            return
        page = self.builder.get_relative_uri(document, "glossary")
        for reference in self.document.findall(nodes.reference):
            if reference.get("refuri") == page:
                found = [word for word in words(reference.astext()) if word in terms()]
                reference["refuri"] += f"#{term_id(found[0])}" if found else ""


@functools.cache
def terms() -> set[str]:
    """Return the terms of the glossary: the first cells of its tables."""
    rows = re.findall(r"^\| ([^|]+?) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    return set(rows)


def words(text: str) -> list[str]:
    """Return the terms that a text may be a form of."""
    text = " ".join(text.lower().split())
    return [text, text.removesuffix("s"), text.removesuffix("es"), f"{text}s"]


def term_id(term: str) -> str:
    """Return the address of a term on its page."""
    return f"term-{nodes.make_id(term)}"


class TypeLinks(_Links):
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
            uri = self.builder.get_relative_uri(self.env.docname, entry.docname) + f"#{entry.node_id}"
            out += nodes.reference("", last, internal=True, refuri=uri)
        return out


def shorten(app: Any, doctree: Any, docname: str) -> None:
    """Show entries as users spell them, `ek.nn.Linear`, and dashes as dashes."""
    for node in doctree.findall(addnodes.desc_addname):
        path = node.astext().rstrip(".")
        if path.startswith("equikit"):
            node.children = [nodes.Text(f"{short(path)}.")]
    for node in list(doctree.findall(nodes.Text)):
        if node == " -- ":  # what Sphinx writes between an argument and its text
            node.parent.replace(node, nodes.Text(" – "))


def remember(app: Any) -> None:
    """Keep the builder, which knows the addresses of pages."""
    _Links.builder = app.builder


def setup(app: Any) -> dict[str, bool]:
    """Connect the transforms."""
    app.connect("builder-inited", remember)
    app.connect("doctree-resolved", shorten)
    for transform in (CodeLinks, TypeLinks, GlossaryLinks):
        app.add_post_transform(transform)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
