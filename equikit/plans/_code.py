"""Plans as code: the steps that are executed, one statement each, in NumPy notation."""

from __future__ import annotations

import itertools
import math
import string
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from equikit.diagrams import HalfDiagram, Head, parity
from equikit.plans._ir import Contraction, MultilinearPlan, Plan, Product, Stages, Step
from equikit.plans.compilation._lattice import root
from equikit.plans.costs._cost import half_text
from equikit.signatures import Exchange

CHANNELS = "Z"
LETTERS = "ijklmnopqrstuvwxyzabcdefgh" + string.ascii_uppercase.replace(CHANNELS, "")

Key = tuple[int, HalfDiagram]


def _einsum(source: str, result: str, name: str, *constants: tuple[str, str]) -> str:
    """Write an `einsum` of a tensor, and of constants given as (axes, name); the channels come last."""
    axes = ", ".join([f"...{source}{CHANNELS}", *(axes for axes, _ in constants)])
    operands = ", ".join([name, *(constant for _, constant in constants)])
    return f'einsum("{axes} -> ...{result}{CHANNELS}", {operands})'


def _moved(name: str, order: Sequence[int], count: int) -> str:
    """Write a tensor with transposed axes; only `name` if the order is unchanged."""
    source = LETTERS[:count]
    result = "".join(source[i] for i in order)
    return name if source == result else _einsum(source, result, name)


