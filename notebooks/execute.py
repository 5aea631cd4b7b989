"""Run the lessons and write the notebooks beside them: `python notebooks/execute.py [lesson_*.py ...]`.

The text files are the source; the notebooks hold the same cells with their outputs. Nothing in a notebook changes from
run to run but the outputs themselves: ids are numbered, times and paths left out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).parent
TIMEOUT = 300
"""Seconds for a cell."""


class ThisInterpreter(AsyncKernelManager):
    """Every kernel is the Python that runs this file, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def lessons() -> list[Path]:
    return sorted(HERE.glob("lesson_*.py"))


def read(path: Path) -> nbformat.NotebookNode:
    """The cells of a lesson in text, without outputs."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
    notebook["metadata"] = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Execute the cells in order, in place, in a fresh kernel with plain settings; any exception is raised here."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    settings |= {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    metadata = dict(notebook["metadata"])
    client = NotebookClient(notebook, kernel_manager_class=ThisInterpreter, timeout=TIMEOUT, record_timing=False)
    client.execute(env=settings, cwd=str(HERE))
    notebook["metadata"] = metadata
    return notebook


def main(arguments: list[str]) -> None:
    for path in map(Path, arguments) if arguments else lessons():
        start = time.perf_counter()
        target = path.with_suffix(".ipynb")
        nbformat.write(run(read(path)), target)
        print(f"{target}: {time.perf_counter() - start:.0f} s, {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
