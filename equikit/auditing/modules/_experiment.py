"""Recordings of a function at x, at inputs with rounding errors, and at changed inputs; the actions that they show."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equikit.auditing._action import wide
from equikit.auditing._rounding import epsilon
from equikit.auditing.modules._declared import Declared, predicted
from equikit.auditing.modules._infer import MARGIN, Change, Found, Moved, batch_first, infer
from equikit.auditing.modules._match import rms
from equikit.auditing.modules.recording._calls import Recording
from equikit.signatures import Signature

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of the input, the recordings of its instances, and the outputs that the signature predicts.

    Attributes:
        change: the change.
        recordings: one for each instance.
        wanted: for each instance, the output of each term at the changed input.
    """

    change: Change
    recordings: tuple[Recording, ...]
    wanted: tuple[Arrays, ...]


@dataclass
class Experiment:
    """Recordings of a function at x, at inputs with rounding errors, and at changed inputs.

    Attributes:
        signature: the signature of the function.
        batch: the batch axes.
        precision: the coarsest dtype of inputs and outputs.
        base: the recording at x.
        near: recordings at perturbed inputs.
        changes: what else was recorded.
        found: actions by the place of an array.
    """

    signature: Signature
    batch: tuple[int, ...]
    precision: Any
    base: Recording
    near: tuple[Recording, ...]
    changes: Mapping[str, Changed]
    found: dict[tuple[Any, ...], Found] = field(default_factory=dict)

    def noise(self, kind: str, call: int, side: str, place: int, *more: np.ndarray) -> float:
        """Return the root mean square of the errors of an array that rounding explains."""
        first = self._array(self.base, kind, call, side, place)
        assert first is not None, "arrays of the recording at x are known"
        others = [self._array(one, kind, call, side, place) for one in self.near]
        changes = [
            rms(wide(other) - wide(first)) for other in others if other is not None and other.shape == first.shape
        ]
        scale = max(rms(wide(array)) for array in (first, *more))
        noise = max(scale * epsilon(self.precision) / 2, rms(np.array(changes)))
        return noise if np.isfinite(noise) else 0.0

    def array(self, label: str, kind: str, call: int, side: str, place: int) -> Found:
        """Return how an array changes: `kind` is `"calls"` or `"equations"`, `side` is `"inputs"` or `"outputs"`."""
        key = label, kind, call, side, place
        if key not in self.found:
            changed = self.changes[label]
            first = self._array(self.base, kind, call, side, place)
            seconds = [self._array(one, kind, call, side, place) for one in changed.recordings]
            known = [array for array in seconds if array is not None]
            if first is None or len(known) < len(seconds):
                self.found[key] = Found("unknown", "other modules are called", np.nan, np.nan)
            elif first.dtype.kind not in "biufcV":
                self.found[key] = Found("unknown", f"dtype {first.dtype}", np.nan, np.nan)
            else:
                noise = self.noise(kind, call, side, place, *known)
                self.found[key] = self._same_as_before(label, first, known, noise)
        return self.found[key]

    def is_broken(self, label: str, *, exactly: bool = False) -> Callable[[int, str, int], bool]:
        """Return the test whether an array of an equation is broken; if `exactly`, fitted actions count as broken."""

        def broken(call: int, side: str, place: int) -> bool:
            found = self.array(label, "equations", call, side, place)
            return found.state == "broken" or (exactly and not found.is_own)

        return broken

    def _same_as_before(self, label: str, first: np.ndarray, seconds: Sequence[np.ndarray], noise: float) -> Found:
        """Infer the action, or look it up: the input of a module often is the output of another one."""
        key = label, first.shape, str(first.dtype), *(digest(array) for array in (first, *seconds))
        if key not in self.found:
            self.found[key] = infer(self.changes[label].change, first, seconds, noise, self.batch)
        return self.found[key]

    def _array(self, recording: Recording, kind: str, call: int, side: str, place: int) -> np.ndarray | None:
        calls = self.base.calls if kind == "calls" else self.base.equations
        others = recording.calls if kind == "calls" else recording.equations
        if call >= len(others) or others[call].name != calls[call].name:
            return None
        arrays: tuple[np.ndarray, ...] = getattr(others[call], side)
        return arrays[place] if place < len(arrays) else None

    def state(self, label: str, call: int, side: str) -> Found:
        """Return how the arrays of one side of a call change; the worst of them."""
        one = self.base.calls[call]
        if call == len(self.base.calls) - 1:  # the whole function; a module may have its name too
            return self._whole(label) if side == "outputs" else Found("kept", "declared", 0.0, 0.0)
        arrays = getattr(one, side)
        if side == "outputs" and not arrays:
            return Found("unknown", one.reason or "no arrays", np.nan, np.nan)
        return worst([self.array(label, "calls", call, side, place) for place in range(len(arrays))])

    def declared(self, label: str, call: int, side: str, how: Declared) -> Found:
        """Compare the arrays of a call with their declared terms."""
        change = self.changes[label]
        terms = how.outputs if side == "outputs" else how.inputs
        if not isinstance(change.change, Moved):
            return self.state(label, call, side)
        found = []
        for place, term in enumerate(terms):
            first = self._array(self.base, "calls", call, side, place)
            seconds = [self._array(one, "calls", call, side, place) for one in change.recordings]
            known = [wide(array) for array in seconds if array is not None]
            if first is None or len(known) < len(seconds):
                found.append(Found("unknown", "other modules are called", np.nan, np.nan))
                continue
            start = batch_first(wide(first), self.batch)
            wanted = [predicted(self.signature, term, label, e, start) for e in change.change.elements]
            noise = self.noise("calls", call, side, place, *known)
            found.append(compared(str(term), wanted, [batch_first(a, self.batch) for a in known], noise))
        return worst(found)

    def _whole(self, label: str) -> Found:
        """Compare the outputs of the function with those that the signature predicts."""
        change, last = self.changes[label], len(self.base.calls) - 1
        names = sorted(change.wanted[0])
        found = []
        for place, name in enumerate(names):
            seconds = [wide(one.calls[-1].outputs[place]) for one in change.recordings]
            noise = self.noise("calls", last, "outputs", place, *seconds)
            wanted = [arrays[name] for arrays in change.wanted]
            cut = [
                a[tuple(map(slice, b.shape))] if a.ndim == b.ndim else a for a, b in zip(seconds, wanted, strict=True)
            ]
            found.append(compared("as declared", wanted, cut, noise))
        return worst(found)


def digest(array: np.ndarray) -> bytes:
    """Return a short text that tells arrays apart."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def compared(text: str, wanted: Sequence[np.ndarray], given: Sequence[np.ndarray], noise: float) -> Found:
    """Compare arrays with those that an action predicts."""
    scale = max(map(rms, wanted), default=0.0) or 1.0
    error = max(rms(a - b) for a, b in zip(wanted, given, strict=True))
    kept = error <= MARGIN * noise
    return Found("kept" if kept else "broken", text if kept else f"not {text}", error / scale, noise / scale)


def worst(found: Sequence[Found]) -> Found:
    """Return the worst of several arrays: broken, then unknown; the texts of kept ones are joined."""
    for state in ("broken", "unknown"):
        for one in found:
            if one.state == state:
                return one
    if not found:
        return Found("kept", "no arrays", 0.0, 0.0)
    text = "; ".join(dict.fromkeys(one.text for one in found))
    error, rounding = max(one.error for one in found), max(one.rounding for one in found)
    return Found("kept", text, error, rounding, is_own=all(one.is_own for one in found))
