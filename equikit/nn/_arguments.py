"""Parse the arguments of layers: a signature string, feature dictionaries, or a space returned by `hom`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from equikit import _keywords
from equikit._errors import SignatureError
from equikit._keywords import Call
from equikit.diagrams import HomSpace, MultilinearSpace
from equikit.groups import Loopless, S
from equikit.nn._features import Features, features_of, read_features
from equikit.plans import Channels, Widths, channel_pair, per_term
from equikit.signatures import Signature, Term, bind, parse_arrow, parse_side, parse_term

Space = HomSpace | MultilinearSpace
"""The spaces that `hom` returns; layers take them in place of a signature with groups."""

KINDS = {HomSpace: ("linear", "ek.nn.Linear"), MultilinearSpace: ("multilinear", "ek.nn.Multilinear")}
"""For each type of space, the name of its maps and the layer that takes it."""

SpaceType = TypeVar("SpaceType", HomSpace, MultilinearSpace)


@dataclass(frozen=True, slots=True)
class Typed:
    """A signature with the channels of every term."""

    signature: Signature
    channels: Widths


def space_of(
    signature: object,
    kind: type[SpaceType],
    groups: Mapping[str, object] | None,
    keywords: Mapping[str, object],
    call: Call,
) -> SpaceType | None:
    """Return the space passed in place of a signature and groups, or `None` if the argument is not a space.

    Raises:
        SignatureError: if the space has maps of another kind, or groups are given as well.
        OptionError: if a keyword is a misspelled option.
    """
    if not isinstance(signature, Space):
        return None
    if not isinstance(signature, kind):
        maps, layer = KINDS[type(signature)]
        raise SignatureError(
            f"{call.name} does not have the maps of a {maps} space",
            got=signature,
            expected=f"a {KINDS[kind][0]} space",
            step=f"use {layer}, which takes this space",
        )
    labels = dict(signature.signature.bindings)
    _keywords.refuse_misspelled(call, keywords, labels)
    extra = [*keywords, *(["groups"] if groups is not None else [])]
    if extra:
        raise SignatureError(
            "a space already has its groups",
            got=f"{signature} and {extra[0]}=",
            expected="a space alone, or a signature with its groups",
            step=f"remove {extra[0]}=",
        )
    return signature


def sides_of(
    inputs: Features | Space,
    outputs: Features | tuple[Channels, Channels],
    groups: Mapping[str, object] | None,
    keywords: Mapping[str, object],
    call: Call,
) -> tuple[Features, Features, Mapping[str, object] | None]:
    """Return input features, output features and groups, from two dictionaries or from a space and its channels.

    Raises:
        SignatureError, ShapeError, OptionError: as in `space_of`, or if the channels do not fit the space.
    """
    space = space_of(inputs, HomSpace, groups, keywords, call)
    if space is None:
        return inputs, outputs, groups  # type: ignore[return-value]  # `read_features` rejects other types
    sums = space.signature
    wide, narrow = channel_pair(outputs, sums.inputs, sums.outputs, "outputs")
    return features_of(sums.inputs, wide), features_of(sums.outputs, narrow), dict(sums.bindings)


def refuse_outputs(space: Space, inputs: tuple[Term, ...], words: tuple[str, ...], call: Call) -> None:
    """Raise `SignatureError` unless the space has these inputs and a single output with these words."""
    signature = space.signature
    if signature.inputs != inputs or [term.words for term in signature.outputs] != [words]:
        raise SignatureError(
            f"{call.name} does not lead from the inputs of the space to its outputs",
            got=space,
            expected=f"{' + '.join(map(str, inputs))} -> {' '.join(words) or '()'}",
            step="use ek.nn.Linear, which takes this space",
        )


def one_term(
    features: str | Space,
    groups: Mapping[str, object] | None,
    keywords: Mapping[str, object],
    call: Call,
    kept: Callable[[Signature, Term], tuple[str, ...]],
) -> Signature:
    """Return the signature of a layer on one term, from its labels and groups, or from a space.

    Args:
        features: labels, or a space from the term to the labels that `kept` returns.
        groups, keywords: the group of each label.
        call: the constructor of the layer.
        kept: function that returns the labels of the layer's output.

    Raises:
        SignatureError, OptionError: as in `space_of`, or if the space has another output.
    """
    space = space_of(features, HomSpace, groups, keywords, call)
    if space is None:
        term = parse_term(features)  # type: ignore[arg-type]  # it rejects other types
        return bind((term,), (), groups, keywords, call=call)
    terms = space.signature.inputs[:1]
    refuse_outputs(space, terms, kept(space.signature, terms[0]), call)
    return Signature(terms, (), space.signature.bindings)


def typed(
    signature: str | Features | Space,
    first: Channels | Features | None,
    second: Channels | None,
    groups: Mapping[str, object] | None,
    keywords: Mapping[str, object],
    call: Call,
) -> Typed:
    """Parse the arguments of a layer: a signature or space with input and output channels, or two dictionaries.

    Raises:
        SignatureError, ShapeError, OptionError: if they cannot be read.
    """
    space = space_of(signature, HomSpace, groups, keywords, call)
    if space is not None or isinstance(signature, str | bytes):  # parse_arrow rejects bytes
        if isinstance(first, Mapping) or first is None or second is None:
            what, example = ("a signature in one text", '"p p -> p p"') if space is None else ("a space", "space")
            raise SignatureError(
                f"{what} needs the channels of its inputs and outputs",
                got=f"{signature!r}, {first!r}, {second!r}",
                expected="two numbers (or tuples of numbers, where there are several terms)",
                step=f"write for example Linear({example}, 16, 32, {'p=ek.S, ' if space is None else ''}rngs=rngs)",
            )
        bound = None if space is None else space.signature
        inputs, outputs = (bound.inputs, bound.outputs) if bound else parse_arrow(signature)  # type: ignore[arg-type]
        channels = per_term(first, inputs, "input"), per_term(second, outputs, "output")
        bound = bound or bind(inputs, outputs, groups, keywords, signature, call=call)  # type: ignore[arg-type]
        return Typed(bound, channels)
    if not isinstance(signature, Mapping) or not isinstance(first, Mapping) or second is not None:
        raise SignatureError(
            "inputs and outputs must both be dictionaries",
            got=f"{signature!r} and {first!r}",
            expected='{"p p": 16, "p": 8}, {"p": 32} or {"name": ("p p", 16)}, {"other": ("p", 32)}',
            step="give one dictionary for the inputs and one for the outputs",
        )
    (inputs, wide), (outputs, narrow) = read_features(signature, "input"), read_features(first, "output")
    return Typed(bind(inputs, outputs, groups, keywords, call=call), (wide, narrow))


def typed_side(
    features: str | Features | Space, channels: Channels | None, what: str
) -> tuple[tuple[Term, ...], tuple[int, ...] | None]:
    """Read one side: a string or the inputs of a space, with separate channels, or a dictionary.

    The channels are `None` if they are not given.
    """
    if isinstance(features, str | bytes | Space):  # parse_side rejects bytes
        terms = features.signature.inputs if isinstance(features, Space) else parse_side(features, what)
        return terms, None if channels is None else per_term(channels, terms, what)
    if channels is not None and isinstance(features, Mapping):
        raise SignatureError(
            f"the {what} channels are given twice",
            got=f"{features!r} and {channels!r}",
            expected="a dictionary with the channels in it, or labels in one text with the channels apart",
            step="remove one of them, and pass later arguments by name, such as out_channels=10",
        )
    return read_features(features, what)


def without_loops(signature: Signature) -> Signature:
    """Return the signature without the maps that are zero where entries with two equal indices are absent.

    Raises:
        SignatureError: unless exactly one label, bound to S, has several axes in a term.
    """
    several = {
        label
        for term in (*signature.inputs, *signature.outputs)
        for label in term.labels
        if term.labels.count(label) > 1 and isinstance(signature.groups.get(label), S)
    }
    if len(several) != 1:
        raise SignatureError(
            "loops=False needs one label with several axes in a term, bound to S",
            got=f"{' and '.join(sorted(several)) or 'no such label'} in {signature}",
            expected='a signature such as "p p -> p p" with p=ek.S',
            step="leave loops out",
        )
    (label,) = several
    bound = {**dict(signature.bindings), label: Loopless(signature.groups[label].n)}
    return Signature(signature.inputs, signature.outputs, tuple(bound.items()))
