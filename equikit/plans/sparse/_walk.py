"""Run a plan on a support: the steps of the plan, with the axes of one label as the rows of levels.

The tensor of a half diagram with m wires of the label is `[rows of level m, *core, features]`, where the wires of the
label have size one. Rows stand where the batch stands in a dense call, so every step on another label is the step of
the dense call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit._array_checks import Shapes
from equikit.diagrams import HalfDiagram
from equikit.plans._ir import Plan, Product, Stages, Step
from equikit.plans.compilation._lattice import acted_labels, chain, root
from equikit.plans.compilation._products import with_wires_after
from equikit.plans.execution._execute import Linear, Stage, Tensors, Walk, inlined, walked
from equikit.plans.execution._layout import Layout, Weights
from equikit.plans.execution._steps import Platform, scales_of
from equikit.plans.sparse._halves import permutation_of, restricted
from equikit.plans.sparse._rows import flat, spread_rows, sum_rows, taken, turn_rows
from equikit.signatures import Term
from equikit.supports import Level, Support


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseWalk(Walk):
    """The steps of a plan in one call on a support.

    Attributes:
        support: the support.
    """

    support: Support
    _counts: dict[HalfDiagram, jax.Array] = field(default_factory=dict)

    def level_of(self, labels: Sequence[str]) -> Level:
        """Return the level of the axes of the support's label among these."""
        found: Level = self.support.levels[labels.count(self.support.label)]
        return found

    def _places(self, step: Step) -> tuple[int, ...] | None:
        """Return the positions that a step acts on among the wires of the support's label, `None` for another label."""
        core, label = step.large.core, self.support.label
        if step.operation == "head" or core[step.axes[0]] != label:
            return None
        return tuple(axis - core.index(label) for axis in step.axes)

    def _is_single(self, level: Level) -> bool:
        """Whether all rows of a level are of one graph, which a sum over the level adds to one row."""
        return level.length == 1 and self.support.graphs is None

    def _smaller(self, step: Step, places: tuple[int, ...], x: jax.Array) -> jax.Array:
        """Reduce rows of the level of a step, `[rows, features]`."""
        level = self.level_of(step.large.core)
        if step.operation == "diagonal":
            return taken(x, level.repeat[places[0], places[1]])
        count = self.support.levels[level.length - 1].count
        return sum_rows(x, level, places[0], count, single=self._is_single(level))

    def entered(self, term: Term, x: jax.Array) -> jax.Array:
        """Return an input, whose rows are the rows of the user's data, as the tensor at the top of the lattice."""
        level = self.level_of(term.labels)
        x = x[None] if is_single_row(self.support, term) else x
        sizes = iter(x.shape[1:])
        axes = [1 if label == self.support.label else next(sizes) for label in term.labels]
        if level.own is not None:
            x = taken(x, level.own)
        elif self.support.padded and level.length:
            x = kept(x, is_present(self.support, level))
        return super().entered(term, x.reshape(x.shape[0], *axes, x.shape[-1]))

    def reduced(self, inputs: Sequence[jax.Array]) -> Tensors:
        """Return the tensors of all input half diagrams; for means, sums are divided here by the entries they add."""
        down = super().reduced(inputs)
        if self.plan.normalize == "sum":
            return down
        means: Tensors = {}
        for product in self.plan.products:
            for t, halves in enumerate(product.inputs):
                for half in halves:
                    own = restricted(half, self.support.label)
                    if own.closed and (t, half) not in means:
                        means[t, half] = self._mean(down[t, half], own).astype(inputs[t].dtype)
        return down | means

    def _mean(self, x: jax.Array, half: HalfDiagram) -> jax.Array:
        count = jnp.maximum(self._count(half), 1).astype(x.real.dtype)
        return x / count.reshape(-1, *(1,) * (x.ndim - 1))

    def _count(self, half: HalfDiagram) -> jax.Array:
        """Return how many entries of the user's data each row of a reduction adds, `[rows, 1]`."""
        if half not in self._counts:
            steps = chain(0, half)
            if not steps:
                self._counts[half] = is_own(self.support, self.level_of(half.core))[:, None].astype(jnp.int32)
            else:
                places = self._places(steps[-1])
                assert places is not None
                self._counts[half] = self._smaller(steps[-1], places, self._count(steps[-1].large))
        return self._counts[half]

    def shrunk(self, step: Step, x: jax.Array) -> jax.Array:
        """Return the smaller tensor of a reduction from the larger one; over the label, sums are never means here."""
        places = self._places(step)
        if places is None:
            return super().shrunk(step, x)
        y = flat(lambda rows: self._smaller(step, places, rows), x)
        return lax.squeeze(y, (1 + step.axes[-1],))

    def _order(self, wiring: tuple[int, ...], core: tuple[str, ...]) -> tuple[int, ...] | None:
        """Return how a wiring permutes the wires of the support's label, `None` if it does not."""
        return permutation_of(wiring, core, self.support.label)

    def arranged(self, product: Product, rows: tuple[jax.Array, ...]) -> tuple[Product, tuple[jax.Array, ...]]:
        """Return a product that permutes the wires of the support's label on one side only, the narrower one.

        Of two permutations in a row, the first one would lose tuples that are absent, but present after the second.
        """
        sides = product.wires_in, product.wires_out
        if not all(any(self._order(wiring, product.core) for wiring in side) for side in sides):
            return product, rows
        every, same = with_wires_after(product).wires_out, product.wires_in[:1]
        before, after = map(len, sides)
        heights, width = [len(matrix) // before for matrix in rows], rows[0].shape[1] // after if rows else 0
        parts = [matrix.reshape(before, k, after, width) for matrix, k in zip(rows, heights, strict=True)]
        if sum(heights) < width:
            first = [part.transpose(2, 0, 1, 3).reshape(len(every) * part.shape[1], width) for part in parts]
            return replace(product, wires_in=every, wires_out=same), tuple(first)
        last = [part.transpose(1, 2, 0, 3).reshape(part.shape[1], len(every) * width) for part in parts]
        return replace(product, wires_in=same, wires_out=every), tuple(last)

    def turned(self, x: jax.Array, wiring: tuple[int, ...], core: tuple[str, ...]) -> jax.Array:
        """Permute the wires of a core: axis j moves to position `wiring[j]`."""
        order = self._order(wiring, core)
        if order is not None:
            x = flat(lambda rows: turn_rows(rows, self.level_of(core), order), x)
        return super().turned(x, wiring, core)

    def grown(self, step: Step, y: jax.Array) -> jax.Array:
        """Return the larger tensor of an expansion from the smaller one."""
        places = self._places(step)
        if places is None:
            return super().grown(step, y)
        level = self.level_of(step.large.core)

        def larger(rows: jax.Array) -> jax.Array:
            if step.operation == "diagonal":
                return taken(rows, level.merge[places[0], places[1]])
            return spread_rows(rows, level, places[0], single=self._is_single(level))

        return jnp.expand_dims(flat(larger, y), 1 + step.axes[-1])

    def left(self, s: int, y: jax.Array | None, dtype: Any) -> jax.Array:
        """Return an output, with the rows of the user's data, from the tensor at the top of the lattice."""
        term = self.plan.signature.outputs[s]
        level = self.level_of(term.labels)
        if y is None:
            core = root(acted_labels(self.plan.signature, term)).core
            sizes = [self.shapes.sizes[label] for label in core]
            y = jnp.zeros((level.count, *sizes, self.plan.features[1][s]), dtype)
        y = super().left(s, y, dtype)
        others = [size for label, size in zip(term.labels, y.shape[1:], strict=False) if label != self.support.label]
        y = y.reshape(y.shape[0], *others, y.shape[-1])
        if level.rows is not None:
            y = taken(y, level.rows)
        elif self.support.padded and level.length:
            y = kept(y, is_present(self.support, level))
        return lax.squeeze(y, (0,)) if is_single_row(self.support, term) else y


def is_single_row(support: Support, term: Term) -> bool:
    """Whether the array of a term has no axis of rows: it has no axis of the label, and there is one graph."""
    return support.graphs is None and support.label not in term.labels


def is_present(support: Support, level: Level) -> jax.Array:
    """Return which rows of a level of one node or more are not padding."""
    below = support.levels[level.length - 1].count
    if level.exchange is not None and level.length > 1:
        below = level.exchange.reach
    return jnp.asarray(level.drop[0]) < below


def is_own(support: Support, level: Level) -> jax.Array:
    """Return which rows of a level are rows of the user's data."""
    if level.own is not None:
        assert level.rows is not None
        return jnp.asarray(level.own) < level.rows.shape[0]
    return is_present(support, level) if support.padded and level.length else jnp.ones(level.count, bool)


def kept(x: jax.Array, rows: jax.Array) -> jax.Array:
    """Set all other rows to zero, whatever they hold, NaN included."""
    return jnp.where(rows.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def walk_of(
    plan: Stages,
    support: Support,
    sizes: Mapping[str, int],
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike,
) -> SparseWalk:
    """Return the steps of a plan on a support.

    Args:
        plan: the plan.
        support: the support.
        sizes: the size of every other label.
        masks: for another label booleans `[n]`.
        precision: of products with constant tensors.
    """
    shapes = Shapes((support.levels[0].count,), {**sizes, support.label: 1})
    present = {label: mask[None] for label, mask in masks.items()}
    scales = {label: scale for label, scale in scales_of(plan, shapes, present).items() if label != support.label}
    return SparseWalk(plan, shapes, present, scales, precision, support=support)


def run_sparse(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights | Layout,
    support: Support,
    sizes: Mapping[str, int],
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
    stage: Stage = inlined,
) -> list[jax.Array]:
    """Run a plan on checked arrays `[rows, *other axes, channels]` of one dtype, without batch axes.

    `equikit.plans.apply` is the public function; see `walk_of` for the other arguments.
    """
    walk = walk_of(plan, support, sizes, masks, precision)

    def staged(made: Callable[[Platform], Linear], operands: Any) -> list[jax.Array]:
        """Pass arrays without axes of size one, which XLA would copy to another layout that is the same."""
        slim = jax.tree.map(lambda x: x.reshape([size for size in x.shape if size != 1]), operands)

        def slimmed(platform: Platform) -> Linear:
            return lambda slim: made("cpu")(jax.tree.map(lambda x, o: x.reshape(o.shape), slim, operands))

        return stage(slimmed, slim)

    return walked(walk, plan, inputs, weights, jnp.result_type(*inputs), staged)
