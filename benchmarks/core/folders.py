"""The folders of the benchmarks."""

from __future__ import annotations

from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent
ROOT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"
"""Stored runs."""
SCRATCH = BENCHMARKS / "scratch"
"""Other runs, and data that take long to make."""
README = BENCHMARKS / "README.md"
