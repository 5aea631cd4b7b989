"""The picture of the README is what its program draws."""

import runpy

from documents import ROOT

FOLDER = ROOT / "docs" / "pictures"


def test_the_stored_picture_is_drawn_by_its_program() -> None:
    drawn = runpy.run_path(str(FOLDER / "layer.py"))["picture"]()
    assert drawn == (FOLDER / "layer.svg").read_text(encoding="utf-8")
    assert drawn.count('class="vertex"') == 15
