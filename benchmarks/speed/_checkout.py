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
def checkout(revision: str) -> Path:
    """Write the package at a revision to a folder that is deleted at exit, or raise `Skip` where git lacks it."""
    done = subprocess.run(["git", "archive", revision, "equikit"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise Skip(f"git has no {revision} here")
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Path(folder)
