"""Helpers that read pictures back."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from equikit.diagrams import Diagram, hom
from equikit.groups import S

SVG = "{http://www.w3.org/2000/svg}"

SHAPES = [
    "() -> ()",
    "() -> p",
    "p p p -> ()",
    "p -> p",
    "p p -> p p",
    "p p -> p",
    "p p p -> p p p",
    "p q p -> q p",
    "p q r -> r q p",
    "p p p p p -> p",
]


def diagrams(*shapes: str) -> Iterator[Diagram]:
    """All diagrams of some spaces, every label free."""
    for shape in shapes or SHAPES:
        labels = set(shape.replace("->", "").replace("()", "").split())
        yield from hom(shape, groups=dict.fromkeys(labels, S)).diagrams


def elements(text: str, tag: str, kind: str | None = None) -> list[ET.Element]:
    """The elements of a picture with a tag, and a class where one is given."""
    found = ET.fromstring(text).iter(SVG + tag)
    return [element for element in found if kind in (None, element.get("class"))]


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
