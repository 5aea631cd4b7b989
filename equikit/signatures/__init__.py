"""Signatures: the group on each axis, parsed from strings or dictionaries."""

from equikit.signatures._multilinear_parse import (
    MULTILINEAR as MULTILINEAR,
    Exchange as Exchange,
    Operand as Operand,
    is_multilinear as is_multilinear,
    parse_multilinear as parse_multilinear,
)
from equikit.signatures._parse import (
    ANY as ANY,
    HasGroup as HasGroup,
    bind as bind,
    binding_text as binding_text,
    bindings as bindings,
    given_bindings as given_bindings,
    is_keyword as is_keyword,
    parse_arrow as parse_arrow,
    parse_labels as parse_labels,
    parse_side as parse_side,
    parse_signature,
    parse_term as parse_term,
    refuse_unused as refuse_unused,
    word_of as word_of,
)
from equikit.signatures._signature import (
    Signature,
    Term,
    base as base,
    is_axis as is_axis,
    normalized as normalized,
    without_mark as without_mark,
)

__all__ = ["Signature", "Term", "parse_signature"]