class _Writer:
    """Writes the statements of one plan; `down` and `up` hold the names of computed tensors."""

    def __init__(self, plan: Stages) -> None:
        self.plan, self.signature = plan, plan.signature
        self.forms = {label: group.form for label, group in plan.signature.groups.items()}
        self.lines: list[str] = []
        self.down: dict[Key, str] = {}
        self.up: dict[Key, list[str]] = {}
        self.expansions = Counter((step.term, step.small) for step in plan.expansions)

    def say(self, value: str, comment: str, prefix: str) -> str:
        """Assign a value to a new name, and return the name."""
        name = f"{prefix}{sum(line.startswith(prefix) for line in self.lines)}"
        self.lines.append(f"{name} = {value}  # {comment}")
        return name

    # Inputs and outputs: axes of groups sorted by label, plain axes folded into the channels.

    def take(self) -> None:
        for t, term in enumerate(self.signature.inputs):
            acted, plain = self.signature.acted(term), self.signature.plain(term)
            order = [*sorted(acted, key=lambda i: (term.labels[i], i)), *plain]
            name = self.symmetrize(f"inputs[{t}]", self.exchanges(t), len(order), "x")
            value = _moved(name, order, len(order))
            value = f"fold({value}, {len(plain) + 1})" if plain else value
            top = root(tuple(term.labels[i] for i in acted))
            self.down[t, top] = self.say(value, term.name or "()", "x")

    def exchanges(self, t: int) -> tuple[Exchange, ...]:
        return self.plan.space.operands[t].exchanges if isinstance(self.plan, MultilinearPlan) else ()

    def give(self) -> None:
        names = []
        for s, term in enumerate(self.signature.outputs):
            acted, plain = self.signature.acted(term), self.signature.plain(term)
            order = [*sorted(acted, key=lambda i: (term.labels[i], i)), *plain]
            waiting = self.up.get((s, root(tuple(term.labels[i] for i in acted))))
            if waiting is None:
                sizes = "".join(f"n[{label!r}], " for label in term.labels)
                names.append(self.say(f"zeros(({sizes}{self.plan.channels[1][s]},))", term.name or "()", "y"))
                continue
            (value,) = waiting
            if plain:
                sizes = "".join(f"n[{term.labels[i]!r}], " for i in plain)
                value = f"unfold({value}, ({sizes}{self.plan.channels[1][s]}))"
            back = [int(i) for i in np.argsort(order)]
            name = self.say(_moved(value, back, len(order)), term.name or "()", "y")
            exchanges = self.plan.space.target.exchanges if isinstance(self.plan, MultilinearPlan) else ()
            names.append(self.symmetrize(name, exchanges, len(order), "y"))
        self.lines.append(f"return {', '.join(names)},")

    # Reductions and expansions.

    def reduce(self, step: Step) -> None:
        source, large = self.down[step.term, step.large], step.large
        value = self.head(step, source, upwards=False) if step.operation == "head" else self.narrowed(step, source)
        comment = f"{half_text(large)} to {half_text(step.small)}"
        self.down[step.term, step.small] = self.say(value, comment, "x")

    def narrowed(self, step: Step, source: str) -> str:
        count, label = len(step.large.core), step.large.core[step.axes[0]]
        letters, form = LETTERS[:count], self.forms[label]
        first = letters[step.axes[0]]
        if step.operation == "diagonal":
            second = letters[step.axes[1]]
            if form is not None and form.kind == "symplectic":
                return _einsum(letters, letters.replace(second, ""), source, (first + second, f"omega[{label!r}]"))
            return _einsum(letters.replace(second, first), letters.replace(second, ""), source)
        metric = [(first, f"eta[{label!r}]")] if form is not None and form.kind == "metric" else []
        value = _einsum(letters, letters.replace(first, ""), source, *metric)
        return f"{value} / n[{label!r}]" if self.plan.normalize == "mean" else value

    def expand(self, step: Step) -> None:
        key = step.term, step.small
        self.expansions[key] -= 1
        waiting = self.up.get(key, [])
        taken = waiting[:1] if self.expansions[key] else waiting
        self.up[key] = waiting[len(taken) :]
        if not taken:
            return
        source = taken[0] if len(taken) == 1 else f"({' + '.join(taken)})"
        value = self.head(step, source, upwards=True) if step.operation == "head" else self.widened(step, source)
        comment = f"{half_text(step.small, True)} to {half_text(step.large, True)}"
        self.add((step.term, step.large), self.say(value, comment, "y"))

    def widened(self, step: Step, source: str) -> str:
        count, label = len(step.large.core), step.large.core[step.axes[0]]
        letters, form = LETTERS[:count], self.forms[label]
        first = letters[step.axes[0]]
        if step.operation == "diagonal":
            second = letters[step.axes[1]]
            place = f"omega[{label!r}]" if form is not None and form.kind == "symplectic" else f"eye(n[{label!r}])"
            return _einsum(letters.replace(second, ""), letters, source, (first + second, place))
        constant = f"eta[{label!r}]" if form is not None and form.kind == "metric" else f"ones(n[{label!r}])"
        return _einsum(letters.replace(first, ""), letters, source, (first, constant))

    def head(self, step: Step, source: str, *, upwards: bool) -> str:
        """Write a Levi-Civita tensor, or if it is applied in the other row, a transposition."""
        head, large = step.small.heads[-1], step.large
        letters = LETTERS[: len(large.core)]
        legs = "".join(letters[i] for i in step.axes)
        others = LETTERS[len(letters) : len(letters) + head.axes] if head.applied else legs
        wired = "".join(
            letters[i]
            for i, block in enumerate(large.wires)
            if head.wired and block in step.small.propagating and large.core[i] == head.label
        )
        small = "".join(letter for letter in letters if letter not in legs) + others
        source_axes, result_axes = (small, letters) if upwards else (letters, small)
        if not head.applied:
            return _einsum(source_axes, result_axes, source) if source_axes != result_axes else source
        below = others if upwards else legs
        above = legs if upwards else others
        return _einsum(source_axes, result_axes, source, *self.epsilon(head, wired, above, below))

    def epsilon(self, head: Head, wired: str, above: str, below: str) -> Iterator[tuple[str, str]]:
        yield wired + above + below, f"epsilon[{head.label!r}, {head.loose}]"
        form = self.forms[head.label]
        if form is not None:
            yield from ((letter, f"eta[{head.label!r}]") for letter in below)

    # Products.

    def whole(self, half: HalfDiagram) -> tuple[list[int], list[str]]:
        """Return the axes of groups without diagrams in the tensor of a half diagram, and their labels."""
        axes, labels, place = list[int](), list[str](), len(half.wires)
        for head in half.heads:
            if head.stars:
                axes += range(place, place + head.axes)
                labels += [head.label] * head.axes
            place += head.axes
        return axes, labels

    def folded(self, name: str, half: HalfDiagram) -> str:
        axes, _ = self.whole(half)
        if not axes:
            return name
        rest = [axis for axis in range(len(half.core)) if axis not in axes]
        return f"fold({_moved(name, [*rest, *axes], len(half.core))}, {len(axes) + 1})"

    def unfolded(self, value: str, half: HalfDiagram, features: int) -> str:
        axes, labels = self.whole(half)
        if not axes:
            return value
        rest = [axis for axis in range(len(half.core)) if axis not in axes]
        sizes = "".join(f"n[{label!r}], " for label in labels)
        back = [int(i) for i in np.argsort([*rest, *axes])]
        return _moved(f"unfold({value}, ({sizes}{features}))", back, len(half.core))

    def wired(self, name: str, wirings: Sequence[tuple[int, ...]], count: int) -> list[str]:
        """Write copies of a tensor, one for each wiring: axis j moves to position `wiring[j]`."""
        rest = range(len(wirings[0]), count)
        return [_moved(name, [*map(int, np.argsort(wiring)), *rest], count) for wiring in wirings]

    def multiply(self, number: int, product: Product) -> None:
        whole = [kind.label for kind in product.tensors]
        count = len(product.core)
        parts = []
        for t, halves in enumerate(product.inputs):
            if not halves:
                continue
            names = [self.folded(self.down[t, half], half) for half in halves]
            side = names[0] if len(names) == 1 else f"concatenate([{', '.join(names)}], -1)"
            if product.permutes_in:
                side = self.say(side, f"{len(names)} side by side", "m")
            parts += self.wired(side, product.wires_in, count)
        comment = f"core {' '.join(product.core) or '()'}{', ' + ' '.join(whole) if whole else ''}"
        bias = any(block.source is None for block in product.blocks)
        if not parts:
            axes = "".join(f"n[{label!r}], " for label in product.core)
            name = self.say(f"ones(({axes}1)) * biases[{number}]", comment, "m")
        else:
            side = parts[0] if len(parts) == 1 else f"concatenate([{', '.join(parts)}], -1)"
            name = self.say(f"{side} @ matrices[{number}]", comment, "m")
            if product.permutes_out:
                pieces = self.say(f"split({name}, {len(product.wires_out)}, -1)", "one for each wiring", "m")
                copies = [
                    self.wired(f"{pieces}[{i}]", (wiring,), count)[0] for i, wiring in enumerate(product.wires_out)
                ]
                name = self.say(" + ".join(copies), "wires permuted", "m")
            if bias:
                name = self.say(f"{name} + biases[{number}]", "bias", "m")
        self.hand_out(name, product)

    def hand_out(self, name: str, product: Product) -> None:
        """Split the result of a product into its output halves."""
        keys = [(s, half) for s, halves in enumerate(product.outputs) for half in halves]
        entries = math.prod((self.signature.sizes[kind.label] or 0) ** kind.above for kind in product.tensors)
        start = 0
        for s, half in keys:
            features = self.plan.features[1][s]
            stop = start + features * entries
            part = name if len(keys) == 1 else f"{name}[..., {start}:{stop}]"
            part = self.unfolded(part, half, features)
            self.add((s, half), part if part == name else self.say(part, half_text(half, True), "y"))
            start = stop

    # Contractions, and symmetrization of their tensors.

    def symmetrize(self, name: str, exchanges: Sequence[Exchange], count: int, prefix: str) -> str:
        """Write the symmetric or antisymmetric part of a tensor with `order` axes."""
        for exchange in exchanges:
            own, terms = exchange.members, []
            for order in itertools.permutations(range(len(own))):
                moved = list(range(count))
                for axis, i in zip(own, order, strict=True):
                    moved[axis] = own[i]
                sign = "-" if exchange.sign < 0 and parity(order) < 0 else "+"
                terms.append(f" {sign} {_moved(name, moved, count)}")
            total = "".join(terms).removeprefix(" + ")
            comment = f"{'anti' if exchange.sign < 0 else ''}symmetric part"
            name = self.say(f"({total}) / {len(terms)}", comment, prefix)
        return name

    def contract(self, plan: MultilinearPlan, number: int, contraction: Contraction) -> None:
        letters = LETTERS[: len(contraction.labels)]
        fresh = iter(LETTERS[len(letters) :])
        channelwise = plan.mode == "channelwise"
        wide = [CHANNELS if channelwise else next(fresh) for _ in contraction.halves]
        element = next(fresh)
        operands: list[tuple[str, str]] = []
        for t, half in enumerate(contraction.halves):
            axes = [letters[letter] for letter in contraction.letters[t]]
            forms = []
            for axis in contraction.lowered[t]:
                label = half.core[axis]
                form = self.forms[label]
                assert form is not None
                if form.kind == "metric":
                    forms.append((axes[axis], f"eta[{label!r}]"))
                else:
                    end, axes[axis] = axes[axis], next(fresh)
                    forms.append((end + axes[axis], f"omega[{label!r}]"))
            operands += [(f"...{''.join(axes)}{wide[t]}", self.down[t, half]), *forms]
        for head in contraction.heads:
            legs = "".join(letters[letter] for letter in head.letters)
            operands.append((legs, f"epsilon[{head.label!r}, {head.legs - len(legs)}]"))
            if self.forms[head.label] is not None:
                operands += [(legs[place], f"eta[{head.label!r}]") for place in head.lowered]
        held = "".join(letters[letter] for letter in contraction.held)
        features = CHANNELS if channelwise else "".join(wide) + CHANNELS
        result = "".join(letters[letter] for letter in contraction.kept) + CHANNELS
        uses = contraction.uses
        if held:
            chosen = list(dict.fromkeys(use.element for use in uses))
            operands += [(element + held, f"invariants[{number}]"), (element + features, f"weights[{chosen}]")]
        elif not channelwise:
            operands.append((element + features, f"weights[{[use.element for use in uses]}]"))
            if any(use.coefficient != 1 for use in uses):
                operands.append((element, f"{[use.coefficient for use in uses]}"))
            result = result[:-1] + element + CHANNELS
        text = f'einsum("{", ".join(axes for axes, _ in operands)} -> ...{result}", '
        value = text + f"{', '.join(name for _, name in operands)})"
        if plan.normalize == "mean":
            value += "".join(f" / n[{label!r}]" for label in contraction.averaged)
        name = self.say(value, "contraction", "m")
        for i, use in enumerate(uses[: 1 if held else None]):
            part = f"{name}[..., {i}, :]" if not held and not channelwise else name
            if channelwise and not held:
                factor = "" if use.coefficient == 1 else f"{use.coefficient} * "
                part = f"{factor}{part} * weights[{use.element}]"
            part = _moved(part, use.axes, len(use.axes))
            self.add((0, use.half), self.say(part, half_text(use.half, True), "y"))

    def add(self, key: Key, name: str) -> None:
        waiting = self.up.setdefault(key, [])
        if waiting and self.expansions[key] < 2:
            name = self.say(f"{waiting.pop()} + {name}", half_text(key[1], True), "y")
        waiting.append(name)


def plan_code(plan: Plan | MultilinearPlan) -> str:
    """Write the statements of a plan as a function in NumPy notation; see `Plan.code` and `MultilinearPlan.code`."""
    writer = _Writer(plan)
    writer.take()
    for step in plan.reductions:
        writer.reduce(step)
    if isinstance(plan, Plan):
        constants = "matrices, biases"
        for number, product in enumerate(plan.products):
            writer.multiply(number, product)
    else:
        constants = "weights, invariants"
        for number, contraction in enumerate(plan.products):
            writer.contract(plan, number, contraction)
    for step in plan.expansions:
        writer.expand(step)
    writer.give()
    return "\n    ".join([f"def run(inputs, {constants}, n):", *writer.lines])
