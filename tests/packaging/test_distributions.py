"""The sdist and the wheel have what an installation needs, and nothing else."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import ROOT, check, metadata

import equikit

pytestmark = pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_contents_and_sizes(built: Path) -> None:
    check(built)


def test_metadata(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    fields = metadata(wheel)
    assert fields["Version"] == [equikit.__version__]
    assert fields["License-Expression"] == ["Apache-2.0"]
    assert {"cuda12", "cuda13", "tpu", "torch", "e3nn", "e3j", "export", "safetensors"} <= set(fields["Provides-Extra"])


def test_what_the_index_displays(built: Path) -> None:
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
