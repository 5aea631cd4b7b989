"""Find which array of a checkpoint each parameter is, where names, shapes and the model leave one choice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from equikit.weightspace.checkpoints._arrangements import Arrangement, arrangements, part_of
from equikit.weightspace.checkpoints._words import FUSED, KINDS, PARTS, Words, natural, shared_prefix, words_of
from equikit.weightspace.tracing._roles import Roles


@dataclass(frozen=True)
class Parameter:
    """A parameter of the model: its name, its shape, and what the model does with its axes."""

    name: str
    shape: tuple[int, ...]
    roles: Roles

    @property
    def kind(self) -> str:
        """The last word of the name, as it is written."""
        return self.name.rpartition("/")[2].lower()


@dataclass(frozen=True)
class Source:
    """An array of a checkpoint, or one of the equal parts of a fused one."""

    name: str
    words: Words
    shape: tuple[int, ...]
    turned: bool | None
    part: tuple[int, int, int] | None = None

    def as_parameter(self, parameter: Parameter) -> list[Arrangement]:
        """Return the arrangements of this array that give a parameter."""
        word = words_of(parameter.name)[-1]
        if word in KINDS and word != self.words[-1]:
            return []
        found = arrangements(
            self.name, self.shape, parameter.shape, parameter.roles, parameter.kind, turned=self.turned
        )
        return [part_of(one, self.part, self.name) for one in found]


Found = dict[str, list[Arrangement]]
"""For each parameter that has a source, the arrangements of that source."""


def sources_of(shapes: Mapping[str, tuple[int, ...]]) -> list[Source]:
    """Return the arrays of a checkpoint, and in place of each fused projection its parts."""
    found, reversed_ones = [], {name for name in shapes if _turned(name, shapes)}
    for name, shape in shapes.items():
        square = len(shape) == 2 and shape[0] == shape[1]
        turned = True if name in reversed_ones else None if reversed_ones and square else False
        words = words_of(name)
        *rest, last = words
        if not (rest and rest[-1] in FUSED):
            found.append(Source(name, words, shape, turned))
            continue
        axis = len(shape) - 1 if turned else 0
        whole = shape[axis] % len(PARTS) == 0
        for number, word in enumerate(PARTS if whole else ()):
            one = (*shape[:axis], shape[axis] // len(PARTS), *shape[axis + 1 :])
            cut = number, len(PARTS), axis
            found.append(Source(name, (*rest[:-1], word, last), one, turned, cut))
    shared = shared_prefix([source.words for source in found])
    return [replace(source, words=source.words[shared:]) for source in found]


def _turned(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the bias of the same module shows that a matrix has its outputs last, as in GPT-2."""
    module, _, last = name.rpartition("weight")
    bias, shape = shapes.get(f"{module}bias{last}"), shapes[name]
    return bias is not None and len(shape) == 2 and shape[0] != shape[1] and tuple(bias) == (shape[1],)


def matched(parameters: Sequence[Parameter], sources: Sequence[Source], *, by_order: bool) -> Found:
    """Return arrangements of each parameter whose source is known.

    Modules that differ in numbers only, such as the same projection of all layers, are matched together. First modules
    with the same name are matched, if all their arrays fit; then modules with the same last word, and whatever has one
    choice by its shapes, until nothing changes; then, if `by_order`, modules in the order of their names; and single
    arrays with one choice last.
    """
    matching = _Matching(parameters, sources)
    while True:
        groups = _numbered(matching.modules), _numbered(matching.left)
        alone = [[module] for module in matching.modules], [[module] for module in matching.left]
        if not (
            matching.take_sure(*groups, _same_name)
            or matching.take_sure(*groups, _same_last_word)
            or matching.take_sure(*groups, _any)
            or matching.take_sure(*alone, _any)
            or (by_order and matching.take_first(*alone))
        ):
            break
    rest = [one for some in matching.modules.values() for one in some]
    return matching.found | _single(rest, [source for some in matching.left.values() for source in some.values()])


Group = list[Words]
"""Modules that differ in numbers only, in the order of these numbers."""
Alike = Callable[[Words, Words], bool]


def _same_name(one: Words, two: Words) -> bool:
    return one == two


def _same_last_word(one: Words, two: Words) -> bool:
    words = [[word for word in module if not word.isdigit()] for module in (one, two)]
    return bool(words[0] and words[1]) and words[0][-1] == words[1][-1]


