"""Parse a signature and bind its labels to groups; errors point at the position in the text.

    signature:  terms '->' terms
    terms:      term ('+' term)*
    term:       [name ':'] ((label ['~'] | 'det(' label ')')* | '()')

Labels and names are words: Python identifiers, including keywords and Unicode letters. A star right after a label
denotes the dual. A tilde right after a label multiplies the whole term by the determinant of the element that acts on
the label: `"x~"` is an axial vector, and the two factors of `"x~ x~"` cancel. `"det(x)"` is such a factor without an
axis; alone it is a pseudoscalar. It is not written with a tilde, because a tilde needs a label, and `"x~0"` would look
like an axis.
"""

from __future__ import annotations

import inspect
import itertools
import keyword
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from equikit._checks import shown
from equikit._errors import Place, SignatureError, UnboundLabelError
from equikit._keywords import Call, refuse_misspelled
from equikit.groups import Dual, Fixed, Group
from equikit.signatures._signature import MARK, Signature, Term, base, determinant_of, is_axis, without_mark

DETERMINANT = re.compile(r"\bdet\s*\(\s*([^\W\d]\w*)\s*\)")
"""A determinant without an axis."""

EXAMPLE = 'write for example "p p -> p"'
GRAMMAR = "words separated by spaces, '+' between terms, ':' after a name, '()' for no axes, and one '->'"


ANY = Call("the function", frozenset(), frozenset({"groups"}))
"""A call without options, for checked bindings."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token: a word (kind `"word"`), a symbol (its text is its kind), or the end (kind `"end"`)."""

    kind: str
    text: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Grammar:
    """The grammar of one kind of signature.

    Attributes:
        symbols: the symbols; a symbol comes before its prefixes.
        words: the grammar in one line, for error messages.
        example: a next step for error messages.
        refused: maps an invalid character to a problem, an expectation and a next step.
    """

    symbols: tuple[str, ...]
    words: str
    example: str
    refused: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


LOOSE_MARK = (
    f"{MARK!r} without a label right before it",
    "a label with the mark of a determinant, or a determinant alone",
    'write for example "x~", or "det(x)" for a pseudoscalar',
)

COMMA = (
    "commas separate the inputs of multilinear maps; here '+' separates inputs",
    GRAMMAR,
    'write for example "a: p + b: p -> p", for a dictionary of inputs',
)

LINEAR = Grammar(("->", "()", "+", ":"), GRAMMAR, EXAMPLE, {MARK: LOOSE_MARK, ",": COMMA})


def tokens_of(text: str, grammar: Grammar = LINEAR) -> Iterator[Token]:
    """Split text into words and the symbols of a grammar.

    Raises:
        SignatureError: at an invalid character.
    """
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
            continue
        symbol = next((s for s in grammar.symbols if text.startswith(s, position)), None)
        if symbol is not None:
            yield Token(symbol, symbol, position, len(symbol))
            position += len(symbol)
            continue
        determinant = DETERMINANT.match(text, position)
        if determinant is not None:
            label = unicodedata.normalize("NFKC", determinant[1])
            yield Token("word", f"det({label})", position, len(determinant[0]))
            position = determinant.end()
            continue
        end = position
        while end < len(text) and text[position : end + 1].isidentifier():
            end += 1
        if end == position:
            usual = f"bad character {character!r} in the signature", grammar.words, grammar.example
            problem, expected, step = grammar.refused.get(character, usual)
            raise SignatureError(problem, at=Place(text, position), expected=expected, step=step)
        if text.startswith("*", end):  # the dual
            end += 1
        if text.startswith(MARK, end):
            end += 1
        # Python normalizes keyword arguments to NFKC, so labels must be normalized to match them.
        yield Token("word", unicodedata.normalize("NFKC", text[position:end]), position, end - position)
        position = end
    yield Token("end", "", len(text), 1)


