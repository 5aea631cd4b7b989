"""Next steps of audits that are code, as `CALL` in `test_steps_as_code.py`."""

import os
import pathlib
import tempfile
from typing import Any

import numpy as np

import equikit as ek


def audited(**options: Any) -> Any:
    return ek.audit(np.sin, "p -> p", **{"p": ek.S(9), "batch": (1,)} | options)


def saved(code: str) -> None:
    """Save to the file of a step, in a folder for the test."""
    before = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            eval(code, {"report": audited(channels=1)})
            assert pathlib.Path("report.html").exists()
        finally:
            os.chdir(before)


CALL: dict[str, tuple[Any, str, Any]] = {
    "too-few-draws": (
        lambda **options: audited(channels=1, **{"draws": 2} | options),
        "draws=36",
        None,
    ),
    "no-channels": (audited, "channels=1", None),
    "data-without-samples": (
        lambda **options: audited(**options or {"data": np.ones((0, 9, 1))}),
        "channels=1",
        None,
    ),
    "a-report-in-a-text-file": (
        lambda: audited(channels=1).save("report.txt"),
        'report.save("report.html")',
        saved,
    ),
}
