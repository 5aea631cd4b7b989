"""Earlier versions of equikit, written to folders from git."""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from benchmarks.core.folders import ROOT
from benchmarks.core.measurement import Skip


@functools.cache
def checkout(revision: str, *newer: str) -> Path:
    """Write the package at a revision to a folder that is deleted at exit, or raise `Skip` where git lacks it.

    Args:
        revision: of git.
        *newer: files and folders that are taken from the working tree instead: what measures, and what it imports.
    """
    done = subprocess.run(["git", "archive", revision, "equikit"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise Skip(f"git has no {revision} here")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    for path in newer:
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, Path(folder, path))
    return Path(folder)
