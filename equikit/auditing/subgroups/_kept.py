"""Find the elements of each label with which a function commutes."""

from __future__ import annotations

from equikit._progress import progress
from equikit.auditing._elements import algebra, identity, is_wide, listed
from equikit.auditing._probe import Probe, groups_of
from equikit.auditing.subgroups._connected import TRIALS, kept_of_lie_group
from equikit.auditing.subgroups._kept_group import Kept, KeptGroup, nothing, whole
from equikit.auditing.subgroups._permutations import kept_of_large, kept_of_list
from equikit.auditing.subgroups._single import Single


def kept(probe: Probe, *, passed: bool) -> Kept:
    """Return the subgroup of each label that a function keeps, up to rounding.

    A function that commutes with the generators of a finite group keeps it. Otherwise all elements of small groups are
    tried. Of large groups of permutations, transpositions and cycles are tried: they
    tell which points may be exchanged. The Lie algebra that is kept is the null space of the derivative of the defect
    f(exp(tL) x) - exp(tL) f(x), which is linear in L; random elements of what it generates are tried, then elements
    outside of the connected part.

    Args:
        probe: the function.
        passed: whether no error was found, so that the whole group is kept.

    Cost: a call for each element that is tried: up to 200 for a finite group; six for each dimension of a Lie algebra,
    and some more.
    """
    groups = groups_of(probe.signature)
    found = {}
    with progress("the subgroup that is kept", len(groups)) as advance:
        for label, group in groups.items():
            rest = {name: identity(other) for name, other in groups.items() if name != label}
            found[label] = whole(group) if passed else _kept_of(Single(probe, label, group, rest))
            advance(label)
    return Kept(found)


def _kept_of(single: Single) -> KeptGroup:
    group = single.group
    if algebra(group):
        return kept_of_lie_group(single)
    if is_wide(group):
        drawn = [group.random_element(single.probe.seeds) for _ in range(TRIALS)]
        return whole(group) if all(map(single.keeps, (*group.generators(), *drawn))) else nothing(group, largest=False)
    if all(single.keeps(generator) for generator in group.generators()):
        return whole(group)
    elements = listed(group)
    return kept_of_large(single) if elements is None else kept_of_list(single, elements)
