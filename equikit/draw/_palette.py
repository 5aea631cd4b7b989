"""Colors: one hue for each axis label, and tones of it that distinguish crossing blocks.

Pictures have no background, so every color has a contrast of at least three with white and with the dark gray of usual
dark themes. The hues are by Okabe and Ito, and are safe for color-blind readers, with the light ones darkened.
If there are more labels than hues, the hues repeat, and the names next to the vertices distinguish the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from equikit._errors import OptionError

HUES = (
    ("#1579bb", "#7565d6", "#2590ae"),  # blue
    ("#d55e00", "#de4b55", "#b07a00"),  # vermilion
    ("#009e73", "#748a1e", "#2a8f8f"),  # bluish green
    ("#c0609f", "#9a5fcf", "#d4587f"),  # reddish purple
    ("#a67c00", "#b2702a", "#7d8b1a"),  # ochre
    ("#767676", "#5c7fa3", "#8f7466"),  # gray
)
"""For each label its color, then the tones that its blocks take where they cross."""

QUIET = "#888888"
"""Rails, grids and outlines."""

POSITIVE, NEGATIVE = "#1579bb", "#d55e00"
"""Colors of the entries of a matrix, by sign."""


def hues(own: Iterable[str], labels: Iterable[str] | None) -> Mapping[str, tuple[str, ...]]:
    """Return the colors of each label: labels in sorted order take the hues in turn.

    Args:
        own: the labels in a picture.
        labels: all labels in use if the picture is one of several, otherwise `None`.

    Raises:
        OptionError: if `labels` lacks a label of the picture.
    """
    wanted = set(own)
    known = wanted if labels is None else set(labels)
    if wanted - known:
        raise OptionError(
            f"label {min(wanted - known)!r} has no color",
            got=f"labels={sorted(known)}",
            expected=f"labels that include {sorted(wanted)}",
            step="leave labels out, or give all labels of the pictures that belong together",
        )
    return {label: HUES[i % len(HUES)] for i, label in enumerate(sorted(known))}
