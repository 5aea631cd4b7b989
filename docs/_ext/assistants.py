"""docs/llms.txt, the list of pages for assistants: `python docs/_ext/assistants.py` writes it from the pages.

Links lead to Markdown in the repository, whose URL is in pyproject.toml.
"""

import re
from pathlib import Path

from staging import ROOT, repository, summary

LIST = ROOT / "docs" / "llms.txt"

HEAD = """\
# equikit

> Equivariant neural-network layers in JAX and Flax NNX. A signature such as "p p -> p p" and a group for each label
> define all linear maps that commute with the group. equikit enumerates them as diagrams, and runs them as one compiled
> layer.

Arrays are [*batch, *axes, channels]. `import equikit as ek`; `pip install .` in a checkout. Read SKILL.md first: it
has the ten calls that matter, with examples that run, and typical mistakes with their errors. Docstrings have shapes,
costs and examples: `help(ek.nn.Linear)`. Errors end with a next step that works when it is typed.
"""


def title(text: str) -> str:
    """The first heading of a page, or of a lesson, whose text is in comments."""
    found = re.search(r"^(?:# )?# (.+)$", text.partition("# %% [markdown]\n")[2] or text, re.MULTILINE)
    assert found, "a page has no title"
    return found[1]


def entry(root: str, path: Path, about: str | None = None) -> str:
    """The line of a page: its title, and its first sentence or another one."""
    text = path.read_text(encoding="utf-8")
    line = f"- [{title(text)}]({root}/{path.relative_to(ROOT).as_posix()})"
    about = summary(text[text.index("# ") :])[1] if about is None else about
    return f"{line}: {about}" if about else line


def written() -> str:
    """The text of docs/llms.txt."""
    root = repository().replace("//github.com/", "//raw.githubusercontent.com/") + "/main"
    docs = ROOT / "docs"
    skill = "The ten calls that matter, with examples, and typical mistakes."
    readme = "Installation, a first model, which layer to use, and limits."
    sections = {
        "Start": [f"- [SKILL.md]({root}/docs/SKILL.md): {skill}", entry(root, ROOT / "README.md", readme)],
        "Guides": [entry(root, path) for path in sorted((docs / "guides").glob("*.md"))],
        "Concepts": [entry(root, path) for path in sorted((docs / "concepts").glob("*.md"))]
        + [entry(root, docs / "glossary.md")],
        "Lessons": [entry(root, path, "") for path in sorted((ROOT / "notebooks").glob("lesson_*.py"))],
        "Optional": [entry(root, ROOT / name) for name in ("CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md")],
    }
    lists = ["\n".join([f"## {name}", "", *lines]) for name, lines in sections.items()]
    return "\n\n".join([HEAD.rstrip(), *lists]) + "\n"


if __name__ == "__main__":
    LIST.write_text(written(), encoding="utf-8")
