"""Describe Lie algebras without a standard representation, by dimension and Killing form."""

from __future__ import annotations

from equikit.groups.lie._algebra import Kind

SIMPLE = {
    (0, 3): "so(3)",
    (2, 1): "sl(2, R)",
    (0, 6): "so(4)",
    (3, 3): "so(1, 3)",
    (4, 2): "so(2, 2)",
    (2, 4): "so(3) + sl(2, R)",
    (5, 3): "sl(3, R)",
    (0, 8): "su(3)",
    (4, 4): "su(2, 1)",
    (0, 10): "so(5)",
    (4, 6): "so(1, 4)",
    (6, 4): "so(2, 3)",
    (9, 6): "sl(4, R)",
    (0, 15): "so(6)",
}
"""Semisimple real Lie algebras by the signature of their Killing form, as far as it determines them."""


def abstract_name(dimension: int, kind: Kind, killing: tuple[int, int, int], n: int) -> str:
    """Return the isomorphism type where the Killing form determines it, otherwise the kind and the dimension."""
    positive, negative, zero = killing
    known = SIMPLE.get((positive, negative))
    if kind == "semisimple" and known:
        return f"{known} on R^{n}"
    if kind == "reductive" and known:
        return f"{known} + R^{zero} on R^{n}"
    return f"{kind} Lie algebra of dimension {dimension} on R^{n}"
