"""Diagrams as text and as values, and every error on the way in."""

import copy
import itertools
import pickle

import pytest
from exact import arrow, splits

from equikit import Diagram, DiagramError, Fixed, S, SignatureError, hom
from equikit.diagrams import HalfDiagram
from equikit.signatures import Term

SPACES = {
    **{f"{k}to{l}": (arrow(k, l), {"p": S}) for k, l in splits(5, 1)},
    "two": ("p q p -> q p", {"p": S, "q": S}),
    "words": ("node in -> node", {"node": S, "in": S}),
    "unicode": ("π узел -> π", {"π": S, "узел": S}),
    "scalar": ("->", {}),
}


@pytest.mark.parametrize(("text", "groups"), SPACES.values(), ids=SPACES)
def test_text_is_read_back(text, groups):
    for diagram in hom(text, groups=groups).diagrams:
        assert Diagram.parse(str(diagram)) == diagram
        assert eval(repr(diagram), {"Diagram": Diagram}) == diagram
        assert "\n" not in str(diagram)
        assert str(diagram) == str(diagram).strip()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p p->p:2' 1|1'", "p p -> p: 1 2' | 1'"),
        ("  p p -> p :  1'|2' 1  ", "p p -> p: 1 2' | 1'"),
        ("() -> ():", "() -> ():"),
        ("->:", "() -> ():"),
        ("p -> (): 1'", "p -> (): 1'"),
        ("-> p: 1", "() -> p: 1"),
        ("ﬁ -> fi: 1 1'", "fi -> fi: 1 1'"),
        (arrow(0, 11) + ": 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 11", None),
    ],
)
def test_text_is_made_canonical(text, shown):
    assert str(Diagram.parse(text)) == (text.replace(" -> ", "() -> ") if shown is None else shown)


TEXT_ERRORS = {
    "no-colon": ("p -> p 1 1'", DiagramError, "the text is not a diagram"),
    "no-arrow": ("p p: 1 | 2", DiagramError, "the text is not a diagram"),
    "empty": ("", DiagramError, "the text is not a diagram"),
    "int": (5, DiagramError, "the text is not a diagram"),
    "bytes": (b"p -> p: 1 1'", DiagramError, "the text is not a diagram"),
    "none": (None, DiagramError, "the text is not a diagram"),
    "zero": ("p -> p: 0 1'", DiagramError, "the diagram has no vertex '0'"),
    "too-large": ("p -> p: 1 2'", DiagramError, 'the diagram has no vertex "2\'"'),
    "word": ("p -> p: 1 p'", DiagramError, 'the diagram has no vertex "p\'"'),
    "negative": ("p -> p: -1 1'", DiagramError, "the diagram has no vertex '-1'"),
    "two-primes": ("p -> p: 1 1''", DiagramError, "the diagram has no vertex \"1''\""),
    "superscript": ("p -> p: ¹ 1'", DiagramError, "the diagram has no vertex '¹'"),
    "comma": ("p -> p: 1, 1'", DiagramError, "the diagram has no vertex '1,'"),
    "scalar-with-vertex": ("-> : 1", DiagramError, "the diagram has no vertex '1'"),
    "twice": ("p -> p: 1 1' | 1", DiagramError, "not a partition"),
    "missing": ("p -> p: 1", DiagramError, "not a partition"),
    "nothing": ("p -> p:", DiagramError, "not a partition"),
    "empty-block": ("p -> p: 1 | | 1'", DiagramError, "the diagram has an empty block"),
    "trailing-bar": ("p -> p: 1 1' |", DiagramError, "the diagram has an empty block"),
    "only-bar": ("-> : |", DiagramError, "the diagram has an empty block"),
    "mixed": ("p -> q: 1 1'", DiagramError, "a block joins axes with different labels"),
    "bad-label": ("p? -> p: 1 1'", SignatureError, "bad character"),
    "two-arrows": ("p -> p -> p: 1 1'", SignatureError, "does not belong in the labels"),
    "sum": ("p + p -> p: 1 1' 2'", SignatureError, "does not belong in the labels"),
}


@pytest.mark.parametrize(("text", "error", "problem"), TEXT_ERRORS.values(), ids=TEXT_ERRORS)
def test_text_errors(text, error, problem):
    with pytest.raises(error) as caught:
        Diagram.parse(text)
    lines = str(caught.value).split("\n")
    assert problem in lines[0]
    assert lines[-2].startswith("  expected:  ")
    assert lines[-1].startswith("  next step: ")


BUILD_ERRORS = {
    "short": (lambda: Diagram(("p",), ("p",), (0,)), "one block number for each vertex"),
    "long": (lambda: Diagram(("p",), (), (0, 1)), "one block number for each vertex"),
    "mixed": (lambda: Diagram(("p",), ("q",), (0, 0)), "a block joins axes with different labels"),
    "label-number": (lambda: Diagram((1,), (), (0,)), "a label of the diagram is not a word"),
    "label-list": (lambda: Diagram.identity([["p"]]), "a label of the diagram is not a word"),
    "label-two-words": (lambda: Diagram(("p q",), (), (0,)), "a label of the diagram is not a word"),
    "label-empty": (lambda: Diagram(("",), (), (0,)), "a label of the diagram is not a word"),
    "outside": (lambda: Diagram.from_blocks("p", "p", [(0, 2), (1,)]), "not a partition"),
    "negative": (lambda: Diagram.from_blocks("p", "p", [(0, -1)]), "not a partition"),
    "twice": (lambda: Diagram.from_blocks("p", "p", [(0, 1), (1,)]), "not a partition"),
    "twice-in-one": (lambda: Diagram.from_blocks("p", "p", [(0, 0), (1,)]), "not a partition"),
    "missing": (lambda: Diagram.from_blocks("p", "p", [(0,)]), "not a partition"),
    "nothing": (lambda: Diagram.from_blocks("p", "p", []), "not a partition"),
    "word": (lambda: Diagram.from_blocks("p", "p", [("0",), (1,)]), "not a partition"),
    "fraction": (lambda: Diagram.from_blocks("p", "p", [(0.5,), (1,)]), "not a partition"),
    "mixed-blocks": (lambda: Diagram.from_blocks("p", "q", [(0, 1)]), "a block joins axes with different labels"),
}


