"""docs/SKILL.md and docs/llms.txt, which assistants read: the examples run, and the list of pages is complete."""

import re
import sys
from pathlib import Path

import pytest
from documents import ROOT, fences, run_examples

sys.path.append(str(ROOT / "docs" / "_ext"))

import assistants

SKILL = ROOT / "docs" / "SKILL.md"
TEXT = SKILL.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_of_the_skill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples(SKILL) > 40


def test_every_block_of_the_skill_is_run() -> None:
    assert {language for language, _ in fences(SKILL)} == {"python"}
    assert all(code.startswith(">>> ") for _, code in fences(SKILL))


def test_front_matter() -> None:
    match = re.match(r"---\nname: ([a-z0-9-]{1,64})\ndescription: (.{1,1024})\n---\n", TEXT)
    assert match
    assert match[1] == "equikit"


def test_each_of_the_ten_sections_calls_what_it_is_named_for() -> None:
    sections = re.findall(r"^### \d+\. `(ek\.[\w.]+)`.*?\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    assert len(sections) == 10
    for call, section in sections:
        assert re.search(rf"^(?:>>>|\.\.\.) .*{re.escape(call)}\(", section, re.MULTILINE), call


def test_the_list_of_pages_is_complete() -> None:
    assert assistants.LIST.read_text(encoding="utf-8") == assistants.written(), "run: python docs/_ext/assistants.py"


def test_the_list_of_pages_has_the_format() -> None:
    """A title, a summary, free text, and sections whose lines are links."""
    head, *sections = assistants.written().split("\n## ")
    assert re.match(r"# equikit\n\n(> .+\n)+\n[^#]+$", head)
    for section in sections:
        name, _, *lines = section.strip().split("\n")
        assert name
        for line in lines:
            match = re.fullmatch(r"- \[[^]]+\]\(https://[^/]+/[^/]+/equikit/main/([^)]+)\)(?:: \S.+)?", line)
            assert match, line
            assert (ROOT / match[1]).is_file()
