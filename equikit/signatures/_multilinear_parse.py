"""Parse the signature of a multilinear map; errors point at the position in the text.

    signature:  inputs '->' tensor
    inputs:     input (',' input)*
    input:      tensor | ('sym' | 'alt') '(' tensor (',' tensor)+ ')'
    tensor:     '()' | (label | 'det(' label ')' | ('sym' | 'alt') '(' label label+ ')')+
                an empty side of the arrow is also '()', as in a signature of linear maps

Commas separate the inputs of a multilinear map. Around axes of one tensor, `sym` and `alt` mean that the tensor is
symmetric or antisymmetric in these axes; around several inputs, that the map is symmetric or antisymmetric in these
inputs. A label may have a star for the dual; axes with and without a star have different labels and cannot be
exchanged. A tilde after a label and `det(...)` multiply the whole tensor by a determinant, as in a signature of linear
maps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from equikit._errors import Place, SignatureError
from equikit.signatures._parse import DETERMINANT, LOOSE_MARK, Grammar, Token, line_of, tokens_of
from equikit.signatures._signature import MARK, Term, is_axis, without_mark

EXAMPLE = 'write for example "x, x y -> y", "sym(x x), x -> x" or "sym(x, x) -> x x"'
GRAMMAR = "words separated by spaces, ',' between inputs, 'sym(...)' or 'alt(...)', '()' for no axes, and one '->'"
SIGNS = {"sym": 1, "alt": -1}


@dataclass(frozen=True, slots=True, order=True)
class Exchange:
    """Axes of one tensor, or inputs of one map, whose exchange multiplies the tensor or map by a sign.

    Attributes:
        sign: 1 for symmetry, -1 for antisymmetry.
        members: the positions of the axes in the tensor, or of the inputs in the map, in ascending order.
    """

    sign: int
    members: tuple[int, ...]

    @property
    def word(self) -> str:
        """The word in a signature."""
        return "sym" if self.sign > 0 else "alt"


@dataclass(frozen=True, slots=True, order=True)
class Operand:
    """One tensor of a multilinear map.

    Attributes:
        labels: the label of each axis, without marks.
        exchanges: the sets of axes in which the tensor is symmetric or antisymmetric.
        written: the determinants without an axis, then the labels with marks; empty if there are no determinants.
    """

    labels: tuple[str, ...]
    exchanges: tuple[Exchange, ...] = ()
    written: tuple[str, ...] = ()

    @property
    def term(self) -> Term:
        """The tensor as a term, without its symmetries."""
        return Term.of(self.written or self.labels)

    def __str__(self) -> str:
        axes = [word for word in self.term.words if is_axis(word)]
        words, place = [word for word in self.term.words if not is_axis(word)], 0
        first = {exchange.members[0]: exchange for exchange in self.exchanges}
        while place < len(axes):
            exchange = first.get(place)
            if exchange is None:
                words.append(axes[place])
                place += 1
            else:
                words.append(f"{exchange.word}({' '.join(axes[i] for i in exchange.members)})")
                place += len(exchange.members)
        return " ".join(words) or "()"


MULTILINEAR = Grammar(
    ("->", "()", "(", ")", ","),
    GRAMMAR,
    EXAMPLE,
    {
        "+": (
            "a sum of terms cannot stand beside a comma",
            "single tensors",
            "make one space for each term, and add up what they give",
        ),
        ":": (
            "inputs that commas separate have no names",
            "labels",
            "leave the name out; inputs are given in the order of the signature",
        ),
        MARK: LOOSE_MARK,
    },
)


def is_multilinear(text: object) -> bool:
    """Whether text is the signature of a multilinear map: it has a comma, or a word before parentheses."""
    if not isinstance(text, str):
        return False
    return "," in text or re.search(r"\w\s*\((?!\s*\))", DETERMINANT.sub("", text)) is not None


def _error(problem: str, text: str, token: Token, expected: str = GRAMMAR, step: str = EXAMPLE) -> SignatureError:
    return SignatureError(problem, at=Place(text, token.start, token.length), expected=expected, step=step)


class _Reader:
    """Reads tokens from left to right; each method consumes the tokens that it reads."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.tokens = list(tokens_of(text, MULTILINEAR))

    @property
    def now(self) -> Token:
        return self.tokens[self.place]

    def take(self, kind: str, problem: str) -> Token:
        token = self.now
        if token.kind != kind:
            raise _error(problem, self.text, token)
        self.place += 1
        return token

    def opens(self) -> bool:
        """Whether `sym(` or `alt(` starts here."""
        after = self.tokens[min(self.place + 1, len(self.tokens) - 1)]
        if self.now.kind == "word" and after.kind == "()" and self.now.text in SIGNS:
            raise _error(f"{self.now.text!r} without axes", self.text, self.now)
        if self.now.kind != "word" or after.kind != "(":
            return False
        if self.now.text == "det":
            step = "write det(x) for each label whose determinant it has"
            raise _error("'det' of something that is not one label", self.text, self.now, "one label", step)
        if self.now.text not in SIGNS:
            step = "write sym(...) or alt(...), or leave the parentheses out"
            raise _error(f"{self.now.text!r} before parentheses", self.text, self.now, "'sym' or 'alt'", step)
        return True

    def groups_inputs(self) -> bool:
        """Whether these parentheses contain a comma at their own level."""
        depth, comma = 0, False
        for token in self.tokens[self.place + 1 :]:
            depth += (token.kind == "(") - (token.kind == ")")
            comma = comma or (token.kind == "," and depth == 1)
            if depth == 0:
                return comma
        return False  # unclosed parentheses

    def axes(self) -> tuple[int, list[str]]:
        word = self.take("word", "expected 'sym' or 'alt'")
        self.take("(", "expected '('")
        labels: list[str] = []
        while self.now.kind == "word":
            if self.tokens[self.place + 1].kind == "(":
                raise _error("parentheses inside the parentheses of axes", self.text, self.now)
            label = self.now.text
            if not is_axis(label):
                step = f"write {label} before {word.text!r}"
                raise _error(f"{label!r} inside {word.text!r}, which is not an axis", self.text, self.now, "axes", step)
            if labels and without_mark(label) != without_mark(labels[0]):
                step = "axes with different labels cannot be exchanged: leave one out"
                raise _error(f"{word.text!r} of axes with different labels", self.text, self.now, labels[0], step)
            labels.append(label)
            self.place += 1
        closing = self.take(")", "a ')' is missing, or something is in its place")
        if len(labels) < 2:
            step = f"write {word.text}({labels[0]} {labels[0]}), or leave {word.text!r} out"
            raise _error(f"{word.text!r} of one axis", self.text, closing, "two axes or more", step)
        return SIGNS[word.text], labels

    def tensor(self) -> Operand:
        if self.now.kind == "()":
            self.place += 1
            return Operand(())
        labels: list[str] = []
        determinants: list[str] = []
        exchanges: list[Exchange] = []
        first = self.now
        while self.now.kind == "word":
            if self.opens():
                sign, own = self.axes()
                exchanges.append(Exchange(sign, tuple(range(len(labels), len(labels) + len(own)))))
                labels += own
            else:
                (labels if is_axis(self.now.text) else determinants).append(self.now.text)
                self.place += 1
        if not labels and not determinants and not self.is_empty_side():
            raise _error("a tensor is missing; one without axes is written '()'", self.text, first)
        term = Term.of((*determinants, *labels))
        return Operand(term.labels, tuple(exchanges), term.written)

    def is_empty_side(self) -> bool:
        """Whether this side of the arrow is empty."""
        at_end = self.now.kind == "end" and self.tokens[self.place - 1].kind == "->"
        return at_end or (self.now.kind == "->" and self.place == 0)

    def inputs(self) -> tuple[tuple[Operand, ...], tuple[Exchange, ...]]:
        operands: list[Operand] = []
        exchanges: list[Exchange] = []
        while True:
            if self.opens() and self.groups_inputs():
                word = self.take("word", "expected 'sym' or 'alt'")
                self.take("(", "expected '('")
                start, begin = len(operands), self.now
                operands.append(self.tensor())
                while self.now.kind == ",":
                    self.place += 1
                    begin = self.now
                    operands.append(self.tensor())
                    if operands[-1] != operands[start]:
                        step = f"give {word.text}(...) tensors of one kind"
                        problem = f"{word.text!r} of inputs that differ"
                        raise _error(problem, self.text, begin, f"{operands[start]}", step)
                self.take(")", "a ')' is missing, or something is in its place")
                exchanges.append(Exchange(SIGNS[word.text], tuple(range(start, len(operands)))))
            else:
                operands.append(self.tensor())
            if self.now.kind != ",":
                return tuple(operands), tuple(exchanges)
            self.place += 1


def parse_multilinear(text: str) -> tuple[tuple[Operand, ...], Operand, tuple[Exchange, ...]]:
    """Parse the signature of a multilinear map into inputs, output, and exchanges of inputs.

    Raises:
        SignatureError: if the text cannot be read; a caret marks the position.

    Example:
        >>> inputs, output, exchanges = parse_multilinear("sym(x, x), y -> alt(x x) y")
        >>> [str(operand) for operand in inputs], str(output), exchanges
        (['x', 'x', 'y'], 'alt(x x) y', (Exchange(sign=1, members=(0, 1)),))
    """
    reader = _Reader(line_of(text, "the signature", '"inputs -> output"'))
    inputs, exchanges = reader.inputs()
    reader.take("->", "expected ',' or '->'")
    if reader.opens() and reader.groups_inputs():
        raise _error("a second output", reader.text, reader.now, "one output", "make a space for each output")
    output = reader.tensor()
    if reader.now.kind == ",":
        raise _error("a second output", reader.text, reader.now, "one output", "make a space for each output")
    reader.take("end", "expected the end of the signature")
    return inputs, output, exchanges
