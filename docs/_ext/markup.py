"""From the marks of docstrings to reStructuredText: `code`, math in \\( \\) and \\[ \\], one-line sections."""

import re
from collections.abc import Iterable

_SPANS = re.compile(r"(``.+?``|`[^`]+`|\\\(.+?\\\)|(?<![\w*])\*\*?[^*\s](?:[^*]*[^*\s])?\*\*?(?![\w*]))", re.DOTALL)
_LINE = re.compile(r"^(Cost|Memory|Note): (?=\S)")
_DISPLAY = re.compile(r"^( *)\\\[(.*?)\\\] *$", re.DOTALL | re.MULTILINE)


def inline(text: str) -> str:
    """Convert the marks inside a paragraph."""
    pieces = _SPANS.split(text)
    out = ""
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            escaped = re.sub(r"([\\|]|\*|(?<=\w)_(?!\w))", r"\\\1", piece)
            out += re.sub(r"\barXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", escaped)
            continue
        if piece.startswith("*"):
            out += piece
            continue
        # reStructuredText wants marks to start and to end at the border of a word.
        before = "\\ " if out and re.match(r"[\w\-–°±×]", out[-1]) else ""
        after = "\\ " if i + 1 < len(pieces) and re.match(r"[\w(°′'’]", pieces[i + 1] or " ") else ""
        if piece.startswith("\\("):
            span = f":math:`{' '.join(piece[2:-2].split())}`"
        else:
            span = f"``{' '.join(piece.strip('`').split())}``"
        out += before + span + after
    return out


def paragraphs(lines: Iterable[str]) -> list[str]:
    """Convert a docstring; examples of the interpreter and their output are left as they are."""
    done: list[str] = []
    waiting: list[str] = []
    in_example = False

    def flush() -> None:
        if waiting:
            done.extend(_converted("\n".join(waiting)).split("\n"))
            waiting.clear()

    for line in lines:
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if in_example or not line.strip():
            flush()
            done.append(line)
        else:
            waiting.append(line)
    flush()
    return done


def _converted(text: str) -> str:
    shown = _DISPLAY.search(text)
    if shown:
        indent = shown[1]
        formula = "\n".join(f"{indent}   {line.strip()}" for line in shown[2].strip().splitlines())
        parts = [text[: shown.start()].rstrip("\n"), f"{indent}.. math::\n\n{formula}", text[shown.end() :].strip("\n")]
        return "\n\n".join(_converted(part) if i != 1 else part for i, part in enumerate(parts) if part)
    return inline(_LINE.sub(r"**\1:** ", text))


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of a docstring, converted, as one line."""
    paragraph = (docstring or "").strip().split("\n\n")[0]
    return inline(" ".join(paragraph.split()))


def with_returns(lines: list[str]) -> list[str]:
    """Make a field of the section "Returns", whose text does not begin with a type."""
    out, inside = [], False
    for line in lines:
        if line in {"Returns:", "Yields:"}:
            inside = True
            out.append(f":{line.lower()} ".replace("yields", "returns"))
        elif inside and line and not line.startswith(" "):
            inside = False
            out += [line]
        elif inside and out[-1].endswith(": ") and line:
            out[-1] += line.strip()
        else:
            out.append(line)
    return out


def one_name_each(lines: list[str]) -> list[str]:
    """Repeat the text of attributes that are described together; Sphinx would take the first names for a type.

    `docstrings.join_names` puts the names together again when Sphinx has read them.
    """
    out: list[str] = []
    i = 0
    while i < len(lines):
        end = i + 1
        together = re.match(r":ivar ((?:\w+, )+\w+): ", lines[i])
        while together and end < len(lines) and lines[end].startswith(" "):
            end += 1
        for name in together[1].split(", ") if together else [""]:
            first = f":ivar {name}: {lines[i][together.end() :]}" if together else lines[i]
            out += [first, *lines[i + 1 : end]]
        i = end
    return out
