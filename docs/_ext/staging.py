"""Bring pages of the repository into the source tree, and rewrite their links for the site.

A page of the site is a file in `docs`, or a copy of a file elsewhere. Links are written for readers of the repository:
here a link to a file that has a page becomes a link to the page, any other link to a file goes to the project's URL.
"""

import fnmatch
import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from urllib.parse import quote

import outline

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
PLACEHOLDER = "https://github.com/OWNER/equikit"
GENERATED = ("benchmarks", "project", "reference", "tutorials")
"""Folders of `docs` with nothing but generated files; git ignores them."""
RAW = ("SKILL.md", "llms.txt")
"""Files for assistants, which the site offers as they are."""

_LINK = re.compile(r"(?<!\\)(\]\()([^()\s]+)((?: \"[^\"]*\")?\))")


def repository() -> str:
    """Return the URL of the repository, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", PLACEHOLDER).rstrip("/")


def copies() -> dict[str, str]:
    """Return the files of the repository that become pages, each with its place in `docs`."""
    found = {
        "CHANGELOG.md": "project/changelog.md",
        "CONTRIBUTING.md": "project/contributing.md",
        "ARCHITECTURE.md": "project/architecture.md",
        "RELEASING.md": "project/releasing.md",
        "equikit/weightspace/tracing/README.md": "project/traced_models.md",
        "benchmarks/README.md": "benchmarks/index.md",
    }
    for path in sorted((ROOT / "benchmarks").glob("*/**/*.md")):
        if path.relative_to(ROOT).parts[1] in {"speed", "accuracy", "tasks", "papers"}:
            found[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "notebooks").glob("lesson_*.ipynb")):
        found[path.relative_to(ROOT).as_posix()] = f"tutorials/{path.name}"
    return found


def originals() -> dict[str, str]:
    """Return the file of the repository behind each document."""
    return {place.rpartition(".")[0]: source for source, place in copies().items()}


def write(path: Path, text: str) -> None:
    """Write a file unless it has this text, so that a build reads only what has changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def stage(generated: dict[str, str]) -> None:
    """Copy pages and their pictures into `docs`, write the generated ones, and remove what is left from earlier builds.

    Args:
        generated: the texts of generated pages, by file name relative to `docs`.
    """
    kept = {*generated, *copies().values()}
    for source, place in copies().items():
        _copy(ROOT / source, DOCS / place)
    for picture in (ROOT / "benchmarks" / "results").glob("*.png"):
        place = f"benchmarks/results/{picture.name}"
        _copy(picture, DOCS / place)
        kept.add(place)
    for place, text in generated.items():
        write(DOCS / place, text)
    for folder in GENERATED:
        for path in (DOCS / folder).rglob("*"):
            if path.is_file() and path.relative_to(DOCS).as_posix() not in kept:
                path.unlink()


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or source.read_bytes() != target.read_bytes():
        shutil.copyfile(source, target)


def rewritten(text: str, document: str) -> str:
    """Return the Markdown of a document with the links of the site, and math in dollars; code is left as it is."""
    source = originals().get(document, f"docs/{document}.md")
    pages = {**copies(), "README.md": "index.md"}
    here = os.path.dirname(f"{document}.md")

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        anchor = f"#{anchor}" if anchor else ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        place = pages.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is not None and place not in RAW:
            return f"{match[1]}{os.path.relpath(place, here or '.')}{anchor}{match[3]}"
        if (ROOT / path).suffix == ".png" and path.startswith("benchmarks/results/"):
            return f"{match[1]}{os.path.relpath(path, here)}{match[3]}"
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{source} links to {target}, which does not exist")
        if path.endswith(".txt"):  # offered as a download
            return f"{match[1]}{os.path.relpath(ROOT / path, DOCS / here)}{match[3]}"
        if path == ".":
            return f"{match[1]}{repository()}{match[3]}"
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{match[1]}{repository()}/{kind}/main/{quote(path)}{anchor}{match[3]}"

    lines, fence = [], ""
    for line in text.split("\n"):
        marks = re.match(r"\s*(```+|~~~+)", line)
        if fence or marks:
            closes = fence and marks and line.strip() == fence
            while closes and not lines[-1].strip():  # separates output from the fence, for doctest
                lines.pop()
            fence = "" if closes else fence or marks[1]
            lines.append(line)
        elif line.startswith("    "):
            lines.append(line)
        else:
            line = re.sub(r"\\\((.+?)\\\)", r"$\1$", line)
            lines.append(_LINK.sub(link, line))
    return "\n".join(lines)


