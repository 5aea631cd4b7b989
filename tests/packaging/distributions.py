"""What an sdist and a wheel of equikit must and must not contain. Usage: python distributions.py FOLDER."""

import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_BYTES = 1_500_000
BESIDES = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pytest_equikit.py"}
"""The files of an sdist outside of the package."""

WRITTEN = {"PKG-INFO", ".gitignore"}
"""What the build backend adds to every sdist."""


def package_files() -> set[str]:
    """The files of the package in the tree."""
    files = (file for file in (ROOT / "equikit").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(ROOT).as_posix() for file in files}


def sdist_files(path: Path) -> set[str]:
    """The files of an sdist, without its folder."""
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def wheel_files(path: Path) -> set[str]:
    """The files of a wheel, without its metadata."""
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(path: Path) -> dict[str, list[str]]:
    """The metadata of a wheel, by field."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        fields = HeaderParser().parsestr(archive.read(name).decode())
    return {field: fields.get_all(field, []) for field in fields}


def check(folder: Path) -> None:
    """Raise an `AssertionError` if an sdist or a wheel lacks a file, or has one too many, or is too large."""
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    assert sdist_files(sdist) == package_files() | BESIDES | WRITTEN
    assert wheel_files(wheel) == package_files() | {"pytest_equikit.py"}
    assert "equikit/py.typed" in wheel_files(wheel)
    for path in (sdist, wheel):
        size = path.stat().st_size
        assert size < MOST_BYTES, f"{path.name} has {size:,} bytes"
        print(f"{path.name}: {size:,} bytes")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
