"""The signature parser: what it reads, and where its errors point."""

import pytest

import equikit as ek
from equikit import Diagram, Fixed, S, SignatureError, Sp, hom
from equikit.signatures import Term, parse_signature


def caret_error(call) -> tuple[str, str, str]:
    """The first line of the error, and the text above and the place of the carets."""
    with pytest.raises(SignatureError) as caught:
        call()
    lines = str(caught.value).split("\n")
    assert len(lines) == 5, lines
    assert set(lines[2].strip()) == {"^"}
    assert lines[3].startswith("  expected:  ")
    assert lines[4].startswith("  next step: ")
    return lines[0], lines[1][2:], lines[2][2:]


CARETS = {
    "bad-character": ("p p -> p?", "        ^", "bad character '?' in the signature"),
    "comma": ("p, p -> ?", "        ^", "bad character '?' in the signature"),
    "digit-first": ("2p -> p", "^", "bad character '2' in the signature"),
    "lone-minus": ("p - p", "  ^", "bad character '-' in the signature"),
    "spaced-arrow": ("p - > p", "  ^", "bad character '-' in the signature"),
    "half-parenthesis": ("( ) -> p", "^", "bad character '(' in the signature"),
    "emoji": ("p -> 🙂", "     ^", "bad character '🙂' in the signature"),
    "no-arrow": ("p p p", "     ^^", "no '->' in the signature"),
    "empty-text": ("", "^^", "no '->' in the signature"),
    "two-arrows": ("p -> p -> p", "       ^^", "a second '->' in the signature"),
    "three-arrows": ("p->p->p->p", "    ^^", "a second '->' in the signature"),
    "unbound": ("p p -> p q", "         ^", "label 'q' is not bound to a group"),
    "unbound-word": ("p node -> node", "  ^^^^", "label 'node' is not bound to a group"),
    "unbound-not-the-name": ("q: p + p: q -> p", "          ^", "label 'q' is not bound to a group"),
    "unbound-in-the-middle-of-a-word": ("pq: p + q -> p", "        ^", "label 'q' is not bound to a group"),
    "duplicate-input": ("p + p p +  p -> p", "           ^", "two input terms have the name 'p'"),
    "duplicate-output": ("p -> p + p p + p p", "               ^", "two output terms have the name 'p p'"),
    "duplicate-by-name": ("a: p + a: p p -> p", "       ^", "two input terms have the name 'a'"),
    "duplicate-name-and-label": ("p: p p + p -> p", "         ^", "two input terms have the name 'p'"),
    "duplicate-empty": ("() + () -> p", "     ^", "two input terms have the name ''"),
    "duplicate-blank": ("p + + -> p", "     ^", "two input terms have the name ''"),
    "colon-first": (": p -> p", "^", "a ':' must follow one name, at the start of a term"),
    "colon-after-two-words": ("p p: p -> p", "   ^", "a ':' must follow one name, at the start of a term"),
    "colon-twice": ("a: b: p -> p", "    ^", "a ':' must follow one name, at the start of a term"),
    "colon-after-empty": ("(): p -> p", "  ^", "a ':' must follow one name, at the start of a term"),
    "colon-after-plus": ("p + : p -> p", "    ^", "a ':' must follow one name, at the start of a term"),
    "empty-after-label": ("p () -> p", "  ^^", "'()' stands for a term without axes and must be alone in it"),
    "label-after-empty": ("() p -> p", "   ^", "'()' stands for a term without axes and must be alone in it"),
    "empty-twice": ("p -> () ()", "        ^^", "'()' stands for a term without axes and must be alone in it"),
    "empty-in-named": ("a: p () -> p", "     ^^", "'()' stands for a term without axes and must be alone in it"),
}


@pytest.mark.parametrize(("text", "carets", "problem"), CARETS.values(), ids=CARETS)
def test_caret(text, carets, problem):
    assert caret_error(lambda: hom(text, p=S)) == (problem, text, carets)


def test_commas_in_a_signature_of_linear_maps_have_a_step():
    with pytest.raises(SignatureError, match="commas separate the inputs of multilinear maps; here '\\+'") as error:
        ek.audit(lambda x: x["a"] * x["b"], "p, p -> p", p=S(3), channels=1)
    assert '"a: p + b: p -> p", for a dictionary' in error.value.step
    assert ek.audit(lambda x: x["a"] * x["b"], "a: p + b: p -> p", p=S(3), channels=1).passed


