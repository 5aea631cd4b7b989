"""An explanation method for one model, what it is made of, and the arguments that methods share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from equikit import _checks
from equikit._errors import EquikitError, OptionError, ShapeError
from equikit.plans import Feature, Inputs

Model = Callable[[Any], jax.Array]
"""Maps one input without batch axes, an array `[*axes, channels]` or a dictionary of them, to scores `[classes]`."""
Scalar = Callable[[Any], jax.Array]
"""A model and a class: maps one input to a number."""
Symmetry = Literal["equivariance", "invariance"]
Need = Literal["model", "differentiable", "layer", "permutations", "norm", "baseline", "noise", "regions", "orders"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)  # jax.jit needs weak references
class Explainer:
    """An explanation method for one model: a function of a batch of inputs.

    Attributes:
        name: the method.
        function: maps inputs `[samples, *axes, channels]`, or a dictionary of them, to explanations with one row for
            each sample.
        symmetry: what a symmetric model gives the method: equivariance of attributions, invariance of explanations by
            examples and concepts.
        needs: the conditions of this symmetry, which `guarantee` tests; `None` if they are not known.
        parts: what the conditions are about: `model`, `layer`, `baseline`, `noise`, `regions` and `orders`.
    """

    name: str
    function: Callable[[Any], Any]
    symmetry: Symmetry = "equivariance"
    needs: tuple[Need, ...] | None = None
    parts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __call__(self, x: Inputs) -> Inputs:
        """Explain every sample of a batch."""
        found: Inputs = self.function(x)
        return found

    def __repr__(self) -> str:
        return f"Explainer({self.name!r})"


def samples_of(x: Any) -> int:
    """Return the number of samples of a batch, or raise `ShapeError` if its arrays have different numbers."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or () in sizes:
        raise ShapeError(
            "the inputs have no common axis of samples",
            got=", ".join(f"shape {[*np.shape(leaf)]}" for leaf in jax.tree.leaves(x)) or "no arrays",
            expected="arrays [samples, *axes, channels]",
            step="give every array one row for each sample",
        )
    return int(sizes.pop()[0])


def attribution(
    name: str,
    model: Model,
    target: int | ArrayLike | None,
    one: Callable[[Scalar, Any], Any],
    needs: tuple[Need, ...],
    **parts: Any,
) -> Explainer:
    """Return a method that attributes the score of a class to the entries of the input.

    Args:
        name: the method.
        model: see `Model`.
        target: the class of each sample, or of all; `None` if the model returns one number.
        one: maps the score as a function and one input to attributions of the same shape.
        needs: the conditions under which attributions are equivariant.
        **parts: what the conditions are about.
    """
    _checks.function("model", model, example="lambda x: jnp.sum(x, axis=-2)")
    classes = None if target is None else _classes(target)

    @jax.jit
    def explained(x: Any, classes: Any) -> Any:
        def single(x: Any, number: Any) -> Any:
            return one(lambda x: model(x) if number is None else model(x)[number], x)

        return jax.vmap(single)(x, classes)

    def batch(x: Any) -> Any:
        samples = samples_of(x)
        x = jax.tree.map(lambda leaf: _checks.array("x", leaf), x)
        _refuse_unscored(model, jax.tree.map(lambda leaf: leaf[0] if samples else jnp.ones(leaf.shape[1:]), x), classes)
        if classes is not None and classes.shape not in ((), (samples,)):
            raise ShapeError(
                "the number of targets is not the number of samples",
                got=f"{classes.size} targets for {samples} samples",
                expected="one class for each sample, or one for all",
                step="give one target for each row of x, in the same order",
            )
        return explained(x, None if classes is None else jnp.broadcast_to(classes, (samples,)))

    return Explainer(name, batch, "equivariance", needs, MappingProxyType({"model": model, **parts}))


def _classes(target: Any) -> np.ndarray:
    classes = np.asarray(target)
    if classes.ndim > 1 or not np.issubdtype(classes.dtype, np.integer) or np.any(classes < 0):
        raise OptionError(
            "target= must be classes",
            got=_checks.shown(target),
            expected="an integer ≥ 0, or one for each sample",
            step="write target=0",
        )
    return classes


def _refuse_unscored(model: Model, sample: Any, classes: np.ndarray | None) -> None:
    """Raise `ShapeError` or `OptionError` if a model does not have a score for every target."""
    try:
        shape = getattr(jax.eval_shape(model, sample), "shape", None)
    except EquikitError:
        raise
    except Exception as error:  # whatever the model raises
        raise OptionError(
            "the model raises an exception for one sample",
            got=f"{type(error).__name__}: {_checks.shown(str(error), 200)[1:-1]}",
            expected="a function of one sample, without batch axes",
            step="call the model on one sample, and follow its traceback",
        ) from error
    if shape is None or len(shape) != (0 if classes is None else 1):
        raise ShapeError(
            "the model does not return one score" if classes is None else "the model does not return scores of classes",
            got="no array" if shape is None else f"shape {[*shape]} for one sample without batch axes",
            expected="shape []" if classes is None else "shape [classes]",
            step="give target= the class of each sample" if classes is None else "leave target= out, or return scores",
        )
    if classes is not None:
        most = int(np.max(classes, initial=0))
        if most >= shape[0]:
            raise OptionError(
                "a target is not a class of the model",
                got=f"target {most}",
                expected=f"classes from 0 to {shape[0] - 1}",
                step="correct the targets, or the model",
            )


