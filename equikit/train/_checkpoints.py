"""Checkpoints of a training, written by orbax."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax

from equikit._checks import is_key
from equikit._errors import OptionError
from equikit._progress import tell
from equikit.train._fingerprint import differences


class Checkpoints:
    """The newest checkpoints of one training in a folder.

    Args:
        folder: where they are, made if it is missing.
        every: epochs between two of them.
        about: what a training must have in common with the one that wrote them.
    """

    def __init__(self, folder: str | Path, every: int, about: dict[str, Any]) -> None:
        import orbax.checkpoint  # takes a second

        folder = _writable(folder)
        self._folder, self._orbax = folder, orbax.checkpoint
        self._about: dict[str, Any] = json.loads(json.dumps(about))  # as it is read back
        options = self._orbax.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=every)
        try:
            self._manager = self._orbax.CheckpointManager(folder, options=options)
        except Exception as error:  # it reads the metadata of all checkpoints
            raise _unreadable(
                "a checkpoint", error, f"complete checkpoints in {folder}", "pass a new folder"
            ) from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()  # waits until everything is written

    def restore(self, like: Any) -> tuple[Any, int, list[tuple[float, float]]] | None:
        """Return the newest arrays, in a tree such as `like`, the best epoch, and the losses.

        Arrays are read after names and shapes were compared: orbax prints tracebacks of its own where they differ.

        Raises:
            OptionError: if another training wrote the checkpoints, or the newest one cannot be read.
        """
        if self._manager.latest_step() is None:
            return None
        about, best, losses = self._read(_entries, record=self._orbax.args.JsonRestore())
        changed = differences(about, self._about)
        if changed:
            raise OptionError(
                f"checkpoint= holds another training, with other {' and other '.join(changed)}",
                got="; ".join(f"{name}: {here}" for name, (_, here) in changed.items()),
                expected="; ".join(f"{name}: {saved}" for name, (saved, _) in changed.items())
                + f", as in {self._folder}",
                step="pass a new folder, or what the training in this folder was started with",
            )
        found = self._read(attrgetter("arrays"), arrays=self._orbax.args.StandardRestore(_without_keys(like)))
        tell(f"training: continues after epoch {len(losses) - 1} of {self._folder}")
        return jax.tree.map(_with_keys, like, found), best, losses

    def save(self, epochs: int, arrays: Any, record: dict[str, Any], *, last: bool) -> None:
        """Save after this number of epochs, if it is time or the last one."""
        if last or self._manager.should_save(epochs):
            kinds = self._orbax.args
            parts = {
                "arrays": kinds.StandardSave(_without_keys(arrays)),
                "record": kinds.JsonSave({**record, "about": self._about}),
            }
            self._manager.save(epochs, args=kinds.Composite(**parts), force=last)

    def _read(self, found: Callable[[Any], Any], **parts: Any) -> Any:
        *older, newest = self._manager.all_steps()
        try:
            return found(self._manager.restore(newest, args=self._orbax.args.Composite(**parts)))
        except Exception as error:  # each part of a damaged checkpoint raises errors of its own
            what = f"continues from {self._folder / str(older[-1])}" if older else "starts again"
            step = f"if that folder is damaged, delete it: training then {what}"
            expected = f"a complete checkpoint in {self._folder / str(newest)}"
            raise _unreadable("the newest checkpoint", error, expected, step) from error


def _unreadable(what: str, error: Exception, expected: str, step: str) -> OptionError:
    got = f"{type(error).__name__}: {str(error)[:160]}"
    return OptionError(f"{what} of checkpoint= cannot be read", got=got, expected=expected, step=step)


def _entries(found: Any) -> tuple[dict[str, Any], int, list[tuple[float, float]]]:
    """Return the entries of a record; other JSON raises an error of Python."""
    record = found.record
    return {**record["about"]}, int(record["best"]), [(float(one), float(two)) for one, two in record["losses"]]


def _writable(folder: object) -> Path:
    """Make the folder, or raise `OptionError` before anything is computed."""
    path = Path(folder).expanduser().absolute() if isinstance(folder, str | Path) and str(folder) else None
    try:
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
    except OSError:
        path = None
    if path is None or not os.access(path, os.W_OK):
        raise OptionError(
            "checkpoint= is not a folder that can be written",
            got=repr(folder)[:80],
            expected="a folder that exists or can be made",
            step='write checkpoint="checkpoints"',
        )
    return path


def _without_keys(tree: Any) -> Any:
    """Replace typed keys by their data, since orbax writes plain arrays."""
    return jax.tree.map(lambda array: jax.random.key_data(array) if is_key(array) else array, tree)


def _with_keys(like: Any, found: Any) -> Any:
    return jax.random.wrap_key_data(found, impl=jax.random.key_impl(like)) if is_key(like) else found
