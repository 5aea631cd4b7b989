"""A report as HTML: the table, and pictures of the errors of elements and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from equikit.draw import bars_svg, matrix_svg, xml_text
from equikit.groups import Group

MONO = "font-family:ui-monospace,Menlo,Consolas,monospace"
MOST_ELEMENTS, MOST_SAMPLES, MOST_ROWS = 16, 24, 32
"""The largest numbers of elements and samples that are shown, and of rows of a matrix."""

PAGE = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><title>{title}</title></head>\n'
    '<body style="margin:2em;background:#fff;color:#222">{body}</body></html>\n'
)


def report_html(
    verdict: str,
    rows: Sequence[tuple[str, str]],
    *,
    by_element: Sequence[tuple[str, float]],
    elements: int,
    by_sample: np.ndarray,
    limit: float,
    worst: Mapping[str, np.ndarray],
    modules: str,
) -> str:
    """Return a report as a `<div>` element, without scripts or references to anything outside it.

    Args:
        verdict: the first sentence.
        rows: the table.
        by_element: descriptions of elements with their errors, the largest first.
        elements: the number of elements of the group, if all were tried; otherwise 0.
        by_sample: the error of each sample.
        limit: the error that rounding explains.
        worst: matrices of the worst element with integer entries, which are drawn.
        modules: the table of modules, or nothing.
    """
    cell = "padding:2px 14px 2px 0;vertical-align:top;text-align:left"
    table = "".join(
        f'<tr><th style="{cell};font-weight:normal;opacity:.7">{xml_text(name)}</th>'
        f'<td style="{cell}">{xml_text(value)}</td></tr>'
        for name, value in rows
    )
    order = np.argsort(by_sample)[::-1][:MOST_SAMPLES]
    shown, known = by_element[:MOST_ELEMENTS], elements or len(by_element)
    some = (
        "" if known <= len(shown) else f", the largest {len(shown)} of {known}{'' if elements else ' that were tried'}"
    )
    line = f"; the line is what rounding explains, {limit:.2g}" if limit > 0 else ""
    pictures = [
        (f"Error by element, the mean over samples{some}{line}", bars_svg(shown, limit=limit)),
        (
            "Error by sample"
            + (f", the largest {MOST_SAMPLES} of {len(by_sample)}" if len(by_sample) > MOST_SAMPLES else "")
            + line,
            bars_svg([(f"sample {place}", float(by_sample[place])) for place in order], limit=limit),
        ),
        *((f"Worst element: {label}", matrix_svg(matrix)) for label, matrix in worst.items()),
    ]
    body = "".join(
        f'<figure style="margin:14px 0 0"><figcaption style="margin-bottom:4px">{xml_text(title)}</figcaption>'
        f"{picture}</figure>"
        for title, picture in pictures
    )
    listing = f'<pre style="{MONO};font-size:12px;margin-top:14px">{xml_text(modules)}</pre>' if modules else ""
    return (
        '<div class="equikit-report" style="font-family:system-ui,sans-serif;font-size:14px;line-height:1.4">'
        f'<div><b>{xml_text(verdict)}</b></div><table style="border-collapse:collapse;{MONO};font-size:13px;'
        f'margin-top:6px">{table}</table>{body}{listing}</div>'
    )


def page(title: str, body: str) -> str:
    """Return a whole HTML page."""
    return PAGE.format(title=xml_text(title), body=body)


def integer_matrices(groups: Mapping[str, Group], elements: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the matrices of the elements that have integer entries and are small enough for a picture."""
    found = {}
    for label, group in groups.items():
        size = group.n or 0
        if 1 < size <= MOST_ROWS and not group.is_complex:
            matrix = np.asarray(group.matrix(elements[label]), float)
            if np.allclose(matrix, np.round(matrix), atol=1e-9):
                found[label] = np.round(matrix).astype(np.int64)
    return found
