"""The README's examples run, and print what it says they print."""

import doctest
from pathlib import Path


def test_readme_examples() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    # A fence closes a block of examples; doctest would take it for output.
    text = readme.read_text(encoding="utf-8").replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, "README.md", str(readme), 0)
    assert len(examples.examples) > 15
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0
