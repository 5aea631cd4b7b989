"""Next steps of `ek.draw` and `ek.data` that are code, in the form of `CALL` in `test_steps_as_code.py`."""

from typing import Any

import numpy as np

import equikit as ek
from equikit import draw
from equikit.data import pad

PRODUCT = ek.hom("x, x -> x", x=ek.SO(3))
WIDE = ek.Diagram.identity("p " * 10)

EDGES = ek.Support("p p", [0, 1, 2], [1, 2, 0], n=3)

CALL: dict[str, tuple[Any, str, Any]] = {
    "space-of-multilinear-maps": (
        lambda: draw.space_html(PRODUCT),
        "[ek.draw.diagram_svg(one) for one in space.diagrams]",
        {"space": PRODUCT},
    ),
    "space-that-is-text": (
        lambda space="p -> p": draw.space_text(space),
        'space=ek.hom("p -> p", p=ek.S)',
        None,
    ),
    "diagram-that-is-text": (
        lambda diagram="p -> p": draw.diagram_svg(diagram),
        'diagram=ek.Diagram.identity("p")',
        None,
    ),
    "factors-that-are-a-diagram": (
        lambda factored=WIDE: draw.factorization_tikz(factored),
        'factored=ek.Diagram.identity("p").factor()',
        None,
    ),
    "picture-too-large-for-tex": (lambda scale=100: draw.diagram_tikz(WIDE, scale=scale), "scale=60.2", None),
    "bars-without-numbers": (
        lambda bars=("a", "b"): draw.bars_svg(bars),
        'bars=[("a rotation", 2e-7)]',
        None,
    ),
    "support-that-is-text": (
        lambda support="p p": draw.support_svg(support),
        'support=ek.Support("p p", [0, 1], [1, 0], n=2)',
        None,
    ),
    "values-of-two-orders": (
        lambda values=(1, 1, 1): draw.support_svg(EDGES | EDGES.triangles(), values),
        "values={2: values}",
        lambda code: draw.support_svg(EDGES | EDGES.triangles(), **eval(f"dict({code})", {"values": np.ones(3)})),
    ),
    "features-that-are-text": (
        lambda: pad([{"p": np.array([["a"]])}]),
        "np.ones((3, 4))",
        lambda code: pad([{"p": eval(code, {"np": np})}]),
    ),
}