@pytest.mark.parametrize("space", ["\t", "\n", "\u00a0", "\u2003"], ids=["tab", "newline", "no-break", "em"])
def test_white_space_does_not_move_the_caret(space):
    _, shown, carets = caret_error(lambda: hom(f"p{space}p -> p !", p=S))
    assert shown == "p p -> p !"
    assert shown[carets.index("^")] == "!"
    assert caret_error(lambda: hom(f"p{space}-> q", p=S))[1:] == ("p -> q", "     ^")


@pytest.mark.parametrize(
    ("inputs", "outputs", "shown", "under"),
    [
        ("p q", "p", "p q -> p", "q"),
        ("p", "p + p q", "p -> p + p q", "q"),
        ({"layer.0": "p"}, {"out p": "p q"}, "layer.0: p -> out p: p q", "q"),
        ({"a": "", "": "node"}, "p", "a: () + : node -> p", "node"),
    ],
    ids=["texts", "second-term", "names-that-are-not-words", "empty-name"],
)
def test_caret_where_the_sides_are_given_apart(inputs, outputs, shown, under):
    problem, text, carets = caret_error(lambda: hom(inputs, outputs, p=S))
    assert (problem, text) == (f"label {under!r} is not bound to a group", shown)
    start = carets.index("^")
    assert text[start : start + carets.count("^")] == under


def test_an_arrow_in_one_side():
    problem, text, carets = caret_error(lambda: hom("p -> p", "p", p=S))
    assert (problem, text, carets) == ("an arrow in the input terms", "p -> p", "  ^^")
    assert caret_error(lambda: hom("p", "p -> p", p=S))[0] == "an arrow in the output terms"


@pytest.mark.parametrize("labels", ["p + p", "a: p", "p -> p", "p ()"])
def test_the_labels_of_one_term_hold_nothing_else(labels):
    assert caret_error(lambda: hom({"a": labels}, "p", p=S))[0].endswith("does not belong in the labels of one term")


PLAIN = {
    "not-text": (lambda: hom(5), "the signature is not a text", "5"),
    "bytes": (lambda: hom(b"p -> p", p=S), "the signature is not a text", "b'p -> p'"),
    "bytes-output": (lambda: hom("p", b"p", p=S), "the list of output terms is not a text", "b'p'"),
    "bytes-row": (lambda: ek.Diagram(b"p", "p", (0, 0)), "the row of labels is not a text", "b'p'"),
    "bytes-label": (lambda: hom("p -> p", groups={b"p": S}), "a label is not a text", "b'p'"),
    "none": (lambda: hom(None), "the signature is not a text", "None"),
    "list": (lambda: hom(["p", "p"], "p", p=S), "the list of input terms is not a text", "['p', 'p']"),
    "output-not-text": (lambda: hom("p", 5, p=S), "the list of output terms is not a text", "5"),
    "labels-not-text": (lambda: hom({"a": ("p", 16)}, "p", p=S), "the row of labels is not a text", "('p', 16)"),
    "name-not-text": (lambda: hom({1: "p"}, "p", p=S), "the name of an input term is not a text", "1"),
    "name-none": (lambda: hom("p", {None: "p"}, p=S), "the name of an output term is not a text", "None"),
    "no-outputs": (lambda: hom({"a": "p"}, p=S), "the output terms are missing", "only {'a': 'p'}"),
    "unused": (lambda: hom("p -> p", p=S, q=S), "no axis has the label 'q'", "q=S for 'p -> p'"),
    "unused-in-groups": (lambda: hom("p -> p", p=S, groups={"in": S(3)}), "no axis has the label 'in'", "in=S(3)"),
    "unused-no-labels": (lambda: hom("->", p=S), "no axis has the label 'p'", "p=S for '->'"),
    "a-name-is-no-label": (lambda: hom("a: p -> p", p=S, a=S), "no axis has the label 'a'", "a=S"),
    "bound-twice": (lambda: hom("p -> p", groups={"p": S(4)}, p=S), "label 'p' is bound twice", "S(4) and "),
    "bound-twice-NFKC": (lambda: hom("fi -> fi", groups={"ﬁ": S, "fi": S}), "label 'fi' is bound twice", "S and "),
    "int": (lambda: hom("p -> p", p=5), "label 'p' is bound to something that is not a group", "5"),
    "bool": (lambda: hom("p -> p", p=True), "label 'p' is bound to something that is not a group", "True"),
    "none-bound": (lambda: hom("p -> p", p=None), "label 'p' is bound to something that is not a group", "None"),
    "abstract": (lambda: hom("p -> p", p=ek.groups.Group), "label 'p' is bound to something that is not a group", ""),
    "fixed-without-size": (lambda: hom("p -> p", p=Fixed), "label 'p' is bound to something that is not a group", ""),
    "groups-not-a-dictionary": (lambda: hom("groups -> ", groups=S), "groups= is not a dictionary", ""),
    "label-not-text": (lambda: hom("p -> p", groups={1: S}), "a label is not a text", "1"),
}


