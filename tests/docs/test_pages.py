"""The examples of every guide and explanation run, and print what the pages say."""

from pathlib import Path

import pytest
from documents import CONCEPTS, GUIDES, commands, fences, run_command, run_examples

PAGES = [*GUIDES, *CONCEPTS]
NAMES = [page.stem for page in PAGES]
# This page compares a resumed training with an uninterrupted one, bit for bit.
OF_COMPILED = {"training": pytest.mark.compiled}
COMMANDS = [(page, *pair) for page in PAGES for pair in commands(page)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=OF_COMPILED.get(page.stem, ())) for page in PAGES], ids=NAMES
)
def test_the_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples(page) + len(commands(page)) > 0


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(
    ("page", "line", "output"), COMMANDS, ids=[f"{page.stem}: {line}" for page, line, _ in COMMANDS]
)
def test_the_commands_of_a_page(
    page: Path, line: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_command(line, output)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_of_python_is_run(page: Path) -> None:
    """A block in the language python consists of examples, so that the test above runs it."""
    silent = [code for language, code in fences(page) if language == "python" and not code.startswith(">>> ")]
    assert silent == []
