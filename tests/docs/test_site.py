"""The documentation site: every public name has an entry, and pages are rewritten as their readers expect."""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import types
import zlib

import pytest
from documents import ROOT, run_examples

import equikit as ek

DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))

import imports  # noqa: E402
import markup  # noqa: E402
import outline  # noqa: E402
import public_names  # noqa: E402
import reference  # noqa: E402
import staging  # noqa: E402

BUILT = pytest.mark.skipif(importlib.util.find_spec("furo") is None, reason="needs pip install -e '.[docs]'")


def public():
    """Every public name that can be reached from `ek`, with its value."""
    found, waiting = {}, [importlib.import_module("equikit")]
    while waiting:
        module = waiting.pop()
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, types.ModuleType):
                found[f"{module.__name__}.{name}"] = value
            elif all(f"{value.__name__}.{each}" not in found for each in value.__all__):
                waiting.append(value)
    return found


def value_of(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def entries_of(pages):
    pattern = r"^\.\. (?:autoclass|autofunction|autoexception|py:data):: (\S+)"
    return [path for text in pages.values() for path in re.findall(pattern, text, re.MULTILINE)]


def test_every_type_has_a_text():
    types_of = public_names.entries()["equikit.typing"]
    assert len(types_of) == len(ek.typing.__all__)
    assert [name.name for name in types_of if not public_names.text_below(name)] == []


def test_every_public_name_has_one_entry():
    entries = entries_of(reference.pages())
    assert len(entries) == len(set(entries))
    documented = [value_of(path) for path in entries]
    missing = [path for path, value in public().items() if not any(value is each for each in documented)]
    assert missing == []


def test_a_new_public_name_without_an_entry_is_noticed():
    entries = entries_of({name: text for name, text in reference.pages().items() if name != "reference/nn/Linear"})
    documented = [value_of(path) for path in entries]
    missing = [path for path, value in public().items() if not any(value is each for each in documented)]
    assert missing == ["equikit.nn.Linear"]


def test_every_module_with_public_names_is_a_namespace_or_internal(monkeypatch):
    assert public_names.undecided() == []
    monkeypatch.delitem(public_names.INTERNAL, "equikit.numerics")
    assert public_names.undecided() == ["equikit.numerics"]


def test_every_name_is_listed_by_its_namespaces():
    pages = reference.pages()
    for spelling, name in public_names.documented().items():
        page = pages[reference.namespace_page(spelling.rpartition(".")[0])]
        assert f"<{name.path}>`" in page or f".. py:data:: {name.path}" in page, spelling


def test_the_text_below_a_constant_is_its_docstring():
    assert public_names.text_below(public_names.documented()["equikit.nn.FORMAT"]).startswith("The version of the")


@pytest.mark.parametrize(
    ("text", "namespace", "path"),
    [
        ("ek.nn.Linear", "", "equikit.nn.Linear"),
        ("equikit.groups.S", "", "equikit.S"),
        ("ek.frames.QR", "", "equikit.symmetrization.frames.QR"),
        ("ek.HomSpace.plan", "", "equikit.HomSpace.plan"),
        ("ek.nn", "", "equikit.nn"),
        ("Linear", "equikit.nn", "equikit.nn.Linear"),
        ("Linear", "equikit.relax", "equikit.relax.Linear"),
        ("Linear", "equikit.plans", None),
        ("MLP", "equikit.plans", "equikit.nn.MLP"),
        ("ek.nn.Nothing", "", None),
        ("ek.HomSpace.nothing", "", None),
    ],
)
def test_code_is_resolved_to_an_entry(text, namespace, path):
    assert public_names.resolve(text, namespace) == path


@pytest.mark.parametrize(
    ("text", "converted"),
    [
        ("the `n` of `p=S`", "the ``n`` of ``p=S``"),
        ("two `A`s", "two ``A``\\ s"),
        ("arXiv:1812.09902.", "`arXiv:1812.09902 <https://arxiv.org/abs/1812.09902>`__."),
        (r"in \(n^k\)-space", r"in :math:`n^k`-space"),
        ("a |x| and x* and *free*", r"a \|x\| and x\* and *free*"),
        ("Cost: time `n`.", "**Cost:** time ``n``."),
        (">>> f(`x`)\n'`'", ">>> f(`x`)\n'`'"),
        ("\\[ V' = V g \\]", ".. math::\n\n   V' = V g"),
        ("Returns:\n    int: a number", ":returns: int: a number"),
    ],
)
def test_marks_of_docstrings_are_converted(text, converted):
    assert "\n".join(markup.with_returns(markup.paragraphs(text.split("\n")))).strip() == converted


def examples():
    """Every public class, method and function with examples, once: its path, itself and its docstring."""
    for path, value in {
        id(each.value): (each.path, each.value) for each in public_names.documented().values()
    }.values():
        members = {path: value} if inspect.isfunction(value) or inspect.isclass(value) else {}
        members |= {f"{path}.{name}": each for name, each in vars(value).items()} if inspect.isclass(value) else {}
        for name, member in members.items():
            member = getattr(member, "__func__", member)
            text = inspect.getdoc(member) or ""
            if ">>> " in text and (callable(member) or isinstance(member, property)):
                yield name, member, text.split("\n")


def test_examples_of_docstrings_can_be_pasted():
    pasted = {path: imports.missing("\n".join(imports.with_imports(obj, lines))) for path, obj, lines in examples()}
    assert len(pasted) > 200
    assert {path: names for path, names in pasted.items() if names} == {}


def test_examples_of_docstrings_import_nothing_private():
    needed = {line for _, obj, lines in examples() for line in imports.statements(obj, "\n".join(lines))}
    assert {"import jax.numpy as jnp", "from flax import nnx", "from equikit.nn import Linear"} < needed
    assert [line for line in needed if "._" in line] == []


def test_imports_come_before_the_first_example():
    lines = ["The sum.", "", "Example:", "    >>> jnp.sum(jnp.ones(3))", "    3"]
    added = imports.with_imports(ek.nn.Pool, lines)
    assert added == [*lines[:3], "    >>> import jax.numpy as jnp", *lines[3:]]
    assert imports.with_imports(ek.nn.Pool, added) == added


def test_attributes_that_are_described_together_have_one_field_each():
    lines = ["Text.", ":ivar a, b: both", "     of them", ":ivar c: one"]
    each = [":ivar a: both", "     of them", ":ivar b: both", "     of them"]
    assert markup.one_name_each(lines) == ["Text.", *each, ":ivar c: one"]


@BUILT
def test_a_shared_text_is_written_once():
    docutils, sphinx = importlib.import_module("docutils.nodes"), importlib.import_module("sphinx.addnodes")
    items = docutils.bullet_list()
    for name, text in (("a", "both"), ("b", "both"), ("c", "both"), ("d", "one"), ("e", "both")):
        strong = sphinx.literal_strong("", name)
        items += docutils.list_item("", docutils.paragraph("", "", strong, docutils.Text(" -- "), docutils.Text(text)))
    document = importlib.import_module("docutils.utils").new_document("page")
    document += docutils.field_list("", docutils.field("", docutils.field_body("", items)))
    importlib.import_module("docstrings").join_names(None, document)
    assert [item.astext() for item in items] == ["a, b, c -- both", "d -- one", "e -- both"]


@pytest.mark.parametrize(
    ("document", "text", "rewritten"),
    [
        ("guides/masks", "[a](../glossary.md)", "[a](../glossary.md)"),
        ("guides/masks", "[a](../../CHANGELOG.md#added)", "[a](../project/changelog.md#added)"),
        ("guides/masks", "[a](../../benchmarks/README.md)", "[a](../benchmarks/index.md)"),
        ("guides/masks", "[a](../../equikit/nn/_linear.py)", "[a](URL/blob/main/equikit/nn/_linear.py)"),
        ("guides/masks", "[a](../../equikit/nn)", "[a](URL/tree/main/equikit/nn)"),
        ("guides/merging", "[a](../../equikit/weightspace/tracing/README.md)", "[a](../project/traced_models.md)"),
        ("benchmarks/index", "[a](lock.txt)", "[a](../../benchmarks/lock.txt)"),  # a download
        ("tutorials/lesson_1_permutations", "[a](../docs/concepts/plans.md#b)", "[a](../concepts/plans.md#b)"),
        ("guides/masks", "[a](https://x.org/y.md) [b](#c)", "[a](https://x.org/y.md) [b](#c)"),
        ("guides/masks", "```\n[a](../none.md)\n```", "```\n[a](../none.md)\n```"),
        (
            "project/contributing",
            "[a](benchmarks/README.md#add-a-benchmark)",
            "[a](../benchmarks/index.md#add-a-benchmark)",
        ),
        ("benchmarks/speed/peers", "![](../results/peers.png)", "![](../results/peers.png)"),
        ("benchmarks/index", r"is \(x_i\) or", "is $x_i$ or"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(document, text, rewritten):
    assert staging.rewritten(text, document) == rewritten.replace("URL", staging.repository())


def test_a_lesson_can_be_downloaded_from_its_page():
    cells = [
        {"cell_type": "markdown", "source": ["# Lesson\n", "\n", "See [a](../docs/concepts/plans.md)."]},
        {"cell_type": "code", "source": ["x[0](../docs/none.md)"]},
    ]
    shown = json.loads(staging.lesson(json.dumps({"cells": cells}), "tutorials/lesson_1_permutations"))["cells"]
    title, _, download, _, text = shown[0]["source"].split("\n")
    assert title == "# Lesson"
    assert "{download}`Download this notebook <lesson_1_permutations.ipynb>`" in download
    assert text == "See [a](../concepts/plans.md)."
    assert shown[1] == cells[1]


def test_a_link_to_a_missing_file_is_an_error():
    with pytest.raises(FileNotFoundError, match="none"):
        staging.rewritten("[a](../equikit/none.py)", "index")


def test_every_guide_and_concept_is_in_the_outline(tmp_path, monkeypatch):
    for folder in outline.FOLDERS:
        staging.listing(folder)
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "own_data.md").write_text("# Train on [your](x.md) data\n\nUse `ek.data`. More.\n")
    monkeypatch.setattr(staging, "DOCS", tmp_path)
    listed = staging.listing("guides")
    assert "- [Train on [your](x.md) data](guides/own_data.md): Use `ek.data`." in listed
    assert "\nguides/own_data\n" in listed
    (tmp_path / "guides" / "unlisted.md").write_text("# New\n")
    with pytest.raises(ValueError, match="unlisted"):
        staging.listing("guides")


@pytest.mark.slow
def test_the_examples_of_the_first_page():
    assert run_examples(DOCS / "index.md") > 3


@BUILT
@pytest.mark.slow
def test_the_site_builds_without_warnings_and_needs_no_network():
    """Reuses what `make docs` has built, and builds the rest."""
    options = ["-b", "html", "-d", "docs/_build/doctrees", "--quiet", "--fail-on-warning", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", *options, "docs", "docs/_build/html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    pages = [*(DOCS / "_build" / "html").rglob("*.html")]
    assert len(pages) > 300
    loaded = re.compile(r"<(?:script|img|iframe)[^>]* src=\"https?:|<link[^>]* rel=\"stylesheet\"[^>]* href=\"https?:")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not loaded.search(text), page
        assert "system-message" not in text, page
    linear = (DOCS / "_build" / "html" / "reference" / "nn" / "Linear.html").read_text(encoding="utf-8")
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML"' in linear
    assert 'href="../ek/hom.html#equikit.hom"' in linear
    assert 'href="../typing/index.html#equikit.typing.Features"' in linear
    inventory = zlib.decompress((DOCS / "_build" / "html" / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    paths = {line.split(" py:")[0] for line in inventory.splitlines()}
    assert {name.path for name in public_names.documented().values()} <= paths
    index = (DOCS / "_build" / "html" / "searchindex.js").read_text(encoding="utf-8")
    titles = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", index, re.DOTALL)[1])["titles"]
    assert "ek.nn.Linear" in titles


@BUILT
@pytest.mark.parametrize(
    ("text", "namespace", "path"),
    [
        ('ek.hom("p -> p", p=ek.S)', "", "equikit.hom"),
        ("ek.nn.Linear", "", "equikit.nn.Linear"),
        ("nn.Linear", "", "equikit.nn.Linear"),
        ("HomSpace.plan", "equikit.nn", "equikit.HomSpace.plan"),
        ("Linear", "equikit.nn", "equikit.nn.Linear"),
        ("Linear", "", None),  # a word of a guide is not linked
        ("mean", "equikit.weightspace", None),  # a word that is also a function
        ("p=ek.S", "", None),
        ("S", "equikit", None),
    ],
)
def test_code_that_surely_names_something_public_is_linked(text, namespace, path):
    assert importlib.import_module("links").target_of(text, namespace) == path


@BUILT
def test_a_picture_is_what_its_last_line_displays():
    drawn = importlib.import_module("drawn")
    assert drawn.html(drawn.evaluated("n = 2\nek.hom('p -> p', p=ek.S(n))", {"ek": ek})).count("<figure") == 2
    assert drawn.html("a < b") == "<pre>a &lt; b</pre>"
    with pytest.raises(ValueError, match="not an expression: n = 2"):
        drawn.evaluated("n = 2", {})


def test_formulas_are_converted_to_mathml():
    mathml = pytest.importorskip("mathml", reason="needs pip install -e '.[docs]'")
    assert "<msup>" in mathml.mathml("n^k", "inline")


def test_paths_of_the_site_are_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {f"docs/{folder}/" for folder in staging.GENERATED} <= set(ignored)