def _terms(text: str, tokens: list[Token], what: str) -> tuple[Term, ...]:
    """Parse the terms of one side, from tokens without an arrow."""
    terms: list[Term] = []
    start: list[int] = []
    name: str | None = None
    words: list[str] = []
    empty = False

    def finish() -> None:
        nonlocal name, words, empty
        terms.append(Term.of(words, name))
        name, words, empty = None, [], False

    for i, token in enumerate(tokens):
        if i == 0 or tokens[i - 1].kind == "+":
            start.append(token.start)
        if token.kind == "+":
            finish()
        elif token.kind == ":":
            if name is not None or len(words) != 1 or empty or determinant_of(words[0]) is not None:
                problem = "a ':' must follow one name, at the start of a term"
                raise SignatureError(problem, at=Place(text, token.start), expected=GRAMMAR, step=EXAMPLE)
            name, words = words[0], []
        elif empty or (token.kind == "()" and words):
            problem = "'()' stands for a term without axes and must be alone in it"
            raise SignatureError(problem, at=Place(text, token.start, len(token.text)), expected=GRAMMAR, step=EXAMPLE)
        elif token.kind == "()":
            empty = True
        else:
            words.append(token.text)
    finish()
    start.append(tokens[-1].start + 1 if tokens else 0)  # for a last term without tokens
    for i, term in enumerate(terms):
        if term.name in (t.name for t in terms[:i]):
            problem = f"two {what} terms have the name {term.name!r}"
            raise SignatureError(
                problem, at=Place(text, start[i]), expected="different names", step='name them: "a: p p + b: p p -> p"'
            )
    return tuple(terms)


def line_of(text: object, what: str, expected: str) -> str:
    """Replace each whitespace character by a space, so that carets have the right position."""
    if not isinstance(text, str):
        step = f"write {text.decode()!r}" if isinstance(text, bytes) and text.isascii() else EXAMPLE
        raise SignatureError(f"{what} is not a text", got=shown(text), expected=expected, step=step)
    return "".join(" " if character.isspace() else character for character in text)


def word_of(wrong: object) -> str:
    """Return a word that error messages suggest in place of an invalid value."""
    word = wrong.decode() if isinstance(wrong, bytes) and wrong.isascii() else str(wrong)
    return word if word.isidentifier() else "p"


def parse_arrow(text: str) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """Split `"p p + p -> p"` into input and output terms."""
    text = line_of(text, "the signature", '"inputs -> outputs"')
    tokens = list(tokens_of(text))
    arrows = [i for i, token in enumerate(tokens) if token.kind == "->"]
    if len(arrows) != 1:
        place = tokens[arrows[1]] if arrows else tokens[-1]
        problem = "a second '->' in the signature" if arrows else "no '->' in the signature"
        raise SignatureError(problem, at=Place(text, place.start, 2), expected=GRAMMAR, step=EXAMPLE)
    (arrow,) = arrows
    return _terms(text, tokens[:arrow], "input"), _terms(text, tokens[arrow + 1 : -1], "output")


def parse_labels(text: str) -> tuple[str, ...]:
    """Parse the labels of a row of a diagram, `"p p"`."""
    words = _words(text)
    marked = next((word for word in words if determinant_of(word) is not None), None)
    if marked is not None:
        raise SignatureError(
            "rows of diagrams have no determinants",
            got=repr(text),
            expected="labels separated by spaces",
            step=f"leave {marked if not is_axis(marked) else MARK} out",
        )
    return words


def parse_term(text: str, name: str | None = None) -> Term:
    """Parse one term, `"p p"`; by default its words are its name."""
    return Term.of(_words(text), name)


