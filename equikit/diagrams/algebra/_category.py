"""The category of diagrams: composition with its scalar, tensor product, transposition.

`matrix` is a functor: `A.matrix(n) @ B.matrix(n)` is `n**loops` times the matrix of the composed diagram, where the
loops are the blocks in the middle row that join to neither side.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

from equikit._checks import refuse_if_more
from equikit._errors import DiagramError
from equikit.diagrams._dense import refuse_elements
from equikit.diagrams._diagram import Diagram
from equikit.diagrams.algebra._combination import Combination, Stack, combine
from equikit.diagrams.algebra._composite import Composite
from equikit.diagrams.algebra._forms import edges, symplectic_sign
from equikit.diagrams.counting._growth import join
from equikit.signatures import base

MOST_PRODUCTS = 20_000
"""The most products of diagrams for which sums are multiplied; more would take more than a few seconds."""

Product = Diagram | Composite | Combination
"""The types of products, and of values that can be multiplied."""


def _check_diagrams(verb: str, *operands: object) -> None:
    for operand in operands:
        if not isinstance(operand, Product):
            raise DiagramError(
                f"only diagrams can be {verb}",
                got=repr(operand),
                expected="diagrams, or products of diagrams",
                step="make one with Diagram.parse, or take one from space.diagrams",
            )


def terms_of(product: Product) -> tuple[Composite, ...]:
    """Return a product as a sum of diagrams with scalars."""
    return (Composite(product, ()),) if isinstance(product, Diagram) else product.terms


def _distributed(
    operation: Callable[..., Product], rows: tuple[tuple[str, ...], tuple[str, ...]], *operands: Product
) -> Composite | Combination:
    """Apply an operation on diagrams to sums of diagrams with scalars; `rows` are the rows of the result."""
    terms: list[Composite] = []
    count, step = math.prod(len(terms_of(operand)) for operand in operands), "multiply the matrices, diagram.matrix(n)"
    refuse_if_more("the product of sums of diagrams has too many terms", count, MOST_PRODUCTS, "products", step)
    single = not any(isinstance(operand, Combination) for operand in operands)
    for choice in itertools.product(*map(terms_of, operands)):
        result = operation(*(term.diagram for term in choice))
        single = single and not isinstance(result, Combination)
        for term in terms_of(result):
            loops = Counter[str]()
            for part in (*choice, term):
                loops.update(dict(part.loops))
            coefficient = math.prod(part.coefficient for part in (*choice, term))
            terms.append(Composite(term.diagram, tuple(sorted(loops.items())), coefficient))
    return terms[0] if single else Combination.of(*rows, terms)


def rows_of(product: Product) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of the top row and of the bottom row."""
    holder = product.diagram if isinstance(product, Composite) else product
    return holder.top, holder.bottom


def compose(after: Product, before: Product) -> Composite | Combination:
    """Stack `after` on `before`: the map that applies `before` first.

    Args:
        after: a diagram whose bottom row has the labels of the top row of `before`; products are composed term by term.
        before: the diagram applied first.

    Returns:
        The composed diagram, with its loops; a combination of diagrams if one of the two has a Levi-Civita tensor.

    Raises:
        DiagramError: if the rows to be joined have different labels, or one of the two is not a diagram.

    Cost: linear in the number of vertices.

    Example:
        >>> cup_cap = Diagram.parse("p p -> p p: 1 2 | 1' 2'")
        >>> print(compose(cup_cap, cup_cap))
        n * (p p -> p p: 1 2 | 1' 2')
    """
    _check_diagrams("composed", after, before)
    if not (isinstance(after, Diagram) and isinstance(before, Diagram)):
        if rows_of(after)[1] != rows_of(before)[0]:
            raise _not_composable(after, before)
        return _distributed(compose, (rows_of(after)[0], rows_of(before)[1]), after, before)
    refuse_elements("composition", after, before)
    if after.bottom != before.top or _contradict(after, before):
        raise _not_composable(after, before)
    tops, middles, bottoms = len(after.top), len(after.bottom), len(before.bottom)
    # Vertices of the stack: top row, middle row, bottom row. Vertices outside a diagram get blocks of their own.
    upper = (*after.growth, *range(after.order, after.order + bottoms))
    lower = (*range(-tops, 0), *before.growth)
    block = join(upper, lower)
    outer = {*block[:tops], *block[tops + middles :]}
    labels = after.labels
    loops = Counter({b: base(labels[b]) for b in block[tops : tops + middles] if b not in outer}.values())
    growth = (*block[:tops], *block[tops + middles :])
    forms = dict(after.forms) | dict(before.forms)
    turned = {label for label, form in forms.items() if form.kind == "symplectic"}
    upward, downward = range(tops + middles), range(tops, tops + before.order)
    sign = symplectic_sign([*edges(after, turned, upward), *edges(before, turned, downward)])
    if after.heads or before.heads:
        rows = range(tops), range(tops + middles, tops + middles + bottoms)
        operands = (after, upward), (before, downward)
        return combine(Stack.of(operands, block, (*labels, *before.bottom), *rows), forms, sign)
    result = Diagram(after.top, before.bottom, growth, tuple(forms.items()))
    return Composite(result, tuple(sorted(loops.items())), sign)


