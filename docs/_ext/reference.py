"""The pages of the reference, generated from `__all__`: one for each public name, one for each namespace."""

import functools
import importlib
import inspect
import re
import types
from typing import Any, TypeVar

import markup
import typer
from public_names import BESIDE, Name, documented, entries, is_documented_alone, namespaces, short, text_below

# Names that are read together share a page.
SHARED = {"equikit.typing": "typing"}
ROOT_GROUPS = {
    "groups": "Groups",
    "diagrams": "Spaces of maps and diagrams",
    "symmetrization": "Symmetrization",
    "supports": "Sparse supports",
    "auditing": "Audits",
    "_errors": "Errors and warnings",
    "": "Version",
}

_METHODS = (types.FunctionType, property, classmethod, staticmethod, functools.cached_property)


def page_of(name: Name) -> str:
    """Return the document of a name, `reference/nn/Linear`."""
    if name.namespace in SHARED or not is_documented_alone(name.value):
        return namespace_page(name.namespace)
    if _is_error(name.value):
        return "reference/errors"
    folder = namespace_page(name.namespace).removesuffix("/index")
    return f"{folder}/{name.name}"


def namespace_page(namespace: str) -> str:
    """Return the document of a namespace."""
    inner = short(namespace).removeprefix("ek").removeprefix("equikit").strip(".").replace(".", "/")
    return f"reference/{inner}/index" if inner else "reference/ek/index"


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def pages() -> dict[str, str]:
    """Return the text of every page of the reference in reStructuredText, by document name."""
    found = {"reference/index": _index(), "reference/errors": _errors()}
    for namespace in namespaces():
        found[namespace_page(namespace)] = _namespace(namespace)
        for name in entries()[namespace]:
            if page_of(name) not in found and page_of(name) != namespace_page(namespace):
                found[page_of(name)] = _page(name)
    return found


def _title(text: str, under: str = "=") -> list[str]:
    return [text, under * len(text), ""]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    out = [".. list-table::", "   :class: names", "   :widths: 30 70", ""]
    for left, right in rows:
        out += [f"   * - {left}", f"     - {right}"]
    return [*out, ""]


def _toctree(docs: list[str]) -> list[str]:
    return [".. toctree::", "   :hidden:", "", *(f"   /{doc}" for doc in docs), ""]


def _index() -> str:
    modules = sorted(namespaces(), key=lambda name: (name in BESIDE, short(name)))
    rows = [(f":doc:`{short(name)} </{namespace_page(name)}>`", _about(name)) for name in modules]
    text = [
        *_title("Reference"),
        "Every public name, from its docstring. All examples run in the tests. ``ek`` stands for",
        "``import equikit as ek``.",
        "",
        *_table(rows),
        *_toctree([*map(namespace_page, modules), "reference/errors", "reference/command_line"]),
    ]
    return "\n".join(text)


def _about(namespace: str) -> str:
    return markup.first_sentence(importlib.import_module(namespace).__doc__)


def _namespace(namespace: str) -> str:
    doc = inspect.cleandoc(importlib.import_module(namespace).__doc__ or "").split("\n")
    # Entries on the page have full names, which Sphinx would put below the current module.
    module = [f".. py:module:: {namespace}", "", ".. py:currentmodule:: None", ""]
    text = [*_title(short(namespace)), *module, *markup.paragraphs(_examples(doc)), ""]
    if namespace in SHARED:
        return "\n".join([*text, *(line for name in entries()[namespace] for line in _alias(name))])
    groups = _grouped(namespace)
    for (title, about), spellings in groups.items():
        if title:
            text += [*_title(title, "-"), about, ""]
        text += _table([_row(each) for each in spellings])
    for name in entries()[namespace]:
        if page_of(name) == namespace_page(namespace):
            text += _data(name)
    return "\n".join(text)


def _row(spelling: str) -> tuple[str, str]:
    name = documented()[spelling]
    shown = short(spelling)
    about = markup.first_sentence(inspect.getdoc(name.value)) if is_documented_alone(name.value) else _value(name)
    return f":py:obj:`{shown.rpartition('.')[2]} <{name.path}>`", about


