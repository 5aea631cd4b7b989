"""PLeaS: merges of two networks on the 8 × 8 digits, some wider than one network, and the barrier that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core import paper
from benchmarks.core.benchmark import Cell, Measure, Tell, reproduction
from benchmarks.core.bounds import Bound
from benchmarks.core.fitting import Recipe
from benchmarks.core.measurement import Measurement
from benchmarks.data.digits import Digits, digits
from benchmarks.papers import _pairs as pairs
from benchmarks.papers._pairs import Pair
from benchmarks.papers.pleas_2407_02447._figure import STYLE
from benchmarks.papers.pleas_2407_02447._networks import Convolutions, Transformer
from equikit.weightspace import Specification, align, mean, merge, partial_merge, repair, trace

PAPER = paper.read(Path(__file__).with_name("paper.toml"))
KEPT = (0.1, 0.25, 0.5)
RIVALS = {
    "average": "the mean of both networks, as they are",
    "weights": "the mean after `align`: weights are matched",
    "activations": "the mean after `align`: activations on the training images are matched",
    "slerp": "the same, on the circle through both",
    "ties": "the same, with the larger half of the weights of each, where their signs agree",
    "REPAIR": "the mean after activations are matched, and `repair`",
    **{f"partial, {keep}": f"`partial_merge` of the same, keep={keep}" for keep in KEPT},
    "least squares": "`partial_merge` of the same, keep=0 and ridge=: as wide as each network",
    **{f"PLeaS, {keep}": f"`partial_merge` of the same, keep={keep} and ridge=" for keep in KEPT},
    "ensemble": "the mean of the outputs of both networks: the limit",
}
TARGETS = tuple(
    Bound("least squares", {"task": task}, "midpoint, test", most)
    for task, most in (("convolutions", 0.59), ("transformer", 1.07))
)
SHARES = (0.25, 0.5, 0.75)
"""The shares of the second network, between both ends, at which the barrier is sought."""


@dataclass(frozen=True)
class Budget:
    """Networks, images and training.

    Attributes:
        widths: of the networks, by task.
        train, validation, test: how many images of the 1,797.
        seen: how many of the training images matching and least squares see; their labels are not used.
        ridges: the validation images choose one of them.
        recipe: of training.
    """

    widths: Mapping[str, int]
    train: int
    validation: int
    test: int
    seen: int
    ridges: tuple[float, ...]
    recipe: Recipe


def limits(quick: bool) -> Budget:
    """Return the budget of a run."""
    if quick:
        return Budget({"convolutions": 4, "transformer": 8}, 200, 50, 100, 64, (1e-2,), Recipe(2, 50, 2e-3))
    widths = {"convolutions": 16, "transformer": 32}
    return Budget(widths, 1097, 200, 500, 512, (1e-3, 1e-2, 1e-1), Recipe(40, 50, 2e-3))


def cells(quick: bool) -> list[Cell]:
    """One for each kind of network: all rivals get the same pair."""
    budget = limits(quick)
    # Each size of the merged network compiles least squares for every layer again.
    left_out = {f"PLeaS, {keep}" for keep in KEPT[1:]} if quick else set()
    rivals = tuple(rival for rival in RIVALS if rival not in left_out)
    return [
        Cell({"task": task, "train": budget.train}, "train", rivals, width) for task, width in budget.widths.items()
    ]


def start(quick: bool, seed: int, tell: Tell) -> Measure:
    """Return the function that trains the two networks of a cell, and merges them in all ways."""
    budget = limits(quick)

    def measure(cell: Cell) -> list[Measurement]:
        task, every = cell.case["task"], digits(seed)
        bounds = np.cumsum([0, budget.train, budget.validation, budget.test])
        data = {name: every.take(slice(*bounds[i : i + 2])) for i, name in enumerate(("train", "validation", "test"))}
        make = partial(Convolutions if task == "convolutions" else Transformer, cell.given)
        pair = pairs.trained(
            lambda one: make(nnx.Rngs(one)), data["train"], budget.recipe, seed, lambda text: tell(f"{task}: {text}")
        )
        merging = Merging.of(pair, data, budget)
        found = []
        for rival in cell.rivals:
            tell(f"{task}: {rival}")
            scores = merging.scores(rival) | {"train, s": pair.seconds}
            found.append(Measurement(dict(cell.case), cell.direction, rival, scores=scores))
        return found

    return measure


@dataclass(frozen=True)
class Merging:
    """Two networks and everything that merges of them need.

    Attributes:
        pair: both networks.
        data: images by part.
        spec: the symmetry of both.
        matched: the second network after weights or activations are matched, by rival.
        images: what matching and least squares see.
        ridge: what was chosen.
        apply: the network, one function for all rivals, so that compiled programs are found again.
        logits: the same, compiled.
    """

    pair: Pair
    data: Mapping[str, Digits]
    spec: Specification
    matched: Mapping[str, Any]
    images: jax.Array
    ridge: float
    apply: Callable[[Any, Any], jax.Array]
    logits: Callable[[Any, Any], jax.Array]

    @classmethod
    def of(cls, pair: Pair, data: Mapping[str, Digits], budget: Budget) -> Merging:
        """Match the networks, and choose the ridge by the loss of the merge on the validation images."""
        (one, two), images = pair.params, jnp.asarray(data["train"].inputs[: budget.seen])
        apply = pair.apply
        spec = trace(apply, one, images[:2])
        matched = {
            "average": two,
            "weights": align(spec, one, two),
            "activations": align(spec, one, two, how="activations", apply=apply, x=images),
        }
        found = cls(pair, data, spec, matched, images, budget.ridges[0], apply, jax.jit(apply))
        if len(budget.ridges) == 1:
            return found
        losses = {}
        for ridge in budget.ridges:
            params = found._partial(0.5, 0, ridge)
            losses[ridge] = found._loss(found.logits(params, data["validation"].inputs), "validation")
        return replace(found, ridge=min(losses, key=losses.__getitem__))

    def scores(self, rival: str) -> dict[str, float]:
        """Return barrier and midpoint above the line between both losses, the error half-way, and the size."""
        parts = ("train", "test")
        ends = [
            [self._loss(self.logits(one, self.data[part].inputs), part) for one in self.pair.params] for part in parts
        ]
        above: dict[str, list[float]] = {part: [] for part in parts}
        found: dict[str, float] = {}
        for share in SHARES:
            params = None if rival == "ensemble" else self._merged(rival, share)
            for part, (first, second) in zip(parts, ends, strict=True):
                outputs = self._outputs(params, share, part)
                above[part].append(self._loss(outputs, part) - (1 - share) * first - share * second)
                if share == 0.5:
                    found[f"midpoint, {part}"] = above[part][-1]
                    found[f"error half-way, {part}"] = self._error(outputs, part)
            if share == 0.5:
                count = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
                found["relative size"] = count / sum(np.size(leaf) for leaf in jax.tree.leaves(self.pair.params[0]))
        if rival == "ensemble":
            found["relative size"] = 2.0
        found |= {f"barrier, {part}": max(0.0, *some) for part, some in above.items()}
        errors = [self._error(self.logits(one, self.data["test"].inputs), "test") for one in self.pair.params]
        return found | {
            "error of the two, test": float(np.mean(errors)),
            "loss of the two, test": float(np.mean(ends[1])),
        }

    def _outputs(self, params: Any, share: float, part: str) -> jax.Array:
        inputs = self.data[part].inputs
        if params is not None:
            return self.logits(params, inputs)
        first, second = (self.logits(one, inputs) for one in self.pair.params)
        return (1 - share) * first + share * second

    def _merged(self, rival: str, share: float) -> Any:
        one, weights = self.pair.params[0], [1 - share, share]
        two = self.matched.get(rival, self.matched["activations"])
        kind, _, keep = rival.partition(", ")
        if kind == "partial":
            return self._partial(share, float(keep), None)
        if kind in ("PLeaS", "least squares"):
            return self._partial(share, float(keep or 0), self.ridge)
        if kind == "slerp":
            return merge(self.spec, [one, two], how="slerp", coefficients=weights, rounds=0)
        if kind == "ties":
            zero = jax.tree.map(jnp.zeros_like, one)
            return merge(self.spec, [one, two], how="ties", coefficients=weights, base=zero, density=0.5, rounds=0)
        params = mean([one, two], weights)
        if kind == "REPAIR":
            networks, batches = [one, two], [self.images]
            return repair(self.spec, self.apply, params, batches, networks=networks, coefficients=weights)
        return params

    def _partial(self, share: float, keep: float, ridge: float | None) -> Any:
        networks, weights = [self.pair.params[0], self.matched["activations"]], [1 - share, share]
        # The transformer has layer norms, where `info.error` is not zero: the benchmark measures what this costs.
        return partial_merge(
            self.spec, self.apply, networks, [self.images], keep=keep, coefficients=weights, ridge=ridge, with_info=True
        )[0]

    def _loss(self, outputs: jax.Array, part: str) -> float:
        labels = self.data[part].labels
        return float(jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, labels)))

    def _error(self, outputs: jax.Array, part: str) -> float:
        return float(np.mean(np.argmax(outputs, -1) != self.data[part].labels))


BENCHMARK = reproduction(
    title="PLeaS",
    summary="merges of two networks on digits, some wider than each: matched, repaired, partial, by least squares",
    rivals=RIVALS,
    cells=cells,
    start=start,
    limits=limits,
    targets=TARGETS,
    style=STYLE,
    paper=PAPER,
)