def _words(text: str) -> tuple[str, ...]:
    text = line_of(text, "the row of labels", '"p p"')
    tokens = list(tokens_of(text))[:-1]
    bad = next((t for t in tokens if t.kind not in ("word", "()") or (t.kind == "()" and len(tokens) > 1)), None)
    if bad is not None:
        problem = f"{bad.text!r} does not belong in the labels of one term"
        raise SignatureError(
            problem, at=Place(text, bad.start, len(bad.text)), expected="labels separated by spaces", step='write "p p"'
        )
    return tuple(token.text for token in tokens if token.kind == "word")


def parse_side(terms: str | Mapping[str, str], what: str) -> tuple[Term, ...]:
    """Parse one side of a signature: `"p p + p"`, or a dictionary from name to labels."""
    if not isinstance(terms, Mapping):
        terms = line_of(terms, f"the list of {what} terms", "labels, or a dictionary from name to labels")
        tokens = list(tokens_of(terms))[:-1]
        arrow = next((t for t in tokens if t.kind == "->"), None)
        if arrow is not None:
            problem = f"an arrow in the {what} terms"
            step = "give the whole signature in one text, or both sides without an arrow"
            raise SignatureError(problem, at=Place(terms, arrow.start, 2), expected="terms only", step=step)
        return _terms(terms, tokens, what)
    names: list[object] = list(terms)
    for wrong in (name for name in names if not isinstance(name, str)):
        problem = f"the name of an {what} term is not a text"
        raise SignatureError(problem, got=shown(wrong), expected="a text", step=f'name it "{word_of(wrong)}"')
    return tuple(parse_term(words, name) for name, words in terms.items())


@runtime_checkable
class HasGroup(Protocol):
    """A result that stands for a group, such as a subgroup in a lattice or what an audit or a search has found."""

    def __group__(self) -> Group:
        """Return the group that a label is bound to."""
        ...


def _binding(label: str, what: object) -> Group | Fixed:
    if isinstance(what, Dual):
        raise SignatureError(
            f"label {label!r} is bound to a dual",
            got=what,
            expected="the group itself",
            step=f"bind {label} to the group itself, and write {label}* for the dual",
        )
    if isinstance(what, Group | Fixed):
        return what
    if isinstance(what, Mapping) and label in what:  # such as the kept groups of an audit
        return _binding(label, what[label])
    if isinstance(what, HasGroup):
        return _binding(label, what.__group__())
    if isinstance(what, type) and issubclass(what, Group) and what is not Group:
        return _free(label, what)
    sized = type(what) is int and what >= 0
    fixed = f", or {binding_text(label, f'ek.Fixed({what})')}" if sized else ""
    raise SignatureError(
        f"label {label!r} is bound to something that is not a group",
        got=repr(what),
        expected="a group such as S(5), a free group such as S, or Fixed(size)",
        step=f"bind {binding_text(label, f'ek.S({what})' if sized else 'ek.S')}{fixed}",
    )


def _free(label: str, family: type[Group]) -> Group:
    """Return the free group of a family, which its class denotes."""
    try:
        inspect.signature(family).bind()
    except TypeError:
        arguments = ", ".join(inspect.signature(family).parameters)
        raise SignatureError(
            f"label {label!r} is bound to a family that has no free group",
            got=family.__name__,
            expected=f"one of its groups: {family.__name__}({arguments})",
            step=f"bind {label} to a group of the family, with its arguments",
        ) from None
    return family()


def _shown(what: object) -> str:
    """Return the text of a value that a label is bound to."""
    return what.__name__ if isinstance(what, type) else str(what)


def given_bindings(groups: Mapping[str, object] | None, keywords: Mapping[str, object]) -> dict[str, object]:
    """Return the value for each label, from a dictionary, from keywords, or from both."""
    found: dict[str, object] = {}
    if groups is not None and not isinstance(groups, Mapping):
        raise SignatureError(
            "groups= is not a dictionary",
            got=repr(groups),
            expected="a dictionary from label to group",
            step='write groups={"p": ek.S}; a label that is named groups is bound so too',
        )
    for source in (groups or {}), keywords:
        for raw, what in source.items():
            if not isinstance(raw, str):
                raise SignatureError(
                    "a label is not a text", got=shown(raw), expected="a text", step=f'write "{word_of(raw)}"'
                )
            label = unicodedata.normalize("NFKC", raw)
            if label in found:
                raise SignatureError(
                    f"label {label!r} is bound twice",
                    got=f"{_shown(found[label])} and {_shown(what)}",
                    expected="one binding for each label",
                    step="give it in groups= or as a keyword, not both",
                )
            found[label] = what
    return found


