"""pyproject.toml agrees with the code, the links of all pages, CITATION.cff and the workflows."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import equikit

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
URLS = PROJECT["urls"]
EXTRAS = {
    extra: [Requirement(text) for text in requirements]
    for extra, requirements in PROJECT["optional-dependencies"].items()
}
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "docs").rglob("*.txt"),
    ROOT / "CITATION.cff",
]


def imported(folder: Path) -> set[str]:
    """The top-level packages that the files of a folder import."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"equikit"}


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == equikit.__version__
    assert equikit.__version__ in changes[:2]  # the first may be [Unreleased]


def test_links_name_one_owner() -> None:
    """All links to the repository and its site have the owner that pyproject.toml names."""
    owner = URLS["Repository"].split("/")[3]
    links = [*URLS.values()]
    for page in TEXTS:
        if page.is_file():
            links += re.findall(r"https://[^\s)>\"']+", page.read_text(encoding="utf-8"))
    pattern = re.compile(
        r"https://(?:(?:github|raw\.githubusercontent)\.com/([^/]+)/equikit\b|([^./]+)\.github\.io/equikit\b)"
    )
    owners = [match.groups() for link in links if (match := pattern.match(link))]
    assert len(owners) >= len(URLS)
    assert {one or other for one, other in owners} == {owner}


def test_the_code_imports_what_is_declared() -> None:
    """Packages that the code imports are dependencies or in an extra that is not for development."""
    names = packages_distributions()
    declared = {requirement.name for requirement in DEPENDENCIES}
    for extra in ("plot", "e3nn", "e3j", "export", "torch", "safetensors"):
        declared |= {requirement.name for requirement in EXTRAS[extra]}
    for module in imported(ROOT / "equikit"):
        assert declared & {module, *names.get(module, ())}, f"equikit imports {module}, which is not declared"


def test_dependencies_have_lower_bounds() -> None:
    """And no upper bounds."""
    for requirement in DEPENDENCIES:
        assert [one.operator for one in requirement.specifier] == [">="], requirement


def test_errors_and_pages_name_extras_and_packages_that_exist() -> None:
    extras, packages = set(), set()
    for file in itertools.chain((ROOT / "equikit").rglob("*.py"), TEXTS):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            extras |= set(re.findall(r"equikit\[([a-z0-9]+)\]", text))
            packages |= set(re.findall(r"""_checks\.package\("[^"]+", "([^"]+)"\)""", text))
    assert len(packages) > 2
    assert extras <= EXTRAS.keys()
    assert packages <= {requirement.name for requirements in EXTRAS.values() for requirement in requirements}


def test_extras_of_accelerators_are_those_of_jax() -> None:
    for extra in ("cuda12", "cuda13", "tpu"):
        (requirement,) = EXTRAS[extra]
        assert (requirement.name, requirement.extras) == ("jax", {extra})


def test_workflows_test_the_declared_versions_of_python() -> None:
    (tests,) = [file.read_text(encoding="utf-8") for file in WORKFLOWS if file.stem == "tests"]
    (matrix,) = re.findall(r"^ +python: (\[.*\])$", tests, re.MULTILINE)
    declared = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert ast.literal_eval(matrix) == declared
    assert PROJECT["requires-python"] == f">={declared[0]}"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_workflows_run_what_exists(workflow: Path) -> None:
    """Their commands are targets of the Makefile and files of the tree; actions are pinned by major version."""
    text = workflow.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    for script in re.findall(r"(\.ci/[a-z-]+)", text):
        assert (ROOT / script).stat().st_mode & 0o100, script
        for path in re.findall(r"\b(?:tests|docs)/[\w/.]+", (ROOT / script).read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), path
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+|release/v\d+)", action), action


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "equikit", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"equikit {equikit.__version__}\n"
