"""The glossary is in order, and links between documents lead to files."""

import re
from pathlib import Path

import pytest
from documents import DOCUMENTS, ROOT, links

SECTIONS = re.split(r"^## ", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
ROWS = [re.findall(r"^\| ([^|]+) \| [^|]*\| ([^|]+) \|$", section, re.MULTILINE)[2:] for section in SECTIONS]
TERMS = [[term for term, _ in rows] for rows in ROWS]
PAGES = [
    *DOCUMENTS,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md")),
    *(path for path in sorted(ROOT.glob("benchmarks/**/*.md")) if "scratch" not in path.parts),
]


@pytest.mark.parametrize("terms", TERMS, ids=[section.split("\n")[0] for section in SECTIONS])
def test_terms_are_sorted(terms: list[str]) -> None:
    assert terms
    assert terms == sorted(terms)


def test_terms_are_unique() -> None:
    terms = [term for section in TERMS for term in section]
    assert len(set(terms)) == len(terms)


def test_each_term_has_one_sentence() -> None:
    lines = [line for section in SECTIONS for line in section.splitlines() if line.startswith("| ")]
    assert len(lines) == sum(len(rows) + 2 for rows in ROWS)  # with the two lines of each header
    meanings = [meaning for rows in ROWS for _, meaning in rows]
    assert [text for text in meanings if not text.endswith(".") or ". " in text] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    assert [link for link in links(page) if not link.exists()] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_the_glossary_is_linked(document: str) -> None:
    assert ROOT / "docs" / "glossary.md" in links(ROOT / document)
