"""FLOPs and bytes of a plan, step by step; with free sizes they are polynomials in n."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from equikit import _checks
from equikit.diagrams import HalfDiagram, HomSpace, size_symbols
from equikit.plans._ir import Contraction, MultilinearPlan, Plan, Product, Stages, Step
from equikit.plans._weights import checked_plan
from equikit.plans.compilation._contractions import equation, letter_sizes
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.costs._products import Tally, count_contraction
from equikit.plans.costs._rows import INDEX, Rows

ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table of a plan.

    Attributes:
        stage: `"reduce"`, `"mix"` or `"expand"`.
        operation: the name of the operation.
        source, result: the half diagrams before and after, in einsum notation.
        shape: the shape of the result.
        flops: floating-point operations; a multiply-add counts two.
        bytes: bytes read and written, if every step goes through memory.
    """

    stage: str
    operation: str
    source: str
    result: str
    shape: tuple[Any, ...]
    flops: Any
    bytes: Any


def total(lines: Sequence[Line]) -> tuple[Any, Any]:
    """Return FLOPs and bytes of all lines together, expanded if they are polynomials."""
    sums = [sum(line.flops for line in lines), sum(line.bytes for line in lines)]
    flops, moved = (value.expand() if hasattr(value, "expand") else value for value in sums)
    return flops, moved


def _letter(block: int) -> str:
    return chr(ord("i") + block) if block < 18 else f"<{block}>"


def half_text(half: HalfDiagram, upwards: bool = False) -> str:
    """Write a half diagram in einsum notation: `ij->i` for a sum over the second axis, `i->ij` for a broadcast."""
    letters = [_letter(block) for block in range(half.size)]
    axes = "".join(letters[block] for block in half.growth)
    core = "".join(letters[block] for block in half.wires)
    for head in half.heads:  # in brackets the legs in this row, or the number of legs in the other row
        core += f"[{head.axes}]" if head.applied else f"[{''.join(letters[block] for block in head.blocks)}]"
    return f"{core}->{axes}" if upwards else f"{axes}->{core}"


class Name(NamedTuple):
    """The text of a step in the table, which is also the scope of the step's operations in programs."""

    stage: str
    operation: str
    source: str
    result: str

    @property
    def scope(self) -> str:
        """The name in profiles and in compiled programs."""
        return f"{self.stage}: {self.operation}, {self.source} to {self.result}"


def step_name(plan: Stages, step: Step, *, upwards: bool) -> Name:
    """Return the name of a reduction, or of an expansion, which is read upwards."""
    terms = plan.signature.outputs if upwards else plan.signature.inputs
    prefix = f"{terms[step.term].name or '()'}: " if len(terms) > 1 else ""
    large, small = (prefix + half_text(half, upwards) for half in (step.large, step.small))
    operation: str = step.operation
    if operation == "head":
        operation = "Levi-Civita" if step.small.heads[-1].applied else "transpose"
    elif upwards:
        operation = "broadcast" if operation == "sum" else "embed"
    elif operation == "sum":
        operation = plan.normalize
    return Name("expand", operation, small, large) if upwards else Name("reduce", operation, large, small)


def product_sizes(plan: Stages, product: Product) -> tuple[int, int]:
    """Return the rows and columns of the matrix of a product, without the copies for its wirings."""
    width, height = (
        sum(len(halves) * f for halves, f in zip(side, features, strict=True))
        for side, features in zip((product.inputs, product.outputs), plan.features, strict=True)
    )
    for kind in product.tensors:  # axes of groups without diagrams are folded into the matrix
        n = plan.signature.sizes[kind.label]
        assert n is not None
        width, height = width * n**kind.below, height * n**kind.above
    return width, height


def product_name(plan: Stages, product: Product) -> Name:
    """Return the name of a product: the size of its matrix, and the numbers of half diagrams."""
    (width, height), before, after = product_sizes(plan, product), len(product.wires_in), len(product.wires_out)
    halves_in, halves_out = (sum(map(len, side)) for side in (product.inputs, product.outputs))
    operation = f"product {width * before} x {height * after}"
    return Name("mix", operation, _counted(halves_in, "input", before), _counted(halves_out, "output", after))


def contraction_name(contraction: Contraction, operands: int) -> Name:
    """Return the name of a contraction: the letters of the inputs and of the result."""
    *inputs, kept = ("".join(map(_letter, own)) or "()" for own in (*contraction.letters, contraction.kept))
    heads = [f"[{''.join(map(_letter, head.letters))}]" for head in contraction.heads]
    source = ", ".join([*inputs, *heads, *(["tensors"] if contraction.held else [])])
    (halves,) = contraction.outputs
    return Name("mix", f"contract {operands}", source, f"{kept}, {_counted(len(halves), 'output', 1)}")