def lesson(text: str, document: str) -> str:
    """Return a notebook as its page: with the links of the site, and below the title a link to download it."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = rewritten("".join(cell["source"]), document)
    title, _, rest = notebook["cells"][0]["source"].partition("\n")
    download = f"{{download}}`Download this notebook <{Path(document).name}.ipynb>`; [how to run it](index.md)."
    notebook["cells"][0]["source"] = f"{title}\n\n{download}\n{rest}"
    return json.dumps(notebook)


def listing(folder: str) -> str:
    """Return the index of guides or concepts in Markdown: a toctree, and each page with its first sentence, by group.

    Raises:
        ValueError: if a page is not in the outline.
    """
    groups = outline.FOLDERS[folder]
    unlisted = {p.stem for p in (DOCS / folder).glob("*.md")} - {page for pages in groups.values() for page in pages}
    if unlisted:
        raise ValueError(f"not listed in docs/_ext/outline.py: {', '.join(sorted(unlisted))}")
    out = []
    for title, pages in groups.items():
        present = [page for page in pages if (DOCS / folder / f"{page}.md").exists()]
        if not present:
            continue
        out += [f"## {title}", ""] if title else []
        for page in present:
            heading, sentence = summary((DOCS / folder / f"{page}.md").read_text(encoding="utf-8"))
            out.append(f"- [{heading}]({folder}/{page}.md){f': {sentence}' if sentence else ''}")
        caption = [f":caption: {title}"] if title else []
        out += ["", "```{toctree}", ":hidden:", *caption, "", *(f"{folder}/{page}" for page in present), "```", ""]
    return "\n".join(out)


def summary(text: str) -> tuple[str, str]:
    """Return the title of a page, and the first sentence of the paragraph below it, without links."""
    title, _, rest = text.lstrip().removeprefix("# ").partition("\n")
    paragraph = rest.strip().split("\n\n")[0]
    if re.match(r"```|[#|$\-~<]", paragraph):
        return title, ""
    flat = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
    return title, re.split(r"(?<=[.!?:]) (?=[A-Z`])", flat)[0].rstrip(":")


def tutorials() -> str:
    """Return the index of the lessons."""
    lessons = [place for place in copies().values() if place.startswith("tutorials/")]
    names = [Path(place).stem for place in lessons]
    text = [
        "# Tutorials",
        "",
        "Lessons with pictures and exercises. They are notebooks, shown here with their outputs, and each page has a",
        "link to download its notebook. To run one, install equikit with Matplotlib from a checkout of the repository,",
        "and a program for notebooks, such as JupyterLab:",
        "",
        "```text",
        "pip install '.[plot]' jupyterlab",
        f"jupyter lab {names[0]}.ipynb",
        "```",
        "",
        "The lessons need no GPU and no data, and each takes a few minutes at most. Begin with lesson 1.",
        "",
    ]
    return "\n".join([*text, "```{toctree}", ":maxdepth: 2", "", *names, "```", ""])


def completed(text: str, document: str) -> str:
    """Return a page with the lists that the build makes: `<!-- list of guides -->`, and toctrees of benchmarks."""
    text = re.sub(r"<!-- list of (\w+) -->", lambda match: listing(match[1]), text)
    if document in outline.BENCHMARKS:
        places = sorted(f"/{place.removesuffix('.md')}" for place in copies().values())
        pages = [place for pattern in outline.BENCHMARKS[document] for place in fnmatch.filter(places, pattern)]
        text += "\n".join(["", "", "```{toctree}", ":hidden:", "", *pages, "```", ""])
    return text