def same_structure(one: Any, other: Any) -> bool:
    """Whether two trees have the same structure."""
    return bool(jax.tree.structure(one) == jax.tree.structure(other))  # type: ignore[operator]


def filled(baseline: Any, x: Any) -> Any:
    """Return a baseline with the shapes of one input, or raise `ShapeError`."""
    try:
        if same_structure(baseline, x):
            return jax.tree.map(lambda b, leaf: jnp.broadcast_to(jnp.asarray(b, leaf.dtype), leaf.shape), baseline, x)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(baseline, leaf.dtype), leaf.shape), x)
    except (TypeError, ValueError):
        raise ShapeError(
            "baseline= does not fit the inputs",
            got=", ".join(f"shape {[*np.shape(leaf)]}" for leaf in jax.tree.leaves(baseline)),
            expected=f"a number, or for one sample {', '.join(str([*a.shape]) for a in jax.tree.leaves(x))}",
            step="give the baseline without an axis of samples",
        ) from None


def chosen(inside: Any, x: Any, baseline: Any) -> Any:
    """Return an input with the entries outside of a region replaced by the baseline."""
    return jax.tree.map(lambda i, one, other: jnp.where(i, one, other), inside, x, baseline)


def checked_regions(regions: Any) -> Any:
    """Return regions as arrays of booleans, or raise `OptionError`."""
    found = jax.tree.map(np.asarray, regions)
    leaves = jax.tree.leaves(found)
    counts = {leaf.shape[:1] for leaf in leaves}
    if len(counts) != 1 or any(leaf.dtype != bool or leaf.ndim < 2 or not len(leaf) for leaf in leaves):
        raise OptionError(
            "regions= must be booleans, true inside of a region",
            got=", ".join(f"{leaf.dtype} of shape {[*leaf.shape]}" for leaf in leaves) or "no array",
            expected="bool [regions, *axes, channels or 1]",
            step="make them with windows",
        )
    return found


def refuse_misfit(regions: Any, x: Any) -> None:
    """Raise `ShapeError` if regions do not have the axes of one input."""
    fits = same_structure(regions, x) and all(
        region.shape[1:-1] == leaf.shape[:-1] and region.shape[-1] in (1, leaf.shape[-1])
        for region, leaf in zip(jax.tree.leaves(regions), jax.tree.leaves(x), strict=True)
    )
    if not fits:
        raise ShapeError(
            "the regions do not have the axes of the inputs",
            got=", ".join(f"shape {[*region.shape]}" for region in jax.tree.leaves(regions)),
            expected=", ".join(f"[regions, {', '.join(map(str, a.shape[:-1]))}, 1]" for a in jax.tree.leaves(x)),
            step="make them with windows for the axes of one input",
        )


def windows(shape: tuple[int, ...], size: int | tuple[int, ...] = 1, *, cyclic: bool = False) -> np.ndarray:
    """Return all windows of a grid, as regions for `occlusion` and `shapley`.

    Cyclic windows wrap around, so that shifts permute them; other windows stay inside of the grid, and shifts move some
    of them to sets that are no window. Windows of one entry are stable under all permutations of the axes.

    Args:
        shape: the axes of one input, without channels.
        size: the length of a window along each axis.
        cyclic: whether windows wrap around.

    Returns:
        Booleans `[regions, *shape, 1]`.

    Raises:
        OptionError: if a window is larger than the grid, or the grid is empty.

    Cost: one array of regions times entries.

    Example:
        >>> windows((4,), 3)[..., 0].astype(int).tolist()
        [[1, 1, 1, 0], [0, 1, 1, 1]]
        >>> len(windows((4,), 3, cyclic=True)), windows((2, 3)).shape
        (4, (6, 2, 3, 1))
    """
    shape = _checks.widths("shape", shape, fewest=1, example="(8,)", what="sizes")
    sizes = (size,) * len(shape) if _checks.integer(size) is not None else size
    sizes = _checks.widths("size", sizes, fewest=len(shape), example="(3, 3)", what="sizes")
    _checks.flag("cyclic", cyclic)
    regions = np.ones((1, 1), bool)
    for n, width in zip(shape, sizes, strict=True):
        _checks.count("the size of a window", width, least=1, most=n, step="use smaller windows")
        starts = np.arange(n if cyclic and width < n else n - width + 1)
        along = (np.arange(n) - starts[:, None]) % n < width
        regions = (regions[:, None, :, None] & along[None, :, None, :]).reshape(len(regions) * len(along), -1)
    return regions.reshape(-1, *shape, 1)


def feature(array: Any) -> Feature:
    """Return the values of a layer, as one vector."""
    found: Feature = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(array)])
    return found