def plan_sizes(plan: Stages, n: int | Mapping[str, int] | None) -> dict[str, Any]:
    """Return the size of every label on which a group acts: bound, given, or a SymPy symbol."""
    sizes = {label: plan.signature.sizes[label] for label in plan.signature.groups}
    free = tuple(label for label, size in sizes.items() if size is None)
    given: dict[str, Any] = dict(size_symbols(free)) if n is None else dict(HomSpace(plan.signature).sizes(n))
    return {label: given[label] if size is None else size for label, size in sizes.items()}


def plan_cost(
    plan: Stages,
    *,
    batch: int = 1,
    n: int | Mapping[str, int] | None = None,
    itemsize: int = ITEMSIZE,
    rows: Rows | None = None,
) -> Iterator[Line]:
    """Yield the lines of a plan.

    Args:
        plan: the plan.
        batch: number of entries of all batch axes together.
        n: size of the free labels, or a dictionary from label to size; symbols by default.
        itemsize: bytes of a number.
        rows: numbers of rows of a support, whose indices are read too.
    """
    if not isinstance(plan, MultilinearPlan):
        checked_plan(plan)
    sizes, batch = plan_sizes(plan, n), _checks.count("batch", batch)
    itemsize = _checks.count("itemsize", itemsize, least=1, example=ITEMSIZE)

    def axes(core: Sequence[str]) -> tuple[Any, ...]:
        if rows is None:
            return (batch, *(sizes[label] for label in core))
        return (batch, rows.of(core), *(sizes[label] for label in core if label != rows.label))

    def shape(half: HalfDiagram, width: int) -> tuple[Any, ...]:
        return (*axes(half.core), width)

    def indices(step: Step, *, small: bool) -> int:
        """Return the bytes of the indices of a step along the support."""
        if rows is None or step.operation == "head" or step.large.core[step.axes[0]] != rows.label:
            return 0
        return INDEX * rows.of((step.small if small else step.large).core)

    def contracted(step: Step, result: Any, legs: int) -> Any:
        """Return the FLOPs of a head: zero if axes are only transposed."""
        head = step.small.heads[-1]
        return 2 * result * sizes[head.label] ** legs if head.applied else 0

    def reduction(step: Step, width: int) -> Line:
        large, small = math.prod(shape(step.large, width)), math.prod(shape(step.small, width))
        read, flops = (small, 0) if step.operation == "diagonal" else (large, large)
        if step.operation == "head":
            flops = contracted(step, small, len(step.axes))
        name = step_name(plan, step, upwards=False)
        moved = itemsize * (read + small) + indices(step, small=step.operation == "diagonal")
        return Line(*name, shape(step.small, width), flops, moved)

    def expansion(step: Step, width: int) -> Line:
        large, small = math.prod(shape(step.large, width)), math.prod(shape(step.small, width))
        flops = large + (contracted(step, large, step.small.heads[-1].axes) if step.operation == "head" else 0)
        name = step_name(plan, step, upwards=True)
        moved = itemsize * (2 * large + small) + indices(step, small=False)
        return Line(*name, shape(step.large, width), flops, moved)

    features_in, features_out = plan.features
    yield from (reduction(step, features_in[step.term]) for step in plan.reductions)
    taken = Counter((step.term, step.small) for step in plan.expansions)
    taken += Counter((s, root(acted_labels(plan.signature, term))) for s, term in enumerate(plan.signature.outputs))
    tally = None if rows is None else Tally(rows, batch, itemsize)
    for product in plan.products:
        added = 0  # the width of all tensors that are added to an existing one
        for s, halves in enumerate(product.outputs):
            for half in halves:
                taken[s, half] -= 1
                added += features_out[s] if taken[s, half] < 0 else 0
        if isinstance(product, Contraction):
            assert isinstance(plan, MultilinearPlan)
            if tally is None:
                yield _contraction_line(plan, product, sizes, batch, added, itemsize)
            else:
                kept = [product.labels[letter] for letter in product.kept]
                yield _contraction_on_rows(plan, product, sizes, axes(kept), added, tally)
        else:
            line = _product_line(plan, product, axes(product.core), added, itemsize)
            turned = 0 if rows is None else len(product.wires_in) + len(product.wires_out) - 2
            yield replace(line, bytes=line.bytes + INDEX * turned * rows.of(product.core)) if rows and turned else line
    yield from (expansion(step, features_out[step.term]) for step in plan.expansions)


