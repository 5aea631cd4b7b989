"""The demonstration, from data to files."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from flax import nnx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from equikit import _checks
from equikit._errors import OptionError
from equikit.demo._data import Split, atlas, split, twins
from equikit.demo._measure import invariance_error, relabeled_score, score, twin_predictions
from equikit.demo._models import CONTESTANTS, Contestant, parameter_count
from equikit.demo._plot import plot, plot_missing
from equikit.demo._report import Outcome, Report, show
from equikit.demo._train import train
from equikit.diagrams import hom
from equikit.groups import S

EPOCHS = 200
FILES = ("demo.json", "demo.png")


def _compete(contestant: Contestant, data: Split, epochs: int, seed: int, progress: Progress) -> Outcome:
    """Train and measure one model."""
    started = time.perf_counter()
    task = progress.add_task(f"{contestant.name}: compiling", total=epochs)

    def tell(epoch: int, loss: float) -> None:
        progress.update(task, completed=epoch + 1, description=f"{contestant.name}: validation error {loss:.3f}")

    model = contestant.make(nnx.Rngs(seed))
    trained = train(model, data, epochs=epochs, rate=contestant.rate, seed=seed, relabel=contestant.relabel, tell=tell)
    seconds = time.perf_counter() - started
    predicted = trained.predict(data.test)
    return Outcome(
        contestant.name,
        parameter_count(model),
        score(predicted, data.test.targets),
        relabeled_score(trained, data.test, seed),
        invariance_error(trained, data.test, seed),
        twin_predictions(trained),
        trained.best,
        seconds,
        trained.losses,
        predicted,
    )


def _folder(output: str | Path) -> Path:
    """Make the output folder before any time is spent on training."""
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / name for name in FILES]
        writable = all(not file.is_dir() and os.access(file if file.exists() else folder, os.W_OK) for file in files)
    except OSError:
        writable = False
    if not writable:
        raise OptionError(
            "the results cannot be written",
            got=folder,
            expected="a folder that exists or can be made, whose files can be written",
            step="pass another one with --output",
        )
    return folder


def demo(
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    output: str | Path = "results/demo",
    console: Console | None = None,
) -> Report:
    """Train a graph network on the graph atlas, compare it with a plain network, and report the results.

    Args:
        seed: seed of the split, the parameters, the order of the graphs and the relabelings.
        epochs: passes over the training graphs, for every model.
        output: a folder for `demo.json` and `demo.png`, created if missing.
        console: where to print progress and results; standard output by default. Progress is shown only on terminals.

    Returns:
        The report, whose numbers are also in `demo.json`.

    Raises:
        OptionError: if the seed is negative, there is no epoch, or the folder cannot be made.

    Cost: one to two minutes on two cores for 200 epochs. Without Matplotlib a message replaces the picture.
    """
    console = Console() if console is None else console
    seed = _checks.count("seed", seed, most=2**32 - 1)
    epochs = _checks.count("epochs", epochs, least=1, most=2**32 - 1, example=EPOCHS)
    folder = _folder(output)
    started = time.perf_counter()
    graphs = atlas()
    data = split(graphs, seed)
    parts = (data.train, data.validation, data.test)
    console.print(
        f"{len(graphs):,} graphs with at most {graphs.mask.shape[1]} nodes: {len(data.train)} to train on, "
        f"{len(data.validation)} to validate, {len(data.test)} held out.",
        highlight=False,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        outcomes = tuple(_compete(contestant, data, epochs, seed, progress) for contestant in CONTESTANTS)
    report = Report(
        seed,
        epochs,
        (len(parts[0]), len(parts[1]), len(parts[2])),
        outcomes,
        score(np.broadcast_to(data.train.targets.mean(0), data.test.targets.shape), data.test.targets),
        sum(map(len, twins(graphs))),
        data.test.targets,
        hom({"p p": "p p"}, {"p p": "p p"}, p=S),
        time.perf_counter() - started,
        (str(folder / FILES[0]),),
    )
    missing = plot_missing()
    if missing is None:
        plot(report, folder / FILES[1])
        report = replace(report, files=tuple(str(folder / name) for name in FILES))
    Path(report.files[0]).write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    show(report, console)
    if missing is not None:
        console.print(missing, style="yellow", markup=False, soft_wrap=True)  # the text has a bracket of pip in it
    return report
