"""The order of diagrams, on which saved weights depend, compared with a stored list.

A change of `canonical_order.json` breaks every saved model: entry i of a weight array belongs to diagram i. The file is
written by `stored()` and is not to be written again for a signature that it has; new signatures may be added.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equikit import GL, SO, A, Bistochastic, D, Fixed, H, Lorentz, MatrixGroup, O, S, Sp, U, Z, hom

GOLDEN = Path(__file__).with_name("canonical_order.json")
QUARTER_TURN = MatrixGroup([[[0, -1], [1, 0]]], name="C4")
SHEAR = MatrixGroup([[[1, 1], [0, 1]]], name="shear")

SPACES: list[tuple[str, dict[str, Any], int | None]] = [
    ("p -> p", {"p": S}, 3),
    ("p p -> p p", {"p": S}, 4),
    ("p p p -> p p p", {"p": S}, 2),
    ("p p p p -> p p", {"p": S(3)}, None),
    ("p p -> p p", {"p": S(2)}, None),
    ("p q p -> q p", {"p": S, "q": S}, 3),
    ("b a -> a b a", {"a": S, "b": H(2)}, 3),
    ("p p -> p f", {"p": S, "f": Fixed(2)}, 3),
    ("p p + p -> p + ()", {"p": S}, 3),
    ("edges: p p + nodes: p f -> graph: ()", {"p": S, "f": Fixed(2)}, 3),
    ("p p -> p p", {"p": A(3)}, None),
    ("p p -> p p", {"p": A(5)}, None),
    ("p p p -> p", {"p": H}, 3),
    ("p p p p -> p p", {"p": H(2)}, None),
    ("x x -> x x", {"x": O}, 3),
    ("x x x -> x x x", {"x": O(2)}, None),
    ("x x -> x x", {"x": Lorentz}, None),
    ("x x x -> x x x", {"x": O(1, 1)}, None),
    ("x x -> x", {"x": SO(3)}, None),
    ("x x -> x x x", {"x": SO(3)}, None),
    ("x x -> x x", {"x": SO(2)}, None),
    ("x x -> x x", {"x": SO(1, 1)}, None),
    ("x x x -> x x x", {"x": Sp(2)}, None),
    ("x x -> x x", {"x": Sp}, 4),
    ("x x -> x", {"x": Bistochastic}, 3),
    ("x x x -> x x", {"x": Bistochastic(2)}, None),
    ("u u* -> u* u", {"u": U}, 2),
    ("u u u* -> u u u*", {"u": GL(2)}, None),
    ("v -> v", {"v": GL}, 2),
    ("z z -> z", {"z": Z(4)}, None),
    ("z z -> z z", {"z": D(3)}, None),
    ("x p x -> p x x", {"x": QUARTER_TURN, "p": S(2)}, None),
    ("s s* -> s s", {"s": SHEAR}, None),
    ("p, p -> p p", {"p": S}, 3),
    ("sym(p p), p -> sym(p p)", {"p": S}, 3),
    ("sym(x, x) -> x x", {"x": O(2)}, None),
    ("alt(x x x) -> alt(x x x)", {"x": SO(3)}, None),
    ("sym(sym(x x), sym(x x)) -> sym(x x)", {"x": O(2)}, None),
    ("x, x -> x f", {"x": SO(3), "f": Fixed(2)}, None),
]


def _name(case: tuple[str, dict[str, Any], int | None]) -> str:
    signature, groups, _ = case
    return f"{signature}; " + ", ".join(f"{label}={getattr(what, '__name__', what)}" for label, what in groups.items())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def described(case: tuple[str, dict[str, Any], int | None]) -> dict[str, Any]:
    """The basis of a space: first and last element as text, hashes of all texts and of the matrices, which have the
    signs of forms and heads, and the invariant tensors of groups without diagrams."""
    signature, groups, n = case
    space = hom(signature, groups=groups)
    texts = [str(element) for element in getattr(space, "basis", space.diagrams)]
    matrices = np.ascontiguousarray(space.matrices(n), "<i8")
    return {
        "count": len(texts),
        "first": texts[0],
        "last": texts[-1],
        "texts": _hash("\n".join(texts).encode()),
        "matrices": _hash(repr(matrices.shape).encode() + matrices.tobytes()),
    }


def stored() -> str:
    """The content of the golden file."""
    return json.dumps({_name(case): described(case) for case in SPACES}, indent=1, ensure_ascii=False) + "\n"


@functools.cache
def golden() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text(encoding="utf-8")))


@pytest.mark.parametrize("case", SPACES, ids=_name)
def test_diagrams_keep_the_order_that_saved_weights_have(case):
    assert described(case) == golden()[_name(case)]


def test_every_stored_signature_is_tested():
    assert golden().keys() == {_name(case) for case in SPACES}
