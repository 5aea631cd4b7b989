"""Arrays that take long to compute, cached in a file whose name depends on every setting."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1


def cached(
    folder: Path, name: str, settings: Mapping[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return arrays from a file in `folder`, or compute and write them.

    The file is written under another name and then renamed, so that two processes at once do no harm.
    """
    text = json.dumps({"format": FORMAT, **settings}, sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        with np.load(path) as stored:
            if str(stored["settings"]) == text:
                return {key: stored[key] for key in stored.files if key != "settings"}
    arrays = make()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(suffix=".npz", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, settings=np.array(text), **arrays)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return arrays
