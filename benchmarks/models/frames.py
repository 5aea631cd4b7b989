"""Rivals whose elements are computed: frames, sorts and averages over groups."""

from __future__ import annotations

from collections.abc import Callable

import equikit as ek
from benchmarks.core.trained import Rival
from benchmarks.models.wrapped import SYMMETRIES, How, symmetrized
from equikit.symmetrization.frames import QR, Alignment, Directions, GroupAverage, Sort, Stochastic


def _axes(task: str) -> How:
    """Return principal axes, also for inputs that do not determine them."""
    return ek.frames.PCA(terms=(SYMMETRIES[task].axes,), on_degenerate="flag")


def frame(task: str, seed: int) -> Rival:
    """The mean over the frame of principal axes, in training and in the tests; 8 evaluations a step."""
    return symmetrized(task, seed, _axes(task))


def stochastic_frame(task: str, seed: int) -> Rival:
    """One element of the frame at random in training, the mean over all in the tests."""
    return symmetrized(task, seed, Stochastic(_axes(task)), draws="training")


def sorted_frame(task: str, seed: int) -> Rival:
    """The same, with bodies sorted by mass; or points sorted by their coordinates."""
    if task == "digit clouds":
        return symmetrized(task, seed, Sort())
    # Masses come first; bodies of nearly one mass are told apart by their places, and both orders need not be listed.
    return symmetrized(task, seed, [Stochastic(_axes(task)), Sort()], draws="training")


def minimal_frame(task: str, seed: int) -> Rival:
    """Return one element, by Gram-Schmidt on the vectors in the given order, without permutations."""
    how = QR(terms=(SYMMETRIES[task].axes,), on_degenerate="flag")
    return symmetrized(task, seed, how, groups={"p": ek.Fixed(5)} if task == "inertia" else None)


def weighted_frame(task: str, seed: int) -> Rival:
    """One element of a continuous weighted frame at random in training, the mean over all in the tests."""
    how = Directions(number=16) if task == "digit clouds" else Alignment(terms=(SYMMETRIES[task].axes,))
    return symmetrized(task, seed, Stochastic(how), draws="training")


def group_average(task: str, seed: int) -> Rival:
    """One quarter turn at random in training, the mean over all four in the tests."""
    how = GroupAverage(axes=("i", "j"), group=ek.Z(4))
    return symmetrized(task, seed, Stochastic(how), draws="training")


FRAMES: dict[str, Callable[[str, int], Rival]] = {
    "frame": frame,
    "stochastic frame": stochastic_frame,
    "sorted": sorted_frame,
    "minimal frame": minimal_frame,
    "weighted frame": weighted_frame,
    "group average": group_average,
}
