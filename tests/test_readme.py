"""The README's examples run, and print what it says they print."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equikit.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ equikit (.+)\n((?:[^$`\n].*\n|\n)*)", README, re.MULTILINE)


def test_python_examples() -> None:
    # A fence closes a block of examples; doctest would take it for output.
    examples = doctest.DocTestParser().get_doctest(README.replace("```", ""), {}, "README.md", "README.md", 0)
    assert len(examples.examples) > 15
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0


def test_every_command_is_shown() -> None:
    assert {line.split()[0] for line, _ in COMMANDS} == {"basis", "plan", "draw", "demo"}


@pytest.mark.parametrize(("line", "output"), [pair for pair in COMMANDS if not pair[0].startswith("demo")])
def test_commands(line: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    if output.strip():
        assert [text.rstrip() for text in result.output.strip().splitlines()] == output.strip().splitlines()