def bindings(groups: Mapping[str, object] | None, keywords: Mapping[str, object]) -> dict[str, Group | Fixed]:
    """Return the group of each label, from a dictionary, from keywords, or from both."""
    return {label: _binding(label, what) for label, what in given_bindings(groups, keywords).items()}


def bind(
    inputs: tuple[Term, ...],
    outputs: tuple[Term, ...],
    groups: Mapping[str, object] | None,
    keywords: Mapping[str, object],
    text: str | None = None,
    *,
    grammar: Grammar = LINEAR,
    call: Call = ANY,
) -> Signature:
    """Bind every label of the terms to a group, from a dictionary, from keywords, or from both.

    Args:
        inputs, outputs: the terms.
        groups, keywords: the group of each label.
        text: the source text of the terms; errors point into it.
        grammar: the grammar of `text`.
        call: the function that received the keywords.

    Raises:
        OptionError: if a keyword is a misspelled option or label.
        SignatureError: if a label is not bound or bound twice, or a binding has no label.
    """
    bare = Signature(inputs, outputs, ())
    shown = str(bare) if text is None else line_of(text, "the signature", '"inputs -> outputs"')
    written = {label for term in (*inputs, *outputs) for label in term.used}
    labels = {base(label) for label in written}

    def place_of(label: str) -> Place:
        label = label if label in written else f"{label}*"
        return Place(shown, *(_place_in(bare, label) if text is None else _place(shown, label, grammar)))

    given = given_bindings(groups, keywords)
    refuse_misspelled(call, [unicodedata.normalize("NFKC", name) for name in keywords], labels)
    for label in sorted(labels - given.keys()):
        turned = any(label in term.determinants for term in (*inputs, *outputs))
        named = text is None and len(label) > 1 and any(term.name == label for term in (*inputs, *outputs))
        other = f', or give the feature labels, as in {{"{label}": ("p p", 1)}}' if named else ""
        acted_on = any(base(used) == label for term in inputs for used in term.used)
        usual = "ek.S" if acted_on else "ek.Fixed(3)"  # an axis of the output alone is often a list, such as classes
        family = "ek.GL" if f"{label}*" in written else "ek.O(3)" if turned else usual
        raise UnboundLabelError(
            f"label {label!r} is not bound to a group",
            label=label,
            at=place_of(label),
            expected="every label bound to a group, or to Fixed(size) where nothing acts",
            step=f"add {binding_text(label, family, call)}{other}",
        )
    refuse_unused(given, labels, shown)
    bound = {label: _binding(label, what) for label, what in sorted(given.items())}
    for label in sorted(written - labels):
        what = bound[base(label)]
        if isinstance(what, Fixed) or not what.has_dual:
            raise SignatureError(
                f"{what}, which is bound to {base(label)!r}, has no dual of its own",
                at=place_of(label),
                expected="a star on a label of U, GL or MatrixGroup",
                step=f"leave the star out: {base(label)}",
            )
    for label in sorted({label for term in (*inputs, *outputs) for label in term.determinants}):
        what = bound[label]
        if isinstance(what, Fixed) or not what.has_pseudotensors:
            raise SignatureError(
                f"{what}, which is bound to {label!r}, has no pseudotensors",
                at=place_of(label),
                expected="determinants of O(n) or O(p, q); in SO they are one",
                step=f"leave ~ and det({label}) out, or bind {binding_text(label, 'ek.O(3)', call)}",
            )
    signature = Signature(inputs, outputs, tuple(bound.items()))
    refuse_mixture(signature)
    return signature