@pytest.mark.parametrize(("call", "problem", "got"), PLAIN.values(), ids=PLAIN)
def test_plain_errors(call, problem, got):
    with pytest.raises(SignatureError) as caught:
        call()
    lines = str(caught.value).split("\n")
    assert lines[0] == problem
    assert lines[1].startswith(f"  got:       {got}")
    assert lines[2].startswith("  expected:  ")
    assert lines[3].startswith("  next step: ")
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("what", "step"), [(5, "bind p=ek.S(5), or p=ek.Fixed(5)"), (True, "bind p=ek.S"), ("S", "bind p=ek.S")]
)
def test_the_step_after_a_wrong_binding(what, step):
    with pytest.raises(SignatureError, match="next step") as caught:
        hom("p -> p", p=what)
    assert str(caught.value).endswith(f"next step: {step}")


@pytest.mark.parametrize(
    ("label", "step"),
    [("q", "add q=ek.S"), ("in", 'add groups={"in": ek.S}'), ("π", 'add groups={"π": ek.S}')],
)
def test_the_step_after_an_unbound_label_is_valid_python(label, step):
    with pytest.raises(SignatureError, match="not bound") as caught:
        hom(f"{label} -> {label}")
    assert str(caught.value).endswith(f"next step: {step}")


@pytest.mark.parametrize("term", ["x~", "det(x)"])
def test_the_step_after_an_unbound_determinant_is_a_group_that_has_one(term):
    with pytest.raises(SignatureError, match="not bound") as caught:
        hom(f"{term} -> {term}")
    assert str(caught.value).endswith("next step: add x=ek.O(3)")
    assert hom(f"{term} -> {term}", x=ek.O(3)).dim == 1


@pytest.mark.parametrize("label", ["in", "lambda", "class", "None", "def", "groups", "self", "signature", "_", "p1"])
def test_any_word_is_a_label_through_groups(label):
    space = hom(f"{label} {label} -> {label}", groups={label: S(4)})
    assert space.dim == 5
    assert [ek.Diagram.parse(str(d)) for d in space.diagrams] == list(space.diagrams)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("π", "π"),
        ("узел", "узел"),
        ("節点", "節点"),
        ("ﬁ", "fi"),
        ("e\u0301", "é"),
        ("𝐩", "p"),
        ("ａ", "a"),
        ("ſ", "s"),
    ],
    ids=["greek", "cyrillic", "han", "ligature", "combining", "bold", "wide", "long-s"],
)
def test_unicode_labels_are_normalized_as_python_does(written, label):
    for space in (
        hom(f"{written} -> {written}", groups={written: S}),
        hom(f"{written} -> {label}", groups={label: S}),
        hom(f"{label} -> {written}", **{written: S}),
        hom({"x": written}, {"y": label}, groups={written: S}),
    ):
        assert [name for name, _ in space.signature.bindings] == [label]
        assert {label} == {x for term in (*space.signature.inputs, *space.signature.outputs) for x in term.labels}
        assert space.dim == 2


def test_the_caret_under_a_normalized_label_is_as_long_as_what_was_written():
    assert caret_error(lambda: hom("p ﬁ -> p", p=S)) == ("label 'fi' is not bound to a group", "p ﬁ -> p", "  ^")


