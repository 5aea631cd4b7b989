"""What an audit has found, as a value and as text."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from equikit._errors import OptionError
from equikit.auditing._bounds import Interval
from equikit.auditing._probe import MEAN
from equikit.auditing._worst import WorstElement
from equikit.auditing.modules import ModuleReport
from equikit.auditing.reports._page import integer_matrices, page, report_html
from equikit.auditing.subgroups import Kept
from equikit.groups import Group


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    r"""How well a function keeps a symmetry.

    The normalized error of a sample x and an element g is
    \(\lVert f(gx) - g f(x) \rVert / (\lVert f(gx) \rVert + \lVert g f(x) \rVert)\), from 0 to 1.

    Attributes:
        signature: the signature, and the groups of its labels.
        framework, precision: what the function works with: `"jax"`, `"numpy"` or `"torch"`, and the coarsest dtype
            among its inputs and outputs.
        samples: the number of samples.
        error: the mean normalized error, over output terms, samples and elements.
        interval: bounds on the mean over all elements, for these samples; equal to the error if every element was used.
        relative: the mean norm of the difference over the mean norm of g f(x); infinite if f(x) is zero, but f(g x) is
            not.
        worst: the largest normalized error of a single sample, element and term.
        worst_element: the element with the largest mean error over the samples that a search has found; if only single
            channels show an error, of the worst of them.
        rounding: the mean normalized error that rounding explains.
        passed: whether rounding explains all errors.
        kept: the subgroup that is kept, for each label.
        first_broken: the path of the first module that breaks the symmetry, or the operation of a function of JAX
            without modules. It is `"output"` if the fault is in the code of the root module or function itself. For a
            fault in code between modules, `modules.where` and `modules.step` say between which ones, and what to do
            next.
            `None` if there is no fault, for functions of NumPy, and if no module can be blamed.
        by_sample: the mean normalized error of each sample, `[samples]`.
        by_term: the mean normalized error of each output term.
        by_channel: the mean normalized error of each channel of each output term, `[channels]`, by the norms of this
            channel alone. Places on axes without a group are channels too, the first axis slowest.
        by_element: descriptions of the elements that were tried on all samples, with their mean errors, the largest
            first.
        mixes: whether the output of a sample depends on other samples. Then all samples are moved by the same element.
        modules: the table of modules, if it was made.
        groups: the group of each label.
    """

    signature: str
    framework: str
    precision: str
    samples: int
    error: float
    interval: Interval
    relative: float
    worst: float
    worst_element: WorstElement
    rounding: float
    passed: bool
    kept: Kept
    first_broken: str | None
    by_sample: np.ndarray = field(repr=False)
    by_term: Mapping[str, float] = field(repr=False)
    by_channel: Mapping[str, np.ndarray] = field(repr=False)
    by_element: tuple[tuple[str, float], ...] = field(repr=False)
    mixes: bool = False
    modules: ModuleReport | None = field(default=None, repr=False)
    groups: Mapping[str, Group] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> str:
        """One sentence: whether the function is equivariant."""
        if self.passed:
            return f"equivariant up to rounding in {self.precision}"
        if self.rounding == 0:
            return "not equivariant: the error is no rounding"
        factor = self.error / self.rounding
        if factor <= MEAN:
            some = "some samples, elements or channels"
            return f"not equivariant: rounding explains the mean error, but not the error of {some}"
        return f"not equivariant: the error is {factor:.2g} times what rounding explains"

    @property
    def _elements(self) -> str:
        """How many elements were used; the interval only where there is an error, since draws alone determine it."""
        hidden = self.passed and self.interval.draws
        return f"{self.interval.draws} draws" if hidden else str(self.interval)

    @property
    def _worst(self) -> bool:
        """Whether an element has an error above zero."""
        return self.worst_element.error > 0

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The table of the report: names and values as text."""
        mixed = ["samples are mixed, so that one element moves all"] if self.mixes else []
        rows = [
            ("function", f"{self.signature}, {self.framework}, {self.precision}"),
            ("samples", "; ".join([str(self.samples), *mixed])),
            ("error", f"{self.error:.3g} ({self._elements})"),
            ("relative error", f"{self.relative:.3g}"),
            ("rounding explains", f"{self.rounding:.3g}"),
            ("worst sample", f"{self.worst:.3g}"),
            ("worst element", f"{self.worst_element.error:.3g}: {self.worst_element}" if self._worst else "none"),
            ("kept", str(self.kept)),
        ]
        if len(self.by_term) > 1:
            rows += [(f"error of {name or '()'}", f"{error:.3g}") for name, error in self.by_term.items()]
        name = max(self.by_channel, key=lambda term: float(np.max(self.by_channel[term])))
        errors = self.by_channel[name]
        if not self.passed and len(errors) > 1:
            rows.append(("worst channel", f"{np.max(errors):.3g}: {np.argmax(errors)} of {name or '()'}"))
        found = self.modules
        if self.first_broken is not None:
            known = None if found is None else found.place
            place = "" if known in (None, self.first_broken) else f", at {known}"
            where = place if found is None or found.where is None else f": {found.where}"
            rows.append(("first broken", f"{self.first_broken}{where}"))
        if found is None:
            return rows
        return [*rows, *((name, text) for name, text in (("next step", found.step), ("hint", found.hint)) if text)]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows) + 2
        return "\n".join([self.verdict, *(f"  {name:<{width}}{value}" for name, value in self.rows)])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Return the report as numbers, texts, lists and dictionaries, without the arrays of the groups."""
        return {
            "signature": self.signature,
            "framework": self.framework,
            "precision": self.precision,
            "samples": self.samples,
            "passed": self.passed,
            "error": self.error,
            "interval": {
                "low": self.interval.low,
                "high": self.interval.high,
                "confidence": self.interval.confidence,
                "draws": self.interval.draws,
                "elements": self.interval.elements,
            },
            "relative": self.relative if math.isfinite(self.relative) else None,
            "rounding": self.rounding,
            "worst": self.worst,
            "worst_element": {
                "text": self.worst_element.text,
                "error": self.worst_element.error,
                "elements": {label: _numbers(g) for label, g in self.worst_element.elements.items()},
            },
            "kept": {label: str(group) for label, group in self.kept.items()},
            "first_broken": self.first_broken,
            "place": None if self.modules is None else self.modules.place,
            "where": None if self.modules is None else self.modules.where,
            "hint": None if self.modules is None else self.modules.hint,
            "mixes": self.mixes,
            "by_term": dict(self.by_term),
            "by_channel": {name: errors.tolist() for name, errors in self.by_channel.items()},
            "by_sample": self.by_sample.tolist(),
            "by_element": [{"element": text, "error": error} for text, error in self.by_element],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the report as JSON."""
        return json.dumps(self.as_dict(), indent=indent)

    def _repr_html_(self) -> str:
        return report_html(
            self.verdict,
            self.rows,
            by_element=self.by_element,
            elements=self.interval.elements,
            by_sample=self.by_sample,
            limit=self.rounding,
            worst=integer_matrices(self.groups, self.worst_element.elements) if self._worst else {},
            modules="" if self.modules is None else str(self.modules),
        )

    def save(self, path: str | Path) -> None:
        """Write the report as an HTML page, with pictures of the errors, which needs no other file.

        Args:
            path: a file name that ends in `.html`.

        Raises:
            OptionError: if the name does not end in `.html`, or the file cannot be written.
        """
        try:
            target = Path(path) if isinstance(path, str | os.PathLike) else None
            if target is None or target.suffix.lower() != ".html":
                raise OSError(0, "the name does not end in .html")
            target.write_text(page(self.signature, self._repr_html_()), encoding="utf-8")
        except OSError as error:
            raise OptionError(
                "the report cannot be written",
                got=f"{path}: {error.strerror}",
                expected="a file FILE.html in a folder that exists",
                step='write report.save("report.html")',
            ) from error


def _numbers(element: np.ndarray) -> Any:
    """Return an array as nested lists; complex numbers are pairs."""
    return np.stack([element.real, element.imag], -1).tolist() if np.iscomplexobj(element) else element.tolist()
