"""The table of compiled programs in the guide is the one that the command prints."""

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata

import jax
import pytest
from documents import ROOT, fences

PAGE = ROOT / "docs" / "guides" / "accelerators.md"


def rows(text: str) -> list[list[str]]:
    """The cells of each row, without the seconds of the compiler."""
    return [re.split(r"  +", line)[:-1] for line in text.splitlines() if line.startswith(("target", "h100", "v5e"))]


@pytest.mark.slow
def test_the_table_of_the_guide() -> None:
    found = re.search(r"With JAX (\S+) this prints", PAGE.read_text(encoding="utf-8"))
    assert found
    if jax.__version__ != found[1]:
        pytest.skip(f"the table is for JAX {found[1]}")
    for package in ("libtpu", "jax-cuda12-pjrt"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed: pip install 'equikit[targets]'")
    (table,) = (code for language, code in fences(PAGE) if language == "text")
    (command,) = (code for _, code in fences(PAGE) if code.startswith("equikit plan"))
    environment = {name: value for name, value in os.environ.items() if name != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert rows(done.stdout) == rows(table)
