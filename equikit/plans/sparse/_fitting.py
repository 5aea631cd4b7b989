"""Whether a support fits a signature. No JAX."""

from __future__ import annotations

from collections.abc import Sequence

from equikit._errors import OptionError
from equikit.groups import Group, S
from equikit.signatures import Signature, Term


def refuse_unfit(signature: Signature, label: str, orders: Sequence[int]) -> None:
    """Raise `OptionError` if a support of a label, with entries of some orders, cannot be used for a signature."""
    _refuse_other_groups(signature, label)
    for term in (*signature.inputs, *signature.outputs):
        _refuse_missing(term, label, orders)


def _refuse_other_groups(signature: Signature, label: str) -> None:
    known = [other for other, group in signature.groups.items() if isinstance(group, S)]
    if label in known:
        return
    bound = dict(signature.bindings).get(label)
    if bound is None:
        problem, got = f"the support is for {label!r}, which is not a label of the signature", str(signature)
    elif isinstance(bound, Group):
        problem = f"entries of {label!r} cannot be absent: {bound} has maps other than sums and diagonals"
        got = f"a support for an axis on which {bound} acts"
    else:
        problem = f"entries of {label!r} cannot be absent: nothing acts on the axis"
        got = f"a support for the plain axis {label}={bound}"
    raise OptionError(
        problem,
        got=got,
        expected=f"a support for {' or '.join(known)}" if known else "no support: no label is bound to S",
        step=f'make the support for the term "{known[0]} {known[0]}"' if known else "leave the support out",
    )


def _refuse_missing(term: Term, label: str, orders: Sequence[int]) -> None:
    order = term.labels.count(label)
    if order > 1 and order not in orders:
        raise OptionError(
            f"the support has no entries for the term {term.text!r}",
            got=f"a support with entries of {' and '.join(map(str, orders))} axes {label!r}",
            expected=f"entries of {order} axes",
            step="join it with a support that has them, such as edges | edges.cliques()",
        )
