"""Read the features of an attention layer, and which of their labels is the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from equikit._errors import OptionError, SignatureError
from equikit._keywords import Call, refuse_misspelled
from equikit.groups import Group
from equikit.nn._features import Features, read_features
from equikit.nn.attention._kinds import Kind, PointSet, dual, kinds_of, name_of, reached, set_label
from equikit.nn.attention._points import space_label
from equikit.signatures import Signature, Term, base, bind, given_bindings


@dataclass(frozen=True, slots=True)
class Parts:
    """The features that an attention layer takes and returns.

    Attributes:
        signature: all features with the groups of their labels.
        queries: the features of queries.
        keys: the features of the context, or `None` if keys are the queries.
        pairs: the terms of pairs and their channels.
        outputs: the output features.
        space: the label of the axis of space, or `None` if the layer has no points.
    """

    signature: Signature
    queries: PointSet
    keys: PointSet | None
    pairs: tuple[tuple[Term, ...], tuple[int, ...]]
    outputs: PointSet
    space: str | None

    @property
    def other_set(self) -> bool:
        """Whether keys are other points than queries."""
        return self.keys is not None and self.keys.label != self.queries.label

    @property
    def key_set(self) -> PointSet:
        """The features of keys and values."""
        return self.keys or self.queries

    def terms(self) -> tuple[tuple[Term, ...], tuple[int | None, ...]]:
        """Return a term for each array, with different names, and its channels."""
        terms, widths = [*self.queries.terms], [*self.queries.widths]
        if self.keys is not None:
            terms += [renamed(term, f"context {term.name}".rstrip()) for term in self.keys.terms]
            widths += self.keys.widths
        terms += [renamed(term, f"pairs {term.name}") for term in self.pairs[0]]
        places = [] if self.space is None else [Term("positions", (self.queries.label, self.space))]
        if self.space is not None and self.other_set:
            places.append(Term("context_positions", (self.key_set.label, self.space)))
        return (*terms, *places), (*widths, *self.pairs[1], *[None] * len(places))


def renamed(term: Term, name: str) -> Term:
    """Return a term with another name."""
    return Term(name, term.labels, term.written)


def read_parts(
    inputs: Features,
    outputs: Features,
    context: Features | None,
    pairs: Features | None,
    points: int,
    groups: Mapping[str, object] | None,
    bindings: Mapping[str, object],
    call: Call,
) -> Parts:
    """Read the features of a layer.

    Raises:
        SignatureError: if they cannot be read, or are not features of the points of sets and of their pairs.
        OptionError: if `points` are asked for and the axis of space is not known.
    """
    sources, wide = read_features(inputs, "input")
    targets, narrow = read_features(outputs, "output")
    others, deep = ((), ()) if context is None else read_features(context, "context")
    joint, few = ((), ()) if pairs is None else read_features(pairs, "pair")
    own = [renamed(term, f"context {term.name}".rstrip()) for term in others]
    terms = (*sources, *own, *(renamed(term, f"pairs {term.name}") for term in joint))
    used = {base(label) for term in (*terms, *targets) for label in term.used}
    extra: tuple[Term, ...] = ()
    if points:
        # All features may be invariant, but positions have an axis of space.
        refuse_misspelled(call, bindings, used)
        bound = given_bindings(groups, bindings)
        spatial = [label for label, what in bound.items() if label not in used and isinstance(what, Group | type)]
        extra = (Term("positions", tuple(spatial[:1])),)
    signature = bind((*terms, *extra), targets, groups, bindings, call=call)
    queries = PointSet(sources, wide, set_label(signature, sources, "input"))
    keys = PointSet(others, deep, set_label(signature, others, "context")) if others else None
    results = PointSet(targets, narrow, set_label(signature, targets, "output", queries.label))
    label = queries.label if keys is None else keys.label
    for term in joint:
        if term.words != (queries.label, label):
            raise SignatureError(
                "the features of pairs are not invariants of a query and a key",
                got=str(term),
                expected=f'the labels "{queries.label} {label}": the set of the queries, then the set of the keys',
                step=f'write pairs={{"{queries.label} {label}": 4}}',
            )
    space = space_label(signature) if points else None
    return Parts(signature, queries, keys, (joint, few), results, space)


def channels_of(parts: Parts, heads: int, given: Features | None) -> dict[Kind, int]:
    """Return the channels of queries, keys and values of each kind, all heads together.

    Raises:
        SignatureError, OptionError: if the given kinds cannot be read, or channels are not divisible by the heads.
    """
    if given is None:
        found: dict[Kind, int] = {}
        for term, width in zip(parts.key_set.alone, parts.key_set.widths, strict=True):
            found[term.words] = found.get(term.words, 0) + width
        return {kind: max(-(-width // heads), 1) * heads for kind, width in found.items()}
    terms, widths = read_features(given, "qkv")
    known = dict(parts.signature.bindings)
    for term in terms:
        if not known.keys() >= {base(label) for label in term.used}:
            raise useless_kind(term.words, [term.words for term in terms])
    used = {base(label) for term in terms for label in term.used}
    bind(terms, (), {label: what for label, what in known.items() if label in used}, {})  # raises for wrong marks
    for term, width in zip(terms, widths, strict=True):
        if width % heads or not width:
            raise OptionError(
                f"the qkv channels of {term.name!r} cannot be divided among the heads",
                got=f"{width} channels, heads={heads}",
                expected=f"a multiple of {heads}",
                step=f'write qkv_features={{"{term.name}": {max(-(-width // heads), 1) * heads}}}',
            )
    return {term.words: width for term, width in zip(terms, widths, strict=True)}


def used_kinds(
    parts: Parts, kinds: tuple[Kind, ...], *, products: bool, chosen: bool
) -> tuple[tuple[Kind, ...], tuple[Kind, ...]]:
    """Return the kinds of queries and keys, and the kinds of values.

    Queries have a kind if a linear map leads to its dual, and keys and values if one leads to it. Values have the kinds
    from which a linear map leads to an output, or all kinds if they are multiplied. Kinds that the user has chosen are
    not left out.

    Raises:
        SignatureError: if no product of a query and a key is invariant, or a chosen kind is of no use.
    """
    signature, found = parts.signature, reached(parts.signature, parts.key_set.alone, kinds)
    duals = {dual(signature, kind): kind for kind in found}
    scored = tuple(duals[kind] for kind in reached(signature, parts.queries.alone, tuple(duals)))
    if not scored:
        one, other = parts.queries, parts.key_set
        raise SignatureError(
            "no product of a query and a key is invariant",
            got=f"queries {', '.join(map(str, one.terms))} and keys {', '.join(map(str, other.terms))}",
            expected="features with an invariant bilinear map, as vectors and dual vectors of GL",
            step=f'add an invariant of each point, such as {{"{one.label}": 8}}',
        )
    targets = kinds_of(parts.outputs.features)
    valued = tuple(kind for kind in found if products or reached(signature, [Term.of(kind)], targets))
    if not valued:
        raise unreached_output(parts.outputs.terms[0].name, found)
    unused = [kind for kind in kinds if kind not in scored + valued]
    if chosen and unused:
        raise useless_kind(unused[0], kinds)
    return scored, valued


def useless_kind(kind: Kind, kinds: Sequence[Kind]) -> SignatureError:
    """Return the error for a chosen kind that no query, key or value can have."""
    return SignatureError(
        f"neither scores nor values can have the kind {name_of(kind)!r}",
        got=", ".join(name_of(each) or "()" for each in kinds),
        expected="kinds that linear maps of a point reach, and that reach an output or have an invariant product",
        step=f"remove {name_of(kind)!r} from qkv_features",
    )


def unreached_output(name: str, values: Sequence[Kind]) -> SignatureError:
    """Return the error for an output that no value reaches."""
    return SignatureError(
        f"no value reaches the output {name!r}",
        got=f"values of the kinds {', '.join(name_of(kind) or '()' for kind in values)}",
        expected="a linear map but zero from a value to every output",
        step=f"remove {name!r} from the outputs, or write products=8",
    )
