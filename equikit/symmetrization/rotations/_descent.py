"""Canonical forms by gradient descent over a group of rotations."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from equikit import _checks
from equikit._errors import OptionError, ShapeError
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, Element
from equikit.symmetrization.engine._frame import Frame, in_one_list
from equikit.symmetrization.engine._info import Info
from equikit.symmetrization.engine._method import Method
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.finite._choice import copies, finite_inputs, wide
from equikit.symmetrization.finite._score import Score, without_absent
from equikit.symmetrization.finite._selection import Choosing, TieOptions
from equikit.symmetrization.frames import PCA
from equikit.symmetrization.rotations._paths import followed, lowest, noise_of, start_error
from equikit.symmetrization.rotations._vectors import definite_label


class EnergyDescent(Choosing):
    r"""The rotation with the lowest energy, \(\mathrm{argmin}_g\, E(g^{-1} x)\), by descent over SO(d) or O(d).

    Descent begins at several starts, with steps \(g \leftarrow g \exp(-\eta \xi)\), where \(\xi\) in the Lie algebra is
    the gradient of \(E(\exp(-\xi) g^{-1} x)\) at zero. It depends only on the canonical form \(g^{-1} x\), so that
    paths move with the input if their starts do: **the result is as equivariant as the starts**.

    - With the elements of a frame as starts (`PCA`, the default), it is equivariant up to rounding, for any encoder,
      converged or not; with `steps=0`, it is the element of the frame with the lowest energy. Each step multiplies
      rounding errors by \(|1 - \eta c|\) along a direction of curvature c, and paths near a saddle or with too long
      steps may diverge. The errors of the starts are propagated along each path, as one direction and to first order:
      `info.doubt` is their size at the end, and infinite if a path may have ended elsewhere. An input is degenerate if
      the doubt is too large, or if energies are tied whose order may depend on these errors. For a sum of tanh of five
      points, this is one cloud in a thousand with 10 steps of rate 0.1, one in 25 with 20 of rate 0.3, and one in
      twelve with 50: keep \(\eta c\) below one, and steps few. Kinks of the encoder are not detected.
    - Paths do not always descend: too long steps may end above their start, most often where \(\eta c\) exceeds two.
      The end is returned even so, since a choice of the lowest step would jump between steps. Then
      `info.more["energy"]` exceeds `info.more["start_energy"]`, the least energy of the starts: take shorter steps.
    - With given matrices as starts, it is equivariant only if all paths to the least energy converge, for the input and
      for the rotated input; the remaining gradient is in `info.more["gradient"]`.

    Starts that give the same copy of the input up to errors, as for a symmetric input, count as one path, since descent
    would amplify their rounding errors. Paths that end in one minimum, within 0.1 of each other, are averaged, with
    weights that decrease with the energy, since rounding decides which is the lowest. If paths end elsewhere with
    equally low energies, the input is degenerate.

    Args:
        encoder: a function of the backbone's inputs, with one batch axis, `[inputs, *axes, channels]`, to energies
            `[inputs]`; with `features`, to vectors whose energy is minus the cosine to a learned reference.
        label: the axis of the rotations; the only one bound to O or SO by default.
        starts: a method whose frames provide the starts for every input, or matrices `[starts, d, d]`.
        steps: the number of steps.
        learning_rate: \(\eta\), for energies of curvature about one; steps rotate by at most half a radian.
        features, rngs: as for `EnergyCanonicalization`.
        tolerance: energies this close to the least are tied, relative to the spread of all energies seen, or to the
            size of the least if that is larger; by default 64 rounding units.
        on_degenerate: what to do with ties, unless they give the backbone the same input and no output is rotated:
            `"error"`, `"flag"`, `"sample"`, or `"weighted"`, the exact average over all of them, which evaluates the
            backbone for every start if an input of the batch has ties, as in `ImageCanonicalization`. An average cannot
            join paths that rounding has separated: `"weighted"` refuses such inputs too.
        differentiable: whether derivatives include the descent, for the encoder and for the input.
        invariant_to: other labels whose groups do not change the energy, such as the label of the points.

    Raises:
        GroupError: if the label has another group.
        FrameError: for a degenerate input, with `on_degenerate="error"`; for a non-finite input.

    Cost: `steps` gradients of the encoder for all starts at once, each with its derivative along one direction; one
    evaluation of the backbone.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization.canonicalization import EnergyDescent
        >>> def energy(x):                                                  # `[inputs, points, 2, 1]`: far to the right
        ...     return -jnp.sum(jnp.tanh(x[:, :, 0, 0]), axis=1)
        >>> sym = ek.symmetrize(
        ...     lambda x: x[..., 0, :, :], "p x -> x", p=ek.Fixed(4), x=ek.SO(2), how=EnergyDescent(energy))
        >>> x = jax.random.normal(jax.random.key(0), (4, 2, 1))
        >>> turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
        >>> run = jax.jit(sym)
        >>> bool(jnp.allclose(run(turn @ x), turn @ run(x), atol=1e-4))
        True

    Source:
        Kaba et al., arXiv:2211.06489, section 3.2, with descent from one start.
    """

    def __init__(
        self,
        encoder: Any,
        label: str | None = None,
        *,
        starts: Method | ArrayLike | None = None,
        steps: int = 10,
        learning_rate: float = 0.1,
        features: int | None = None,
        rngs: nnx.Rngs | None = None,
        differentiable: bool = True,
        **options: Unpack[TieOptions],
    ) -> None:
        super().__init__(**options)
        self.score = Score(encoder, features, rngs)
        self.label = option("label", label)
        self.starts: Any = _checked_starts(PCA(label) if starts is None else starts)
        self.reflects = not isinstance(starts, Method | None) and bool(np.any(np.linalg.det(np.asarray(starts)) < 0))
        self.steps = option("steps", steps)
        self.learning_rate = option("learning_rate", learning_rate)
        self.differentiable = option("differentiable", differentiable)

    @property
    def needs_key(self) -> bool:
        """Whether ties, or starts, are sampled at random."""
        return super().needs_key or (isinstance(self.starts, Method) and self.starts.needs_key)

    def acts_on(self, action: Action) -> frozenset[str]:
        """The label of the rotations."""
        label = definite_label(self, action, self.label)
        group = action.groups[label]
        if isinstance(self.starts, Method):
            acted, step = self.starts.acts_on(action), f'write starts=ek.frames.PCA("{label}")'
            _checks.same_names("the starts", dict.fromkeys(acted), [label], step=step, error=OptionError)
        elif group.n not in (None, self.starts.shape[-1]):
            raise ShapeError(
                f"the starts have not the size of {group}",
                got=f"shape {list(self.starts.shape)}",
                expected=f"[starts, {group.n}, {group.n}]",
                step="draw them with group.random_element",
            )
        if self.reflects and group.special:
            raise OptionError(
                f"some starts are not elements of {group}",
                got="matrices of determinant -1",
                expected="rotations, of determinant 1",
                step=f"draw them with {group}.random_element, or bind {label}=ek.O",
            )
        return frozenset([label])

    def reads(self, action: Action) -> frozenset[str]:
        """All labels on which the method does not act, except those in `invariant_to`, and the labels of the starts."""
        starts = self.starts.reads(action) if isinstance(self.starts, Method) else frozenset()
        return starts | super().reads(action)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return the ends of the paths with the lowest energy."""
        (label,) = self.acts_on(action)
        x, masks = without_absent(action, sample.x, sample.masks), sample.masks
        dtype = wide(jnp.zeros(0), x)
        starts = self._starts(action, label, sample, key, dtype)
        start = starts.elements.linear[label].astype(dtype)
        start = start if self.differentiable else jax.lax.stop_gradient(start)
        lead = start.shape[:-2]
        seen = {name: jnp.broadcast_to(mask, (*lead, mask.shape[-1])) for name, mask in masks.items()}

        def moved(turn: Array) -> dict[str, Array]:
            arrays: dict[str, Array] = copies(action, Element({label: turn}), x, {})[0]
            return arrays

        def energy(arrays: dict[str, Array]) -> Array:
            return -self.score(action, arrays, seen, lead)[0].astype(dtype)

        paths = followed(
            moved,
            energy,
            start,
            start_error(starts, label, start),
            noise_of(action, sample),
            steps=self.steps,
            rate=self.learning_rate,
            moves=action.output_order(label) > 0,
            there=starts.weights > 0,
        )
        paths = paths if self.differentiable else jax.lax.stop_gradient(paths)
        found: Frame = lowest(action, label, self.tolerance, self.on_degenerate, paths, starts.info, sample, key)
        return found

    def _starts(self, action: Action, label: str, sample: Sample, key: jax.Array | None, dtype: Any) -> Frame:
        if isinstance(self.starts, Method):
            return in_one_list(self.starts.frame(action, sample, key))
        first = action.inputs[0]
        batch = action.batch(first, sample.x[first.name])
        count, d = self.starts.shape[:2]
        places = jnp.expand_dims(jnp.asarray(self.starts, dtype), range(1, len(batch) + 1))
        bad = ~finite_inputs(sample, len(batch))
        weights = jnp.full((count, *batch), 1 / count, dtype)
        turns = jnp.broadcast_to(places, (count, *batch, d, d))
        return Frame(Element({label: turns}), weights, Info(jnp.ones(batch, jnp.float32), bad, bad))

    def __repr__(self) -> str:
        starts = repr(self.starts) if isinstance(self.starts, Method) else f"{len(self.starts)} matrices"
        return f"EnergyDescent({type(self.score.encoder).__name__}, starts={starts}, steps={self.steps})"


def _checked_starts(starts: object) -> Any:
    if isinstance(starts, Method):
        return starts
    is_key = isinstance(starts, jax.Array) and jnp.issubdtype(starts.dtype, jax.dtypes.prng_key)
    array = np.asarray(None if is_key else starts)
    d = array.shape[-1] if array.ndim == 3 else 0
    square = array.ndim == 3 and array.shape[0] > 0 and array.shape[1] == d and array.dtype.kind in "fi"
    if not square or not np.allclose(array @ np.swapaxes(array, -1, -2), np.eye(d), atol=1e-5):
        raise OptionError(
            "the starts are not rotations",
            got=f"{array.dtype} of shape {list(array.shape)}",
            expected="a method, such as ek.frames.PCA(), or orthogonal matrices [starts, d, d]",
            step="leave starts= out",
        )
    return nnx.data(jnp.asarray(array, float))
