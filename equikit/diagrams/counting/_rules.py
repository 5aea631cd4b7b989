"""Blocks that the diagrams of a family may have: whole blocks, and their parts in one row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from equikit.groups import Form, Group, S
from equikit.signatures import base

if TYPE_CHECKING:
    from equikit.diagrams.counting._growth import Limits

Groups = tuple[tuple[str, Group], ...]
"""The group of each label; other labels carry the free symmetric group."""


def group_of(groups: Groups, label: str) -> Group:
    """Return the group of a label, with or without a star."""
    return dict(groups).get(base(label)) or S()


def axes_of(label: str, top: Iterable[str], bottom: Iterable[str]) -> tuple[bool, ...]:
    """For each axis of a label, top row first, whether it carries the dual when a map is read as an invariant tensor.

    Reading an input axis as part of the tensor dualizes it: a star in the top row counts like none in the bottom row.
    """
    stars = [other != label for other in top if base(other) == label]
    turned = [other == label for other in bottom if base(other) == label]
    return *stars, *turned


def block_limits(groups: Groups) -> Limits:
    """For each label the largest number of blocks, if the family has a limit: the number of its points."""
    return tuple((label, group.n if group.blocks in ("any", "even", "single") else None) for label, group in groups)


def largest_block(group: Group) -> int | None:
    """Return the most vertices that a block can have."""
    return {"pair": 2, "small": 2, "single": 2, "whole": 1}.get(group.blocks)


def whole_block(group: Group, labels: Sequence[str], turned: int = 0) -> bool:
    """Whether a block of vertices with these labels is allowed, if the last `turned` of them lie in the bottom row."""
    size = len(labels)
    if group.has_dual and size == 2:
        return (labels[0] == labels[1]) == (turned == 1)
    if group.blocks == "single":
        return size == 1 or (size == 2 and turned == 1)
    return {"any": True, "even": size % 2 == 0, "pair": size == 2, "small": size <= 2, "whole": False}[group.blocks]


def part_of_block(group: Group, size: int) -> bool:
    """Whether a block that continues in the other row can have this many vertices in one row."""
    return group.blocks in ("any", "even") or size == 1


def whole_labels(groups: Groups, labels: Iterable[str]) -> tuple[tuple[str, Group], ...]:
    """Return the labels, without stars, whose groups have no diagrams, with their groups."""
    used = {base(label) for label in labels}
    return tuple((label, group) for label, group in groups if label in used and group.blocks == "whole")


def headed_labels(groups: Groups) -> set[str]:
    """Return the labels with a Levi-Civita tensor in every diagram, so that rows without the label have no diagram."""
    return {label for label, group in groups if group.needs_head}


def matching_parts(group: Group, above: int, below: int) -> bool:
    """Whether parts of these sizes can be the two halves of one block."""
    return group.blocks != "even" or (above + below) % 2 == 0


def forms_of(groups: Groups, labels: Iterable[str]) -> tuple[tuple[str, Form], ...]:
    """Return the forms of the labels that have a form other than the identity matrix, sorted by label."""
    used = set(labels)
    return tuple(sorted((label, group.form) for label, group in groups if label in used and group.form is not None))
