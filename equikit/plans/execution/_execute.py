"""Run a plan in JAX.

There is no gather and no scatter, and no array is larger than the largest input or output; weights are arranged by
slices. (For groups without diagrams they are looked up, and fill a matrix.) The operations on single arrays are in
`_arrays.py`, the steps in `_steps.py`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from equikit._array_checks import Shapes
from equikit._masks import masked
from equikit.diagrams import HalfDiagram
from equikit.groups import Form
from equikit.plans._ir import Plan, Product, Stages, Step
from equikit.plans.compilation._lattice import acted_labels, root
from equikit.plans.costs._cost import product_name, step_name
from equikit.plans.execution._arrays import (
    broadcast,
    joined,
    joined_channels,
    rewired,
    split_channels,
    unstacked,
    wide,
)
from equikit.plans.execution._layout import Layout, Weights, cut, laid_out
from equikit.plans.execution._matmul import Parts, matmul, matmul_rows
from equikit.plans.execution._steps import Platform, Scales, apply_head, expand, inward, outward, reduce, scales_of
from equikit.plans.execution._whole import folded, unfolded
from equikit.plans.sharding._spread import Spread, mix_spread
from equikit.signatures import Term

Tensors = dict[tuple[int, HalfDiagram], jax.Array]
LONG = 8
"""An axis is long that has so many times the features of a result: the gradients of the weights of single samples are
then small compared with the samples."""

LEAST_APART = 32
"""The fewest features of tensors of one axis that a TPU stacks: fewer would fill a small part of its tiles."""

Linear = Callable[[Any], list[jax.Array]]
Stage = Callable[[Callable[[Platform], Linear], Any], list[jax.Array]]
"""A way to call a linear function of arrays, which is made for a platform."""


def inlined(made: Callable[[Platform], Linear], operands: Any) -> list[jax.Array]:
    """Call a stage as part of the program around it, alike on all platforms."""
    return made("cpu")(operands)


@dataclass(frozen=True, eq=False)
class Walk:
    """The steps of a plan in one call: reductions of the inputs, and expansions of the results.

    Attributes:
        plan: the plan.
        shapes: the sizes that the arrays determine.
        masks: for a label, which entries are present.
        scales: for each label the factor of sums.
        precision: of products with constant tensors.
        spread: whether tensor axes or channels are sharded over devices.
        by_platform: whether reductions and products follow the platform for which the program is lowered.
        platform: what the expansions are traced for.
        held: cores of products to which a GPU adds a broadcast, which has to be in memory.
    """

    plan: Stages
    shapes: Shapes
    masks: Mapping[str, jax.Array]
    scales: Scales
    precision: lax.PrecisionLike = None
    spread: Spread | None = None
    by_platform: bool = False
    platform: Platform = "cpu"
    held: frozenset[tuple[str, ...]] = frozenset()

    @property
    def _forms(self) -> dict[str, Form | None]:
        return {label: group.form for label, group in self.plan.signature.groups.items()}

    def _headed(self, step: Step, x: jax.Array, upwards: bool) -> jax.Array:
        label, batch, sizes = step.small.heads[-1].label, len(self.shapes.batch), self.shapes.sizes
        return apply_head(step, x, batch, self._forms[label], sizes[label], self.precision, upwards=upwards)

    def entered(self, term: Term, x: jax.Array) -> jax.Array:
        """Return an input as the tensor at the top of the lattice, zero where entries are absent."""
        signature = self.plan.signature
        core = root(acted_labels(signature, term)).core
        return masked(inward(signature, term, x), core, self.masks, len(self.shapes.batch))

    def shrunk(self, step: Step, x: jax.Array) -> jax.Array:
        """Return the smaller tensor of a reduction from the larger one."""
        if step.operation == "head":
            return self._headed(step, x, upwards=False)
        half = step.small if step.operation == "diagonal" else step.large
        held = self.by_platform and self._is_multiplied(step.term, half)
        return reduce(step, x, len(self.shapes.batch), self.scales, self._forms, self.spread, self.by_platform, held)

    def _is_multiplied(self, t: int, half: HalfDiagram) -> bool:
        """Whether a tensor is smaller than the input, and enters a product: it is in memory then."""
        whole = root(acted_labels(self.plan.signature, self.plan.signature.inputs[t]))
        return half != whole and any(half in product.inputs[t] for product in self.plan.products)

    def turned(self, x: jax.Array, wiring: tuple[int, ...], core: tuple[str, ...]) -> jax.Array:
        """Permute the wires of a core: axis j moves to position `wiring[j]`."""
        return rewired(x, wiring, len(self.shapes.batch))

    def arranged(self, product: Product, rows: tuple[jax.Array, ...]) -> tuple[Product, tuple[jax.Array, ...]]:
        """Return a product and its matrix with the wires permuted where this walk can do it."""
        return product, rows

    def parts(self, product: Product, inputs: Sequence[tuple[int, ...]], alike: int, width: int) -> list[Parts | None]:
        """Return what accelerators compute apart in a product, for each array; `None` if that makes no difference.

        Args:
            product: the product.
            inputs: for each array the numbers of features of its tensors.
            alike: number of tensors in the result with equally many features.
            width: number of features of the result.
        """
        axes, groups, features = len(product.core), len(product.wires_out), sum(inputs, ())
        several = len(features) * groups * alike > 1
        # Along one axis, a TPU copies what is stacked unless all tensors have the same number of features, and many.
        even = alike > 1 and len({*features}) == 1 and features[0] >= LEAST_APART
        apart = self.by_platform and several and (axes > 1 or (axes == 1 and even))
        long = self.is_long(product, alike, width)
        return [Parts(some, groups, alike, apart, long) if apart or long else None for some in inputs]

    def is_long(self, product: Product, alike: int, width: int) -> bool:
        """Whether a product has one result, whose only axis is long; arguments as in `parts`."""
        single = self.by_platform and len(product.core) == len(product.wires_out) == alike == 1
        return single and self.shapes.sizes[product.core[0]] >= LONG * width

    def grown(self, step: Step, y: jax.Array) -> jax.Array:
        """Return the larger tensor of an expansion from the smaller one."""
        if step.operation == "head":
            return self._headed(step, y, upwards=True)
        held = step.large.core in self.held
        return expand(step, y, len(self.shapes.batch), self.shapes.sizes, self._forms, self.spread, self.platform, held)

    def left(self, s: int, y: jax.Array | None, dtype: Any) -> jax.Array:
        """Return an output from the tensor at the top of the lattice; without one, the result of the zero map."""
        plan, shapes = self.plan, self.shapes
        signature, term = plan.signature, plan.signature.outputs[s]
        core = root(acted_labels(signature, term)).core
        if y is None:
            sizes = tuple(shapes.sizes[label] for label in core)
            y = jnp.zeros((*shapes.batch, *sizes, plan.features[1][s]), dtype)
        else:
            y = masked(y.astype(dtype), core, self.masks, len(shapes.batch))
        return outward(signature, term, y, plan.channels[1][s])

    def reduced(self, inputs: Sequence[jax.Array]) -> Tensors:
        """Return the tensors of all input half diagrams."""
        signature = self.plan.signature
        down: Tensors = {}
        for t, (term, x) in enumerate(zip(signature.inputs, inputs, strict=True)):
            down[t, root(acted_labels(signature, term))] = self.entered(term, x)
        for step in self.plan.reductions:
            x = down[step.term, step.large]
            with jax.named_scope(step_name(self.plan, step, upwards=False).scope):
                down[step.term, step.small] = self.shrunk(step, x)
        return down

    def expanded(self, parts: Iterable[tuple[tuple[int, HalfDiagram], jax.Array]], dtype: Any) -> list[jax.Array]:
        """Return the outputs, from the tensors of output half diagrams; tensors for the same half are added."""
        plan = self.plan
        up: dict[tuple[int, HalfDiagram], list[jax.Array]] = {}
        expansions = Counter((step.term, step.small) for step in plan.expansions)

        def add(key: tuple[int, HalfDiagram], y: jax.Array) -> None:
            """Queue a tensor for an expansion; add it to the last queued tensor if they will be expanded together."""
            waiting = up.setdefault(key, [])
            if waiting and expansions[key] < 2:
                y = waiting.pop() + y
            waiting.append(y)

        for key, y in parts:
            add(key, y)
        for step in plan.expansions:
            key = step.term, step.small
            expansions[key] -= 1
            taken = up[key][:1] if expansions[key] else up[key]  # the last expansion takes all remaining tensors
            up[key] = up[key][len(taken) :]
            if taken:
                with jax.named_scope(step_name(plan, step, upwards=True).scope):
                    add((step.term, step.large), self.grown(step, sum(taken[1:], taken[0])))
        results = []
        for s, term in enumerate(plan.signature.outputs):
            found = up.get((s, root(acted_labels(plan.signature, term))))
            results.append(self.left(s, found[0] if found else None, dtype))
        return results


def _count_alike(product: Product, widths: Sequence[int]) -> int:
    """Count the tensors in the result of a product; one if their numbers of features differ."""
    found = [width for width, halves in zip(widths, product.outputs, strict=True) for _ in halves]
    return len(found) if len(set(found)) == 1 else 1


def multiplied(
    walk: Walk,
    product: Product,
    rows: tuple[jax.Array, ...],
    tensors: Tensors,
    widths: Sequence[int],
    before: jax.Array | None = None,
) -> jax.Array | None:
    """Return the matrix product of one core, `None` if it has no input; `before` is the first of two factors."""
    if not rows:
        return None
    batch, sides, inputs = len(walk.shapes.batch), [], []
    for t, halves in enumerate(product.inputs):
        if halves:
            every = [folded(tensors[t, half], half, batch) for half in halves]
            inputs.append(tuple(x.shape[-1] for x in every) * len(product.wires_in))
            x = joined(every, -1)
            sides.append(joined_channels([walk.turned(x, wiring, product.core) for wiring in product.wires_in]))
    if len(rows) == 1:
        sides, inputs = [joined(sides, -1)], [sum(inputs, ())]
    if before is not None:
        sides, inputs = [matmul(sides[0], before, walk.precision).astype(sides[0].dtype)], [before.shape[1:]]
    alike = _count_alike(product, widths)
    return matmul_rows(sides, rows, walk.precision, walk.parts(product, inputs, alike, rows[0].shape[1]))


def parted(
    walk: Walk, product: Product, y: jax.Array | None, bias: jax.Array | None, widths: Sequence[int]
) -> Iterator[tuple[tuple[int, HalfDiagram], jax.Array]]:
    """Yield the tensor of every output half, from the matrix product of a core and its bias."""
    shapes, batch = walk.shapes, len(walk.shapes.batch)
    keys = [(s, half) for s, halves in enumerate(product.outputs) for half in halves]
    entries = math.prod(shapes.sizes[kind.label] ** kind.above for kind in product.tensors)
    alike, groups = _count_alike(product, widths) if walk.platform == "tpu" else 1, len(product.wires_out)
    stacked = walk.platform == "tpu" and alike == len(keys) and groups * alike > 1
    if stacked and bias is not None:
        bias = bias.reshape(alike, bias.shape[0] // alike)
    if y is None:
        assert bias is not None
        core = tuple(shapes.sizes[label] for label in product.core)
        y = broadcast(bias.astype(wide(bias.dtype)), (*shapes.batch, *core, *bias.shape))
    else:
        if stacked:
            y = y.reshape(*y.shape[:-1], groups, alike, y.shape[-1] // (groups * alike))
        if product.permutes_out:
            copies = unstacked(y, y.ndim - 3) if stacked else split_channels(y, groups)
            wired = [
                walk.turned(part, wiring, product.core) for part, wiring in zip(copies, product.wires_out, strict=True)
            ]
            y = sum(wired[1:], wired[0])
        elif stacked:
            y = lax.squeeze(y, (y.ndim - 3,))
        if bias is not None:
            y = y + broadcast(bias.astype(y.dtype), y.shape)
    parts = unstacked(y, y.ndim - 2) if stacked else lax.split(y, [widths[s] * entries for s, _ in keys], y.ndim - 1)
    for key, part in zip(keys, parts, strict=True):
        yield key, unfolded(part, key[1], batch, shapes.sizes)


def walked(
    walk: Walk, plan: Plan, inputs: Sequence[jax.Array], weights: Weights | Layout, dtype: Any, stage: Stage
) -> list[jax.Array]:
    """Run a plan: reductions, one matrix product for each core, and expansions, which `stage` calls."""
    down = walk.reduced(inputs)
    layout = weights if isinstance(weights, Layout) else laid_out(plan, weights)
    pairs = zip(plan.products, layout.products, strict=True)
    arranged = [(*walk.arranged(product, rows), bias) for product, (rows, bias) in pairs]

    held = frozenset(
        product.core
        for product, rows, _ in arranged
        if rows and walk.is_long(product, _count_alike(product, plan.features[1]), rows[0].shape[1])
    )

    def expanding(platform: Platform) -> Linear:
        own = replace(walk, platform=platform, held=held if platform == "gpu" else frozenset())

        def expanded(products: list[tuple[jax.Array | None, jax.Array | None]]) -> list[jax.Array]:
            parts = (
                part
                for (product, _, _), (y, bias) in zip(arranged, products, strict=True)
                for part in parted(own, product, y, bias, plan.features[1])
            )
            return own.expanded(parts, dtype)

        return expanded

    products = []
    for (product, rows, bias), before in itertools.zip_longest(arranged, layout.before):
        with jax.named_scope(product_name(plan, product).scope):
            products.append((multiplied(walk, product, rows, down, plan.features[1], before), bias))
    return stage(expanding, products)


def run(
    plan: Plan,
    inputs: Sequence[jax.Array],
    weights: Weights | Layout,
    shapes: Shapes,
    masks: Mapping[str, jax.Array],
    precision: lax.PrecisionLike = None,
    spread: Spread | None = None,
    stage: Stage = inlined,
    by_platform: bool = False,
) -> list[jax.Array]:
    """Run a plan on checked arrays of one dtype; `equikit.plans.apply` is the public function.

    `spread` says whether tensor axes or channels are sharded over devices, so that they must not be folded; `stage`
    calls the expansions, a linear function of the products and biases.
    """
    dtype = jnp.result_type(*inputs)
    walk = Walk(plan, shapes, masks, scales_of(plan, shapes, masks), precision, spread, by_platform)
    if spread is None or isinstance(weights, Layout):
        return walked(walk, plan, inputs, weights, dtype, stage)
    down, given = walk.reduced(inputs), cut(plan, weights)
    mixed = (mix_spread(plan, product, down, given, shapes, precision, spread) for product in plan.products)
    return walk.expanded((part for parts in mixed for part in parts.items()), dtype)
