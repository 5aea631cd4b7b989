"""Find which array of a checkpoint each parameter is, where names, shapes and the model leave one choice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from equikit.weightspace.checkpoints._arrangements import Arrangement
from equikit.weightspace.checkpoints._sources import Parameter, Source, words_without_prefix
from equikit.weightspace.checkpoints._words import Words, natural

Found = dict[str, list[Arrangement]]
"""For each parameter that has a source, the arrangements of that source."""
Group = list[Words]
"""Modules that differ in numbers only, in the order of these numbers."""
Alike = Callable[[Words, Words], bool]


def matched(parameters: Sequence[Parameter], sources: Sequence[Source], *, by_shape: bool) -> Found:
    """Return arrangements of each parameter whose source is known.

    Modules that differ in numbers only, such as the same projection of all layers, are matched together: first modules
    with the same name, then with the same last word. What remains is matched `by_shape`, by the arrays of a module
    together and by single arrays, if there is one choice among all modules, also among those whose names were alike.
    """
    matching = _Matching(parameters, sources)
    while matching.take_sure(_same_name, named=True) or matching.take_sure(_same_last_word, named=True):
        pass
    while by_shape and (matching.take_sure(_any) or matching.take_sure(_any, alone=True) or matching.take_single()):
        pass
    return matching.found


def _same_name(one: Words, two: Words) -> bool:
    return one == two


def _same_last_word(one: Words, two: Words) -> bool:
    words = [[word for word in module if not word.isdigit()] for module in (one, two)]
    return bool(words[0] and words[1]) and words[0][-1] == words[1][-1] and _numbers(one) == _numbers(two)


def _any(one: Words, two: Words) -> bool:
    return True


def _numbers(module: Words) -> list[int]:
    return [int(word) for word in module if word.isdigit()]


def _numbered(modules: Iterable[Words], alone: bool) -> list[Group]:
    """Return modules in groups that differ in numbers only, or each alone."""
    found: dict[Words, Group] = defaultdict(list)
    for module in sorted(modules, key=natural):
        found[module if alone else tuple("0" if word.isdigit() else word for word in module)].append(module)
    return [*found.values()]


class _Matching:
    """The modules of a model and of a checkpoint, and what is matched so far.

    Attributes:
        found: the arrangements of parameters.
        modules: the parameters of each module by their last words, if these differ.
        others: the arrays of each module of the checkpoint by their last words.
        used: the arrays that are matched.
        forced, only: parameters and arrays that were matched by shape. What was matched by name competes with what is
            matched by shape: otherwise names that are alike by accident would leave a wrong last choice.
    """

    def __init__(self, parameters: Sequence[Parameter], sources: Sequence[Source]) -> None:
        words = words_without_prefix(parameters)
        self.parameters, self.sources = parameters, sources
        self.modules: dict[Words, dict[str, Parameter]] = {}
        self.others: dict[Words, dict[str, Source]] = {}
        twice: set[Words] = set()
        for parameter in parameters:
            *before, last = words[parameter.name]
            module = self.modules.setdefault(tuple(before), {})
            twice |= {tuple(before)} if last in module else set()
            module[last] = parameter
        for source in sources:
            *before, last = source.words
            self.others.setdefault(tuple(before), {}).setdefault(last, source)
        self.modules = {module: its for module, its in self.modules.items() if module not in twice}
        self.found: Found = {}
        self.used: set[Source] = set()
        self.forced: set[str] = set()
        self.only: set[Source] = set()

    def arranged(self, module: Words, other: Words) -> Found | None:
        """Return the arrangements of all parameters of a module, if the arrays of the other one give them."""
        found = {}
        for word, parameter in self.modules[module].items():
            source = self.others[other].get(word)
            found[parameter.name] = source.as_parameter(parameter) if source else []
        return found if all(found.values()) else None

    def fits(self, group: Group, other: Group) -> bool:
        """Whether the modules of two groups fit one by one. Layers 0, 1, 2 are not layers 0, 2, 4 of a sequence."""
        if len(group) != len(other):
            return False
        if len(group) > 1 and [*map(_numbers, group)] != [*map(_numbers, other)]:
            return False
        return all(self.arranged(one, two) is not None for one, two in zip(group, other, strict=True))

    def needed(self, group: Group, other: Group) -> set[Source]:
        """Return the arrays of a group that another group would use."""
        pairs = zip(group, other, strict=True)
        return {self.others[two][word] for one, two in pairs for word in self.modules[one]}

    def names(self, group: Group) -> set[str]:
        """Return the names of the parameters of a group."""
        return {parameter.name for module in group for parameter in self.modules[module].values()}

    def take_sure(self, alike: Alike, *, named: bool = False, alone: bool = False) -> bool:
        """Match groups that have one choice which no other group has; return whether there are any."""
        gone, blocked = ({*self.found}, self.used) if named else (self.forced, self.only)
        groups = [some for some in _numbered(self.modules, alone) if self.names(some).isdisjoint(gone)]
        groups = [some for some in groups if alike is not _any or alone or len(some) > 1]
        others = _numbered(self.others, alone)
        choices: dict[int, list[int]] = {i: [] for i in range(len(groups))}
        for i, group in enumerate(groups):
            for j, other in enumerate(others):
                if alike(group[0], other[0]) and self.fits(group, other):
                    choices[i] += [j] if self.needed(group, other).isdisjoint(blocked) else []
        wanted = Counter(j for some in choices.values() for j in some)
        changed = False
        for i, some in choices.items():
            if len(some) != 1 or wanted[some[0]] != 1 or not self.names(groups[i]).isdisjoint(self.found):
                continue
            group, other = groups[i], others[some[0]]
            if not self.needed(group, other).isdisjoint(self.used):
                continue
            for one, two in zip(group, other, strict=True):
                self.found |= self.arranged(one, two) or {}
            self.used |= self.needed(group, other)
            if not named and len(group) == 1:  # equal numbers of several modules are names too
                self.forced |= self.names(group)
                self.only |= self.needed(group, other)
            changed = True
        return changed

    def take_single(self) -> bool:
        """Match parameters that one array gives which gives no other parameter; return whether there are any."""
        rivals = [one for one in self.parameters if one.name not in self.forced]
        free = [source for source in self.sources if source not in self.only]
        fits = {one.name: [source for source in free if source.as_parameter(one)] for one in rivals}
        wanted = Counter(source for some in fits.values() for source in some)
        changed = False
        for one in rivals:
            some = fits[one.name]
            if one.name in self.found or len(some) != 1 or wanted[some[0]] != 1 or some[0] in self.used:
                continue
            self.found[one.name] = some[0].as_parameter(one)
            self.forced.add(one.name)
            self.used.add(some[0])
            self.only.add(some[0])
            changed = True
        return changed
