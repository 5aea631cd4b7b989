"""The README, the guides and the explanations, and the examples in them."""

import doctest
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.core.pages import REPOSITORY
from equikit.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
CONCEPTS = sorted((ROOT / "docs" / "concepts").glob("*.md"))
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md")), *GUIDES, *CONCEPTS]


def said() -> str:
    """The text of all documents, with single spaces."""
    return " ".join(" ".join(page.read_text(encoding="utf-8") for page in DOCUMENTS).split())


def links(page: Path) -> list[Path]:
    """The files of the repository to which a page links: by relative paths, or by addresses under `REPOSITORY`."""
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|^\[[^\]]+\]: ([^#\s]+)", text, re.MULTILINE)
    found = []
    for target in (inline or reference for inline, reference in targets):
        base = re.match(rf"{re.escape(REPOSITORY)}/(blob|raw|tree)/main/", target)
        if base:
            found.append(ROOT / target[base.end() :])
        elif "://" not in target and not target.startswith("mailto:"):
            found.append(page.parent / target)
    return found


def commands(page: Path) -> list[tuple[str, str]]:
    """The command lines `$ equikit ...` of a page, each with the output that follows."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^\$ equikit (.+)\n((?:[^$`\n].*\n|\n)*)", text, re.MULTILINE)


def fences(page: Path) -> list[tuple[str, str]]:
    """The blocks of code of a page, each with its language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_examples(page: Path) -> int:
    """Run the examples `>>> ...` of a page in order, in one namespace, and return their number.

    Raises:
        AssertionError: if one prints something else.
    """
    # A fence closes a block of examples; doctest would take it for output.
    text = page.read_text(encoding="utf-8").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples of {page.name} failed"
    return len(examples.examples)


def run_command(line: str, output: str) -> None:
    """Run one command line in the current folder, and compare the output if the page shows it."""
    result = CliRunner().invoke(app, shlex.split(line, comments=True))
    assert result.exit_code == 0, result.output
    if output.strip():
        assert [text.rstrip() for text in result.output.strip().splitlines()] == output.strip().splitlines()
