"""The README's examples run, and print what it says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import README, commands, run_command, run_examples

TEXT = README.read_text(encoding="utf-8")
COMMANDS = commands(README)


def test_python_examples() -> None:
    assert run_examples(README) > 15


COUNTED = """
import jax
found = {"cache_hits": 0, "cache_misses": 0}
def listen(event, **_):
    name = event.removeprefix("/jax/compilation_cache/")
    if name in found:
        found[name] += 1
jax.monitoring.register_event_listener(listen)
%s
print(found["cache_hits"] > 0, found["cache_misses"] > 0)
"""


def test_a_second_process_finds_what_the_first_has_compiled(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^```python\n(import jax.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(recipe.splitlines()) == 7
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    shown = []
    for _ in range(2):
        command = [sys.executable, "-W", "error", "-c", COUNTED % recipe]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        shown.append(done.stdout.splitlines())
    first, second = shown
    assert first == ["(4, 9, 9, 32)", "False True"]
    assert second == ["(4, 9, 9, 32)", "True False"]
    assert any((tmp_path / "jax_cache").iterdir())


def test_every_command_is_shown() -> None:
    assert {line.split()[0] for line, _ in COMMANDS} == {"basis", "plan", "draw", "audit", "demo"}


@pytest.mark.parametrize(("line", "output"), [pair for pair in COMMANDS if not pair[0].startswith("demo")])
def test_commands(line: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_command(line, output)