def test_python_normalizes_keywords_so_they_meet():
    assert hom("ﬁ -> fi", ﬁ=S).dim == 2


TEXTS = {
    "plain": ("p p -> p", "p p -> p"),
    "tight": ("p p->p", "p p -> p"),
    "loose": ("  p \n p\t->  p  ", "p p -> p"),
    "to-scalar": ("p ->", "p -> ()"),
    "from-scalar": ("-> p", "() -> p"),
    "scalars": ("->", "() -> ()"),
    "explicit-scalars": ("() -> ()", "() -> ()"),
    "sum": ("p p + p -> p + ()", "p p + p -> p + ()"),
    "blank-term": ("p + -> p", "p + () -> p"),
    "names": ("edges: p p + nodes: p -> x: ()", "edges: p p + nodes: p -> x: ()"),
    "blank-named": ("a: -> b:p", "a: () -> b: p"),
    "name-equal-to-label": ("p: p -> p", "p -> p"),
    "name-of-another-label": ("q: p + p: q -> p", "q: p + p: q -> p"),
    "two-labels": ("p q p -> q", "p q p -> q"),
    "keyword": ("in -> in", "in -> in"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_text_is_read_and_written_back(text, shown):
    labels = {"p", "q", "in"} & set(text.replace(":", " : ").split())
    labels -= {name for name in ("q", "in") if f"{name}:" in text and text.count(name) == 1}
    signature = parse_signature(text, groups=dict.fromkeys(labels, S))
    assert str(signature) == shown
    assert parse_signature(shown, groups=dict.fromkeys(labels, S)) == signature
    assert hash(parse_signature(shown, groups=dict.fromkeys(labels, S))) == hash(signature)


def test_three_forms_of_one_signature():
    text = hom("edges: p p + nodes: p -> p + ()", p=S)
    sides = hom("edges: p p + nodes: p", "p + ()", p=S)
    dicts = hom({"edges": "p p", "nodes": "p"}, {"p": "p", "": ""}, p=S)
    mixed = hom({"edges": "p p", "nodes": "p"}, "p + ()", groups={"p": S()})
    assert text == sides == dicts == mixed
    assert text.signature.inputs == (Term("edges", ("p", "p")), Term("nodes", ("p",)))
    assert text.signature.outputs == (Term("p", ("p",)), Term("", ()))
    assert [pair.dim for pair in text.pairs] == [5, 2, 2, 1]
    assert text.dim == 10


def test_names_that_text_cannot_hold_are_kept():
    space = hom({"layer.0.weight": "p p"}, {"out put": "p"}, p=S)
    assert [term.name for term in (*space.signature.inputs, *space.signature.outputs)] == ["layer.0.weight", "out put"]


@pytest.mark.parametrize("what", [S, S()], ids=["class", "instance"])
def test_the_class_is_the_free_group(what):
    assert hom("p -> p", p=what) == hom("p -> p", p=S)


def test_flip_of_a_signature():
    signature = hom("a: p p -> b: p", p=S).signature
    assert str(signature.flip()) == "b: p -> a: p p"
    assert signature.flip().flip() == signature


@pytest.mark.parametrize("outputs", ["p + q", "q + p"])
def test_the_caret_stands_right_where_there_are_no_inputs(outputs):
    with pytest.raises(SignatureError) as error:
        hom({}, outputs, p=S)
    line, carets = str(error.value).split("\n")[1:3]
    assert line[carets.index("^")] == "q"


@pytest.mark.parametrize(
    "call",
    [
        lambda: Diagram.parse("x x -> (): 1' 2'", y=Sp(2)),
        lambda: Diagram.parse("x x -> (): 1' 2'", groups={"x": Sp, "y": Sp}),
        lambda: Diagram.identity("x x", y=Sp(2)),
    ],
)
def test_a_diagram_refuses_a_group_for_a_label_that_no_axis_has(call):
    with pytest.raises(SignatureError, match="no axis has the label 'y'"):
        call()
    assert Diagram.parse("x x -> (): 1' 2'", x=Sp(2)).matrix(2).tolist() == [[0, 1, -1, 0]]
