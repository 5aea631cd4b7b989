"""The arrays of a checkpoint, the parameters of a model, and how the former give the latter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from equikit.weightspace.checkpoints._arrangements import Arrangement, Order, arrangements
from equikit.weightspace.checkpoints._words import FUSED, KINDS, PARTS, Words, shared_prefix, words_of
from equikit.weightspace.tracing._roles import Roles

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Parameter:
    """A parameter of the model: its name, its shape, and what the model does with its axes."""

    name: str
    shape: tuple[int, ...]
    roles: Roles

    @property
    def word(self) -> str:
        """The last word of the name, which tells the order of axes if the parameter is of a module."""
        module, _, last = self.name.rpartition("/")
        return last if module or last == "kernel" else ""


@dataclass(frozen=True)
class Source:
    """An array of a checkpoint, or one of the equal parts of a fused one."""

    name: str
    words: Words
    shape: tuple[int, ...]
    order: Order | None
    part: tuple[int, int, int] | None = None

    def as_parameter(self, parameter: Parameter) -> list[Arrangement]:
        """Return the arrangements of this array that give a parameter."""
        word = words_of(parameter.name)[-1]
        if word in KINDS and word != self.words[-1]:
            return []
        names = f"{self.name} {parameter.name}".lower()
        if len(self.shape) > 2 and ("transpose" in names or "deconv" in names):
            return []  # its axes have another order, and its entries are flipped in some libraries
        orders: list[Order | None] = [self.order]
        if self.part is None and self.name == parameter.name.replace("/", ".") and self.shape == parameter.shape:
            # Of the model itself, unless it may be of PyTorch, with the same names.
            orders = ["as it is", *(orders if self.order == "outputs first" else [])]
        found: list[Arrangement] = []
        for order in orders:
            some = arrangements(self.name, self.shape, parameter.shape, parameter.roles, parameter.word, order)
            found += [one for one in some if one not in found]
        return [replace(one, part=self.part) for one in found]


def sources_of(shapes: Shapes, parameters: Collection[Parameter]) -> list[Source]:
    """Return the arrays of a checkpoint.

    A fused projection of attention is replaced by its parts if the model has queries, keys and values.
    """
    apart = any(PARTS[0] in words_of(one.name) for one in parameters)
    orders, found = _orders(shapes), []
    for name, shape in shapes.items():
        words = words_of(name)
        *rest, last = words
        axis = len(shape) - 1 if orders[name] == "inputs first" else 0
        if not (apart and rest and rest[-1] in FUSED and shape[axis] % len(PARTS) == 0):
            found.append(Source(name, words, shape, orders[name]))
            continue
        for number, word in enumerate(PARTS):
            one = (*shape[:axis], shape[axis] // len(PARTS), *shape[axis + 1 :])
            cut = number, len(PARTS), axis
            found.append(Source(name, (*rest[:-1], word, last), one, orders[name], cut))
    shared = shared_prefix([source.words for source in found])
    return [replace(source, words=source.words[shared:]) for source in found]


def _orders(shapes: Shapes) -> dict[str, Order | None]:
    """Return the order of the axes of each array.

    Matrices of PyTorch have outputs first, but for those of GPT-2, whose biases show it. Where no bias or shape decides
    about a matrix, it is like the others, and unknown if these differ.
    """
    shown = {name: order for name in shapes if (order := _by_bias(name, shapes)) is not None}
    usual: Order | None = "outputs first"
    if "inputs first" in shown.values():
        usual = None if "outputs first" in shown.values() else "inputs first"
    found: dict[str, Order | None] = {}
    for name, shape in shapes.items():
        word = name.rpartition(".")[2]
        if word == "kernel" or (word == "w" and "." in name):
            found[name] = "inputs first"
        elif word.startswith("weight") or word.endswith("weight"):
            found[name] = shown.get(name, usual if len(shape) == 2 else "outputs first")
        else:
            found[name] = None
    return found


def _by_bias(name: str, shapes: Shapes) -> Order | None:
    """Return the order that the bias of the same module shows."""
    module, _, last = name.rpartition("weight")
    bias, shape = shapes.get(f"{module}bias{last}"), shapes[name]
    if bias is None or len(shape) != 2 or shape[0] == shape[1] or len(bias) != 1 or bias[0] not in shape:
        return None
    return "outputs first" if bias[0] == shape[0] else "inputs first"


def words_without_prefix(parameters: Sequence[Parameter]) -> dict[str, Words]:
    """Return the words of each parameter's name, without the first ones that all share."""
    words = {one.name: words_of(one.name) for one in parameters}
    shared = shared_prefix([*words.values()])
    return {name: some[shared:] for name, some in words.items()}