def refuse_unused(bound: Mapping[str, object], labels: set[str], shown: str) -> None:
    """Raise `SignatureError` if a bound label is not used."""
    unused = sorted(bound.keys() - labels)
    if unused:
        raise SignatureError(
            f"no axis has the label {unused[0]!r}",
            got=f"{unused[0]}={_shown(bound[unused[0]])} for {shown!r}",
            expected=f"bindings for {', '.join(sorted(labels)) or 'no label at all'}",
            step="remove the binding, or correct the label",
        )


def refuse_mixture(signature: Signature) -> None:
    """Raise `SignatureError` if one group acts on complex vectors only, and another on real vectors only."""
    groups = signature.groups
    complexes = [label for label, group in groups.items() if group.is_complex]
    reals = [label for label, group in groups.items() if group.is_real]
    if complexes and reals:
        one, other = complexes[0], reals[0]
        raise SignatureError(
            "the signature mixes real and complex vectors",
            got=f"{one}={groups[one]} and {other}={groups[other]} in {str(signature)!r}",
            expected="axes of complex groups with each other, or with axes that are permuted",
            step=f"bind {binding_text(other, 'ek.GL')}, whose axes may be complex, or use a second layer for real axes",
        )


def _place(text: str, label: str, grammar: Grammar) -> tuple[int, int]:
    """Return the position of a label in text, for the caret."""
    tokens = list(tokens_of(text, grammar))
    for token, following in itertools.pairwise(tokens):
        stands_for = without_mark(token.text), determinant_of(token.text)
        if token.kind == "word" and label in stands_for and following.kind not in (":", "("):
            return token.start, token.length
    raise AssertionError(f"{label!r} is not in {text!r}")


def _place_in(signature: Signature, label: str) -> tuple[int, int]:
    """Return the position of a label in the text of a signature, in which names need not be words."""
    position = 0 if signature.inputs else 4  # " -> "
    for term in (*signature.inputs, *signature.outputs):
        place = next((i for i, x in enumerate(term.words) if label in (without_mark(x), determinant_of(x))), None)
        if place is not None:
            before, word = term.words[:place], term.words[place]
            return position + len(str(term)) - len(term.text) + sum(len(x) + 1 for x in before), len(word)
        before_arrow = bool(signature.inputs) and term is signature.inputs[-1]
        position += len(str(term)) + (4 if before_arrow else 3)  # " -> " or " + "
    raise AssertionError(f"{label!r} is not in {str(signature)!r}")


def binding_text(label: str, group: str, call: Call = ANY) -> str:
    """Return the text that binds a label to a group in a call."""
    return f"{label}={group}" if is_keyword(label, call) else f'groups={{"{label}": {group}}}'


def is_keyword(label: str, call: Call) -> bool:
    """Whether a label can be a keyword in a call: it is ASCII, not a Python keyword, and not an argument."""
    return label.isascii() and not keyword.iskeyword(label) and label not in call.arguments


def parse_signature(
    signature: str | Mapping[str, str],
    outputs: str | Mapping[str, str] | None = None,
    *,
    groups: Mapping[str, object] | None = None,
    keywords: Mapping[str, object] | None = None,
    call: Call = ANY,
) -> Signature:
    """Parse a signature: one string with an arrow, or two sides as strings or dictionaries."""
    if outputs is None:
        if isinstance(signature, Mapping):
            raise SignatureError(
                "the output terms are missing",
                got=f"only {dict(signature)}",
                expected="input terms and output terms",
                step="give the outputs as a second argument",
            )
        sides = parse_arrow(signature)
        return bind(*sides, groups, keywords or {}, signature, call=call)
    sides = parse_side(signature, "input"), parse_side(outputs, "output")
    return bind(*sides, groups, keywords or {}, call=call)