def _any(one: Words, two: Words) -> bool:
    return True


def _numbers(module: Words) -> list[int]:
    return [int(word) for word in module if word.isdigit()]


def _numbered(modules: Iterable[Words]) -> list[Group]:
    """Return modules in groups that differ in numbers only."""
    found: dict[Words, Group] = defaultdict(list)
    for module in sorted(modules, key=natural):
        found[tuple("0" if word.isdigit() else word for word in module)].append(module)
    return [*found.values()]


class _Matching:
    """The modules that have no source yet, and the arrays that have no parameter."""

    def __init__(self, parameters: Sequence[Parameter], sources: Sequence[Source]) -> None:
        words = {one.name: words_of(one.name) for one in parameters}
        shared = shared_prefix([*words.values()])
        self.words = {name: some[shared:] for name, some in words.items()}
        self.modules: dict[Words, list[Parameter]] = defaultdict(list)
        for parameter in parameters:
            self.modules[self.words[parameter.name][:-1]].append(parameter)
        self.left: dict[Words, dict[str, Source]] = defaultdict(dict)
        for source in sources:
            self.left[source.words[:-1]].setdefault(source.words[-1], source)
        self.found: Found = {}

    def arranged(self, module: Words, other: Words) -> Found | None:
        """Return the arrangements of all parameters of a module, if the arrays of the other one give them."""
        found = {}
        for parameter in self.modules[module]:
            source = self.left[other].get(self.words[parameter.name][-1])
            found[parameter.name] = source.as_parameter(parameter) if source else []
        return found if all(found.values()) else None

    def fits(self, group: Group, other: Group) -> bool:
        """Whether the modules of two groups fit one by one. Layers 0, 1, 2 are not layers 0, 2, 4 of a sequence."""
        if len(group) != len(other):
            return False
        if len(group) > 1 and [*map(_numbers, group)] != [*map(_numbers, other)]:
            return False
        return all(self.arranged(one, two) is not None for one, two in zip(group, other, strict=True))

    def take(self, group: Group, other: Group) -> None:
        """Match the modules of two groups."""
        for one, two in zip(group, other, strict=True):
            self.found |= self.arranged(one, two) or {}
            for parameter in self.modules.pop(one):
                del self.left[two][self.words[parameter.name][-1]]

    def choices(self, groups: Sequence[Group], others: Sequence[Group], alike: Alike) -> dict[int, list[int]]:
        """Return for each group by its number the groups that it fits."""
        return {
            i: [j for j, other in enumerate(others) if alike(group[0], other[0]) and self.fits(group, other)]
            for i, group in enumerate(groups)
        }

    def take_sure(self, groups: Sequence[Group], others: Sequence[Group], alike: Alike) -> bool:
        """Match groups that have one choice which no other group has; return whether there are any."""
        choices = self.choices(groups, others, alike)
        wanted = Counter(j for some in choices.values() for j in some)
        sure = [(i, some[0]) for i, some in choices.items() if len(some) == 1 and wanted[some[0]] == 1]
        for i, j in sure:
            self.take(groups[i], others[j])
        return bool(sure)

    def take_first(self, groups: Sequence[Group], others: Sequence[Group]) -> bool:
        """Match the first module in the order of names with the first of its choices, if as many modules have them."""
        choices = self.choices(groups, others, _any)
        for some in choices.values():
            rivals = [other for other, theirs in choices.items() if theirs == some]
            if some and len(rivals) == len(some):
                first = min(rivals, key=lambda one: natural(groups[one][0]))
                self.take(groups[first], others[min(some, key=lambda one: natural(others[one][0]))])
                return True
        return False


def _single(parameters: Sequence[Parameter], sources: Sequence[Source]) -> Found:
    """Match single arrays that have one choice, until nothing changes."""
    found: Found = {}
    parameters, sources = [*parameters], [*sources]
    while True:
        fits = {p.name: [(s, a) for s in sources if (a := s.as_parameter(p))] for p in parameters}
        wanted: dict[Source, int] = defaultdict(int)
        for some in fits.values():
            for source, _ in some:
                wanted[source] += 1
        sure = [p for p in parameters if len(fits[p.name]) == 1 and wanted[fits[p.name][0][0]] == 1]
        if not sure:
            return found
        for parameter in sure:
            ((source, arranged),) = fits[parameter.name]
            found[parameter.name] = arranged
            parameters.remove(parameter)
            sources.remove(source)