def _product_line(plan: Stages, product: Product, rows_shape: tuple[Any, ...], added: int, itemsize: int) -> Line:
    """Return the cost of a product: its matrix, its inputs and results, and copies permuted by wirings.

    `added` features of the result are then added to results of other products.
    """
    width, height = product_sizes(plan, product)
    added *= math.prod((plan.signature.sizes[kind.label] or 0) ** kind.above for kind in product.tensors)
    rows, before, after = math.prod(rows_shape), len(product.wires_in), len(product.wires_out)
    inner, outer = width * before, height * after
    moved = rows * (inner + outer + 3 * added) + inner * outer
    if product.permutes_in:  # permuted copies are written, then read by the product
        moved += rows * (width + inner)
    if product.permutes_out:  # the parts of the result are read, permuted and added
        moved += rows * (outer + height)
    flops = 2 * rows * inner * outer + rows * added
    return Line(*product_name(plan, product), (*rows_shape, height), flops, itemsize * moved)


def _counted(halves: int, side: str, wirings: int) -> str:
    text = f"{halves} {side}{'s' if halves != 1 else ''}"
    return f"{text}, {wirings} ways" if wirings > 1 else text


def _contraction_line(
    plan: MultilinearPlan, contraction: Contraction, sizes: Mapping[str, Any], batch: int, added: int, itemsize: int
) -> Line:
    """Return the cost of a contraction: its pairwise products, and the addition of its results.

    The order is the best one at the given sizes, where symbolic sizes count as one.
    """
    plain = equation(plan, contraction, sizes, batch)
    width = dict(enumerate(letter_sizes(plan, contraction, sizes, batch)))
    left, flops, moved = [*plain.operands], 0, 0
    for i, j, made in plain.order:
        pair = left[i], left[j]
        flops += 2 * math.prod(width[letter] for letter in {*pair[0], *pair[1]})
        moved += sum(math.prod(width[letter] for letter in letters) for letters in (*pair, made))
        left = [*left[:i], *left[i + 1 : j], *left[j + 1 :], made]
    rows = (batch, *(sizes[contraction.labels[letter]] for letter in contraction.kept))
    (narrow,), (halves,) = plan.features[1], contraction.outputs
    weighted = narrow * len(halves) if plan.mode == "channelwise" and not contraction.held else 0
    flops += math.prod(rows) * (added + weighted)
    moved += math.prod(rows) * (3 * added + 2 * weighted)
    name = contraction_name(contraction, len(plain.operands))
    return Line(*name, (*rows, narrow), flops, itemsize * moved)


def _contraction_on_rows(
    plan: MultilinearPlan,
    contraction: Contraction,
    sizes: Mapping[str, Any],
    shape: tuple[Any, ...],
    added: int,
    tally: Tally,
) -> Line:
    """Return the cost of a contraction on a support, and of the addition of its results of this shape."""
    before = tally.flops, tally.bytes
    count_contraction(plan, contraction, sizes, tally)
    (narrow,), (halves,) = plan.features[1], contraction.outputs
    weighted = narrow * len(halves) if plan.mode == "channelwise" and not contraction.held else 0
    flops = tally.flops - before[0] + math.prod(shape) * (added + weighted)
    moved = tally.bytes - before[1] + tally.itemsize * math.prod(shape) * (3 * added + 2 * weighted)
    return Line(*contraction_name(contraction, len(contraction.halves)), (*shape, narrow), flops, moved)


def kept_bytes(plan: Plan, batch: int, sizes: Mapping[str, int], itemsize: int) -> tuple[int, int]:
    """Return the bytes of the inputs and outputs, and of all tensors between them: a bound on memory.

    Expansions count nothing, because they are added as they are made.
    """
    signature = plan.signature

    def entries(labels: Sequence[str], width: int) -> int:
        return batch * math.prod(sizes[label] for label in labels) * width

    tensors = sum(
        entries([label for label in term.labels if label in signature.groups], width)
        for terms, widths in zip((signature.inputs, signature.outputs), plan.features, strict=True)
        for term, width in zip(terms, widths, strict=True)
    )
    between = sum(entries(step.small.core, plan.features[0][step.term]) for step in plan.reductions)
    for product in plan.products:
        width, height = product_sizes(plan, product)
        copied = any(product.inputs) and (product.permutes_in or sum(map(len, product.inputs)) > 1)
        between += entries(product.core, copied * width * len(product.wires_in) + height * len(product.wires_out))
    return itemsize * tensors, itemsize * between
