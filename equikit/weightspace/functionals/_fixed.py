"""Options for how a functional treats axes that are not permuted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from equikit import _checks
from equikit._errors import OptionError
from equikit.groups import Fixed
from equikit.weightspace.specifications._specification import Specification

FixedAxes = Literal["dense", "positions"]
"""Separate weights for every index, or a learned encoding of every position."""
KNOWN = ("dense", "positions")
Encoding = Literal["learned", "sinusoids"]
"""Encodings of positions: parameters, or sines and cosines, which exist for any size."""


def coded_labels(spec: Specification, fixed: FixedAxes | Mapping[str, FixedAxes]) -> tuple[str, ...]:
    """Return the labels whose positions are encoded.

    Args:
        spec: the symmetry of the parameters.
        fixed: one choice for all fixed labels, or a choice by label; labels without a choice are dense.

    Raises:
        OptionError: if a choice is unknown, or a label is unknown or permuted.
    """
    plain = [label for label, what in spec.bindings if isinstance(what, Fixed)]
    choices = fixed if isinstance(fixed, Mapping) else dict.fromkeys(plain, fixed)
    for label, choice in choices.items() if choices else [("", fixed)]:
        if not isinstance(choice, Mapping):
            _checks.choice("fixed", choice, KNOWN)
        if label and label not in plain:
            raise OptionError(
                f"fixed names {label!r}, which is not the label of a fixed axis",
                got=repr(label),
                expected=", ".join(map(repr, plain)) or "no label: all are permuted",
                step="look at spec.terms and spec.groups",
            )
    sizes = spec.sizes
    return tuple(label for label in plain if choices.get(label) == "positions" and sizes[label] > 1)


def sinusoids(size: int, channels: int) -> np.ndarray:
    r"""Return \(\sqrt2 \sin(i\, \omega_k)\) and \(\sqrt2 \cos(i\, \omega_k)\) for each position i, `[size, channels]`.

    The frequencies \(\omega_k\) fall geometrically from 1 to about \(10^{-4}\).

    Source:
        Vaswani et al., Attention is all you need, arXiv:1706.03762, section 3.5.
    """
    place = np.arange(channels)
    angles = np.arange(size)[:, None] * 1e4 ** (-2 * (place // 2) / max(channels, 1))
    found: np.ndarray = np.sqrt(2) * np.where(place % 2, np.cos(angles), np.sin(angles))
    return found


def ends(spec: Specification) -> tuple[str, ...]:
    """Return the labels that `trace` gives to inputs and outputs of the model."""
    return tuple(
        label
        for label, what in spec.bindings
        if isinstance(what, Fixed) and label.rstrip("0123456789") in ("in", "out")
    )