def _grouped(namespace: str) -> dict[tuple[str, str], list[str]]:
    """The spellings in a namespace, by the title and the description of the package that defines them."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in namespaces()[namespace]:
        spelling = f"{namespace}.{each}"
        value = documented()[spelling].value
        home = getattr(value, "__module__", "")  # values of classes have the module of their class
        found.setdefault(_group(namespace, home if home.startswith("equikit") else ""), []).append(spelling)
    first = {title: place for place, title in enumerate(["", *ROOT_GROUPS.values()])}
    places = {**first, "From other namespaces": len(first) + 1}
    return {group: found[group] for group in sorted(found, key=lambda group: (places.get(group[0], len(first)), group))}


def _group(namespace: str, home: str) -> tuple[str, str]:
    """The title and the description of a group: the folder, and the first line of the docstring of its package."""
    if namespace == "equikit":
        return ROOT_GROUPS[home.removeprefix("equikit.").split(".")[0] if home else ""], ""
    package = namespace if hasattr(importlib.import_module(namespace), "__path__") else namespace.rpartition(".")[0]
    inner = home.removeprefix(f"{package}.").split(".")[0]
    if home and not home.startswith(f"{package}."):
        return "From other namespaces", ""
    if not home or inner.startswith("_"):
        return "", ""
    return inner.replace("_", " ").capitalize(), _about(f"{package}.{inner}")


def _errors() -> str:
    names = [name for names in entries().values() for name in names if _is_error(name.value)]
    text = [
        *_title("Errors and warnings"),
        "Every error says what is wrong, what it got, what it expects and one next step.",
        "",
    ]
    return "\n".join([*text, *(line for name in names for line in _entry(name))])


def _page(name: Name) -> str:
    home = f":doc:`{short(name.namespace)} </{namespace_page(name.namespace)}>`"
    also = [f"``{short(path)}``" for path, other in documented().items() if other is name and path != name.path]
    text = [":orphan:", "", *_title(short(name.path)), ".. rst-class:: above", "", home, ""]
    return "\n".join([*text, *_entry(name), *([f"Also {', '.join(also)}.", ""] if also else [])])


def _entry(name: Name) -> list[str]:
    """The directive of autodoc for a name, with the members that are its own."""
    if not inspect.isclass(name.value):
        return [f".. autofunction:: {name.path}", ""]
    members, special = own_members(name.value)
    lines = [f".. {'autoexception' if _is_error(name.value) else 'autoclass'}:: {name.path}"]
    lines += [f"   :members: {', '.join(members)}"] if members else []
    lines += [f"   :special-members: {', '.join(special)}"] if special else []
    bases = _public_bases(name.value)
    if bases:
        lines += ["", f"   Inherits from {', '.join(f':py:class:`{short(b)} <{b}>`' for b in bases)}."]
    return [*lines, ""]


def own_members(kind: type) -> tuple[list[str], list[str]]:
    """Return the documented methods and properties of a class and of its private bases, and of those that are special.

    Members of public bases are documented there, members of other libraries in their documentation.
    """
    public, special = [], []
    inherited = {m for base in _bases(kind) if _path(base) for m in vars(base)}
    for base in [kind, *(base for base in _bases(kind) if not _path(base))]:
        for member, value in vars(base).items():
            if member in public or member in special or (base is not kind and member in inherited):
                continue
            if not isinstance(
                value, types.FunctionType | property | classmethod | staticmethod | functools.cached_property
            ):
                continue
            if not inspect.getdoc(value) or (member.startswith("_") and member != "__call__"):
                continue
            (special if member == "__call__" else public).append(member)
    return public, special


def _bases(kind: type) -> list[type]:
    return [base for base in kind.__mro__[1:] if base.__module__.startswith("equikit")]


def _path(kind: type) -> str | None:
    return next((name.path for name in documented().values() if name.value is kind), None)


def _public_bases(kind: type) -> list[str]:
    return [path for base in _bases(kind) if (path := _path(base))][:1]


def _value(name: Name) -> str:
    return markup.first_sentence(text_below(name)) or f"``{_constant(name.value)}``"


def _constant(value: Any) -> str:
    """The text of a value; functions in it are shown by name, since their addresses differ in every build."""
    return re.sub(r"<function (\w+) at \w+>", r"\1", repr(value))


def _data(name: Name) -> list[str]:
    return [
        f".. py:data:: {name.path}",
        f"   :value: {_constant(name.value)}",
        "",
        f"   {markup.first_sentence(text_below(name))}",
        "",
    ]


def _alias(name: Name) -> list[str]:
    """The entry of a type: its definition and the text below it."""
    text = name.value.__name__ if inspect.isclass(name.value) else str(name.value)
    text = re.sub(r"(jax)?typing\.|collections\.abc\.|equikit\.[\w.]*\.", "", text)
    text = "a type variable" if isinstance(name.value, TypeVar) else text
    about = markup.first_sentence(text_below(name))
    return [f".. py:data:: {name.path}", "", f"   ``{text}``", *(["", f"   {about}"] if about else []), ""]


def _examples(lines: list[str]) -> list[str]:
    """Turn the section `Example:` of a module into a titled block."""
    out, inside = [], False
    for line in lines:
        if line == "Example:":
            inside = True
            out += [".. rubric:: Example", ""]
        else:
            out.append(line.removeprefix("    ") if inside else line)
    return out


def command_page(app: Any) -> str:
    """Return the page of the command line: arguments and options of each command, from their help texts."""
    root = typer.main.get_command(app)
    text = [*_title("Command line"), *_help(root.help)]
    for name, command in root.commands.items():
        context = command.context_class(command, info_name=f"equikit {name}")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        text += [*_title(f"equikit {name}", "-"), *_help(command.help), ".. code-block:: text", "", f"   {usage}", ""]
        records = [parameter.get_help_record(context) for parameter in command.params]
        text += _table([(f"``{option}``", markup.inline(about)) for option, about in filter(None, records)])
    return "\n".join(text)


def _help(text: str | None) -> list[str]:
    out: list[str] = []
    for paragraph in inspect.cleandoc(text or "").replace("\b\n", "").split("\n\n"):
        example = paragraph.partition("Example: ")
        out += [markup.inline(" ".join(example[0].split())), ""]
        if example[1]:
            out += [".. code-block:: text", "", f"   {example[2].strip()}", ""]
    return out