@pytest.mark.parametrize(("call", "problem"), BUILD_ERRORS.values(), ids=BUILD_ERRORS)
def test_build_errors(call, problem):
    with pytest.raises(DiagramError, match=problem) as caught:
        call()
    assert [line[:12].strip() for line in str(caught.value).split("\n")[1:]] == ["got:", "expected:", "next step:"]


def test_ways_to_build_one_diagram():
    expected = Diagram.parse("p p -> q p: 1 | 2 1' | 2'")
    assert Diagram(("q", "p"), ("p", "p"), (0, 1, 1, 2)) == expected
    assert Diagram(["q", "p"], ["p", "p"], [7, 3, 3, -1]) == expected
    assert Diagram("q p", "p p", range(0, 8, 2)) == Diagram.parse("p p -> q p: 1 | 2 | 1' | 2'")
    assert Diagram.from_blocks("q p", "p p", [(3,), (2, 1), (0,)]) == expected
    assert Diagram.from_blocks(iter(["q", "p"]), iter(["p", "p"]), iter([(3,), (2, 1), (0,)])) == expected
    assert Diagram.from_halves(*expected.halves) == expected
    assert Diagram.identity("p q") == Diagram.identity(["p", "q"]) == Diagram.parse("p q -> p q: 1 1' | 2 2'")
    assert Diagram.identity(["ﬁ"]) == Diagram.identity("fi") == Diagram.parse("ﬁ -> fi: 1 1'")
    assert Diagram.identity("node") == Diagram(("node",), ("node",), (0, 0))


def test_what_a_diagram_says_of_itself():
    diagram = Diagram.parse("p q p -> q p: 1 2' | 2 1' | 3'")
    assert (diagram.top, diagram.bottom) == (("q", "p"), ("p", "q", "p"))
    assert diagram.growth == (0, 1, 1, 0, 2)
    assert diagram.order == 5
    assert diagram.labels == ("q", "p", "p", "q", "p")
    assert diagram.blocks == ((0, 3), (1, 2), (4,))
    assert diagram.block_labels == ("q", "p", "p")
    assert diagram.num_wires == 2
    top, bottom, wires = diagram.halves
    assert top == HalfDiagram(("q", "p"), (0, 1), (0, 1))
    assert bottom == HalfDiagram(("p", "q", "p"), (0, 1, 2), (0, 1))
    assert top.core == bottom.core == ("p", "q")
    assert (top.wires, bottom.wires, wires) == ((1, 0), (0, 1), (0, 1))
    assert (top.closed, bottom.closed) == ((), (2,))


VALUES = {
    "diagram": Diagram.parse("p p -> p: 1 1' | 2'"),
    "half": HalfDiagram(("p", "p"), (0, 1), (1,)),
    "composite": Diagram.identity("p") @ Diagram.identity("p"),
    "term": Term("a", ("p", "p")),
    "space": hom("p i -> p", p=S, i=Fixed(2)),
    "bound-space": hom("p + () -> p", p=S(3)),
    "signature": hom("p p -> p", p=S(2)).signature,
    "diagrams": hom("p p -> p", p=S(2)).diagrams,
    "core": hom("p p -> p", p=S(2)).diagrams.cores[0],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_are_frozen_hashable_and_picklable(value):
    name = next(iter(type(value).__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(value, name, None)
    with pytest.raises((AttributeError, TypeError)):
        value.other = 1
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        assert str(twin) == str(value)
    assert value != "something else"


def test_diagrams_are_ordered_across_spaces():
    diagrams = [d for text in ("p -> p", "p p -> p", "q -> q") for d in hom(text, groups={text[0]: S}).diagrams]
    assert len({*diagrams}) == len(diagrams)
    backwards = diagrams[::-1]
    assert sorted(backwards) == sorted(diagrams)
    for a, b in itertools.product(diagrams, repeat=2):
        assert (a < b) + (a == b) + (a > b) == 1
        assert (a <= b) == (not a > b)
    with pytest.raises(TypeError):
        _ = diagrams[0] < "p"
    with pytest.raises(TypeError):
        _ = diagrams[0] >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p -> p: 1", "vertex 1' in no block"),
        ("p -> p: 1 1' | 1'", "vertex 1' twice"),
        ("p -> p: 1 1 | 1'", "vertex 1 twice"),
    ],
)
def test_errors_of_the_text_form_use_its_numbers(text, message):
    with pytest.raises(DiagramError, match=message):
        Diagram.parse(text)


@pytest.mark.parametrize(
    "make",
    [lambda: Diagram("p", "p", 5), lambda: Diagram.identity(5), lambda: Diagram.from_blocks("p", "p", [0, 0])],
)
def test_what_is_no_list_is_refused(make):
    with pytest.raises(DiagramError):
        make()