def _not_composable(after: Product, before: Product) -> DiagramError:
    return DiagramError(
        "the diagrams cannot be composed",
        got=f"{after} after {before}",
        expected="the bottom row of the first to have the labels, and forms, of the top row of the second",
        step="flip or permute one of them",
    )


def _contradict(first: Diagram, second: Diagram) -> bool:
    """Whether a label that both diagrams have carries different forms in them."""
    one, other = dict(first.forms), dict(second.forms)
    return any(one.get(label) != other.get(label) for label in {*first.labels} & {*second.labels})


def tensor(left: Product, right: Product) -> Product:
    """Put two diagrams side by side: the Kronecker product of the maps.

    With Levi-Civita tensors the result is a combination of diagrams.

    Example:
        >>> one = Diagram.identity("p")
        >>> tensor(one, one) == Diagram.identity("p p")
        True
    """
    _check_diagrams("put side by side", left, right)
    if not (isinstance(left, Diagram) and isinstance(right, Diagram)):
        (upper, lower), (more, rest) = rows_of(left), rows_of(right)
        return _distributed(tensor, (upper + more, lower + rest), left, right)
    refuse_elements("the tensor product", left, right)
    offset = left.order
    split, other = len(left.top), len(right.top)
    shifted = tuple(block + offset for block in right.growth)
    growth = (*left.growth[:split], *shifted[:other], *left.growth[split:], *shifted[other:])
    if _contradict(left, right):
        raise DiagramError(
            "one label has different forms in the two diagrams",
            got=f"{left!r} and {right!r}",
            expected="one form for each label",
            step="give the axes different labels",
        )
    if left.heads or right.heads:
        blocks, labels = (*left.growth, *shifted), left.labels + right.labels
        top = (*range(split), *range(offset, offset + other))
        bottom = (*range(split, offset), *range(offset + other, offset + right.order))
        operands = (left, range(offset)), (right, range(offset, offset + right.order))
        return combine(Stack.of(operands, blocks, labels, top, bottom), dict(left.forms) | dict(right.forms))
    return Diagram(left.top + right.top, left.bottom + right.bottom, growth, left.forms + right.forms)


def flip(diagram: Product) -> Product:
    """Turn a diagram upside down: the transposed map.

    With Levi-Civita tensors the result is a combination of one diagram with its sign.

    Example:
        >>> print(flip(Diagram.parse("p p -> p: 1 1' | 2'")))
        p -> p p: 1 1' | 2
    """
    _check_diagrams("turned upside down", diagram)
    if not isinstance(diagram, Diagram):
        return _distributed(flip, rows_of(diagram)[::-1], diagram)
    refuse_elements("the flip", diagram)
    split = len(diagram.top)
    if diagram.heads:
        forms = dict(diagram.forms)
        lowered = sum(forms[label].negative for label, _, _ in diagram.heads if label in forms)
        rows = range(split, diagram.order), range(split)
        stack = Stack.of([(diagram, range(diagram.order))], diagram.growth, diagram.labels, *rows)
        return combine(stack, forms, (-1) ** lowered)
    return Diagram(diagram.bottom, diagram.top, diagram.growth[split:] + diagram.growth[:split], diagram.forms)
