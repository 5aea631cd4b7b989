"""The lessons run from the first cell to the last, and the notebooks in the repository are the ones that were run."""

import importlib.util
import itertools
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2] / "notebooks"
SPEC = importlib.util.spec_from_file_location("execute_lessons", ROOT / "execute.py")
assert SPEC is not None
assert SPEC.loader is not None
execute = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(execute)

LESSONS = execute.lessons()
LARGEST = 2**20


@pytest.fixture(params=LESSONS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> Path:
    return request.param


def stored(lesson: Path) -> nbformat.NotebookNode:
    return nbformat.read(lesson.with_suffix(".ipynb"), as_version=4)


def test_there_are_lessons_each_with_its_notebook() -> None:
    assert {path.stem for path in LESSONS} == {path.stem for path in ROOT.glob("lesson_*.ipynb")} != set()


@pytest.mark.parametrize(
    "lesson",
    # The quickest one runs every time: what the others need of a machine is the same.
    [pytest.param(path, marks=[] if path.stem.startswith("lesson_2") else pytest.mark.slow) for path in LESSONS],
    ids=lambda path: path.stem,
)
def test_it_runs_without_an_exception(lesson: Path) -> None:
    notebook = execute.run(execute.read(lesson))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    # A warning in a lesson would be read by everybody.
    assert not [out.text for cell in code for out in cell.outputs if out.get("name") == "stderr"]


def test_a_failing_cell_is_an_error() -> None:
    notebook = execute.read(LESSONS[0])
    notebook.cells = [nbformat.v4.new_code_cell("assert 1 + 1 == 3", id="wrong")]
    with pytest.raises(Exception, match="AssertionError"):
        execute.run(notebook)


def test_text_and_notebook_have_the_same_cells(lesson: Path) -> None:
    text, notebook = execute.read(lesson), stored(lesson)
    for cells in itertools.zip_longest(text.cells, notebook.cells):
        first, second = (cell and (cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in cells)
        assert first == second
    assert notebook.metadata == text.metadata


def test_the_notebook_was_run_and_holds_nothing_volatile(lesson: Path) -> None:
    notebook = stored(lesson)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(not cell.metadata.keys() - {"tags"} for cell in notebook.cells)
    assert [cell.id for cell in notebook.cells] == [f"cell-{i:02}" for i in range(len(notebook.cells))]
    text = lesson.with_suffix(".ipynb").read_text(encoding="utf8")
    assert len(text) < LARGEST
    assert not re.search(r"<[\w. ]+ at 0x[0-9a-f]+>|/home/|/root/|/tmp/|site-packages", text)


def test_each_exercise_has_a_solution_that_asserts(lesson: Path) -> None:
    cells = execute.read(lesson).cells
    headings = [
        (kind, int(number), place)
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown"
        for kind, number in re.findall(r"^### (Exercise|Solution) (\d+)", cell.source, re.MULTILINE)
    ]
    assert [heading[:2] for heading in headings] == [(k, i) for i in (1, 2, 3) for k in ("Exercise", "Solution")]
    ends = [*(place for kind, _, place in headings if kind == "Exercise"), len(cells)][1:]
    for place, end in zip((place for kind, _, place in headings if kind == "Solution"), ends, strict=True):
        solutions = [cell for cell in cells[place:end] if "solution" in cell.metadata.get("tags", [])]
        assert solutions
        assert all(cell.cell_type == "code" and re.search(r"^ *assert ", cell.source, re.M) for cell in solutions)
