"""Run the plan of multilinear maps on a support: the steps of linear plans, and contractions between them.

`_schedule.py` says in which order a contraction is summed over nodes, `_factors.py` multiplies and adds. For means the
result is divided once, by the number of products that were added: the same contraction of the numbers of entries.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jax import lax

from equikit.diagrams import HalfDiagram
from equikit.plans._ir import Contraction, MultilinearPlan
from equikit.plans._options import RunOptions
from equikit.plans.compilation._contractions import Letters, einsum_letters, letter_sizes
from equikit.plans.compilation._row_contraction import Factor
from equikit.plans.costs._cost import contraction_name
from equikit.plans.execution._arrays import broadcast, wide
from equikit.plans.execution._contract import constants_of, lowered
from equikit.plans.execution._execute import Tensors
from equikit.plans.execution._steps import scaled
from equikit.plans.sparse._factors import Contracted, Nodes, ProductWalk
from equikit.plans.sparse._halves import restricted
from equikit.plans.sparse._schedule import Schedule, by_frame, frame_of, planned_sums
from equikit.plans.sparse._symmetrized import symmetrized_rows
from equikit.plans.sparse._walk import walk_of
from equikit.supports import Support

Parts = Iterator[tuple[tuple[int, HalfDiagram], jax.Array]]


@dataclass(frozen=True, eq=False)
class _Products:
    """The contractions of one call.

    Attributes:
        walk: the steps around them.
        plan: the plan.
        weights: of the plan.
        down: the tensors of all input half diagrams.
    """

    walk: ProductWalk
    plan: MultilinearPlan
    weights: jax.Array
    down: Tensors
    nodes: Nodes
    counted: Nodes
    _counts: dict[object, jax.Array] = field(default_factory=dict)

    @property
    def _label(self) -> str:
        return self.walk.support.label

    def parts(self) -> Parts:
        """Yield a tensor for every use of every contraction."""
        for contraction in self.plan.products:
            sums = planned_sums(self.plan, contraction, self._label)
            assert sums is not None
            for frame, own in by_frame(contraction, sums, self._label):
                yield from self._placed(own, sums, frame)

    def _placed(self, contraction: Contraction, sums: Schedule, rows: Letters) -> Parts:
        """Yield the tensors of some uses of a contraction, which is computed on the tuples of these nodes."""
        y, plan = self._contracted(contraction, sums, rows), self.plan
        others = [letter for letter in contraction.kept if letter not in rows]
        apart = not contraction.held and plan.mode == "full"
        for i, use in enumerate(contraction.uses[: 1 if contraction.held else None]):
            part = lax.index_in_dim(y, i, y.ndim - 2, keepdims=False) if apart else y
            if not contraction.held and not apart:
                weight = lax.index_in_dim(self.weights, use.element, keepdims=False) * use.coefficient
                part = part * broadcast(weight.astype(part.dtype), part.shape)
            part = self.nodes.spread(Factor(rows, (), part), frame_of(contraction, use, self._label))
            letters = [contraction.kept[axis] for axis in use.axes]
            order = [1 + others.index(letter) for letter in letters if letter in others]
            part = part.transpose(0, *order, part.ndim - 1)
            yield (
                (0, use.half),
                jnp.expand_dims(part, [1 + i for i, letter in enumerate(letters) if letter not in others]),
            )

    def _contracted(self, contraction: Contraction, sums: Schedule, rows: Letters) -> jax.Array:
        """Return the result of a contraction, `[rows, *other letters, elements, features]`."""
        walk, plan, sizes = self.walk, self.plan, self.walk.shapes.sizes
        names, result = einsum_letters(plan, contraction)
        row, count = len(contraction.labels), len(contraction.halves)
        known = tuple(int(size) for size in letter_sizes(plan, contraction, sizes, 1))
        factors = [self._factor(contraction, t, names[t]) for t in range(count)]
        constants = zip(names[count:], constants_of(plan, contraction, self.weights, sizes), strict=True)
        made = Contracted(
            known,
            row,
            tuple(letter for letter in result[1:] if letter not in rows),
            factors,
            [Factor((), letters, array) for letters, array in constants],
            self.nodes,
        )
        with jax.named_scope(contraction_name(contraction, len(names)).scope):
            y: jax.Array = made.run(sums.sums, rows).array
        if plan.normalize == "mean":
            y = y / self._counted(contraction, sums, rows, y).reshape(-1, *(1,) * (y.ndim - 1))
            for label in contraction.averaged:
                y = y if label == self._label else scaled(y, walk.scales[label], 1)
        return y

    def _factor(self, contraction: Contraction, t: int, letters: Letters) -> Factor:
        """Return an input of a contraction; its axes of nodes, of size one, are removed."""
        half, axes = contraction.halves[t], contraction.lowered[t]
        x = lowered(self.down[t, half], half, axes, self.plan.signature.groups)
        places = [i for i, label in enumerate(half.core) if label == self._label]
        own = contraction.letters[t]
        x = lax.squeeze(x, [1 + i for i in places])
        nodes = tuple(own[i] for i in places)
        return Factor(nodes, tuple(letter for letter in letters[1:] if letter not in nodes), x, (t, half, axes))

    def _counted(self, contraction: Contraction, sums: Schedule, rows: Letters, y: jax.Array) -> jax.Array:
        """Return by what a mean divides: how many products of present entries each row adds, one for none."""
        nodes = [
            tuple(letter for letter, label in zip(own, half.core, strict=True) if label == self._label)
            for own, half in zip(contraction.letters, contraction.halves, strict=True)
        ]
        halves = [restricted(half, self._label) for half in contraction.halves]
        key = tuple(halves), tuple(nodes), rows
        if key not in self._counts:
            dtype = wide(y.real.dtype)
            factors = [
                Factor(own, (), self.walk.count(half).astype(dtype), half)
                for own, half in zip(nodes, halves, strict=True)
            ]
            found = Contracted((1,), 0, (), factors, [], self.counted).run(sums.sums, rows).array
            self._counts[key] = jnp.maximum(found, 1)
        return self._counts[key].astype(y.real.dtype)


def run_products(
    plan: MultilinearPlan,
    inputs: Sequence[jax.Array],
    weights: jax.Array,
    support: Support,
    sizes: Mapping[str, int],
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Run a plan on checked arrays `[rows, *other axes, channels]` of one dtype, without batch axes.

    `equikit.plans.apply_multilinear` is the public function.
    """
    base = walk_of(plan, support, sizes, masks, precision)
    walk = ProductWalk(plan, base.shapes, base.masks, base.scales, precision, support=support)
    space = plan.space
    arrays = [symmetrized_rows(x, own, support) for x, own in zip(inputs, space.operands, strict=True)]
    products = _Products(walk, plan, weights, walk.reduced(arrays), Nodes(walk), Nodes(walk))
    (y,) = walk.expanded(products.parts(), wide(weights.dtype))
    return symmetrized_rows(y, space.target, support).astype(weights.dtype)


@functools.partial(jax.jit, static_argnames=("plan", "batch", "sizes", "options"))
def execute_products(
    plan: MultilinearPlan,
    arrays: Sequence[jax.Array],
    weights: jax.Array,
    masks: Mapping[str, jax.Array],
    support: Support,
    batch: int,
    sizes: tuple[tuple[str, int], ...],
    options: RunOptions,
) -> jax.Array:
    """Run a plan on checked arrays with batch axes, which share the support."""
    dtype = jnp.result_type(*arrays, weights)

    def run(arrays: Sequence[jax.Array], masks: Mapping[str, jax.Array]) -> jax.Array:
        return run_products(plan, arrays, weights.astype(dtype), support, dict(sizes), masks, options.precision)

    for _ in range(batch):
        run = jax.vmap(run)
    return run([x.astype(dtype) for x in arrays], masks)
