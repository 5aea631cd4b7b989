"""The README's examples print what it says, and the recipe for JAX's cache of programs works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from documents import README, ROOT, fences, run_examples

EXPORT = ROOT / "docs" / "guides" / "export.md"


@pytest.mark.usefixtures("full_compile")  # 300 training steps take longer than a full compilation
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
    (recipe,) = [code for language, code in fences(EXPORT) if not language and code.startswith("import jax")]
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
