"""The rooms of the package: no file imports in a circle, and doors between top-level folders are kept."""

import importlib
import re
import types

import house
import pytest

ARCHITECTURE = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_FILES = 13


def test_no_files_import_each_other():
    assert house.cycles() == []


def test_no_private_module_is_imported_from_another_folder():
    assert house.private_imports() == []


def test_imports_inside_functions_are_those_that_the_architecture_names():
    section = ARCHITECTURE.partition("## Imports inside functions")[2].partition("\n## ")[0]
    named = {tuple(re.findall(r"`([\w/]+\.py)`", row)) for row in section.splitlines() if row.startswith("| `")}
    assert {tuple(map(house.file_of, pair)) for pair in house.later_imports()} == named


@pytest.mark.parametrize("folder", sorted(house.files_by_folder()))
def test_a_folder_has_few_files(folder):
    assert house.files_by_folder()[folder] <= MOST_FILES


@pytest.mark.parametrize("folder", sorted(house.files_by_folder()))
def test_no_folder_hides_a_public_function(folder):
    package = importlib.import_module(folder.replace("/", "."))
    rooms = {path.parent.name for path in (house.ROOT / folder).glob("*/__init__.py")}
    public = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
    assert not rooms & {name for name, value in public.items() if not isinstance(value, types.ModuleType)}


def test_the_table_of_measures_is_printed():
    assert house.table().splitlines()[-1].startswith("imports inside functions: ")


# The counting itself, on small programs.


@pytest.mark.parametrize(
    ("text", "executable", "checks"),
    [
        ("def f(x):\n    return x\n", 1, 0),
        ("def f(x):\n    if x < 0:\n        raise ValueError(\n            x\n        )\n    return x\n", 5, 4),
        ("def f(x):\n    n = _checks.count('n', x)\n    return n\n", 2, 1),
        ("def refuse_negative(x):\n    y = -x\n    if y > 0:\n        raise ValueError\n", 3, 3),
        ("def f(x):\n    refuse_negative(x)\n    return x\n", 2, 1),
        ('"""A text."""\nimport math\n', 0, 0),
        ("def f(x):\n    if x:\n        raise ValueError\n    else:\n        return 1\n", 3, 1),
    ],
)
def test_lines_of_checks_are_counted(tmp_path, text, executable, checks):
    path = tmp_path / "module.py"
    path.write_text(text, encoding="utf-8")
    assert house.lines_of_checks(path) == (executable, checks)
