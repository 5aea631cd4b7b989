"""LieGAN: find generators of a group that the distribution of inputs and outputs admits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from equikit import _checks
from equikit._errors import GroupError, OptionError, ShapeError
from equikit._progress import progress
from equikit.auditing import raised
from equikit.discover._numbers import is_real, real_array
from equikit.discover.adversarial._game import Discriminator, Rules, epoch
from equikit.groups import MatrixGroup
from equikit.groups.lie import Recognized, recognize

GROWN = 0.7
"""The share of the epochs after which integer coefficients have their full range."""
STILL = 0.95
"""Elements with a larger mean cosine between moved and unmoved inputs are near the identity."""
LOOSE = 0.08
"""The noise of generators that were learned, as the sine of an angle."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundGenerators:
    """Generators that LieGAN has found.

    Attributes:
        basis: float64 `[count, n, n]`: elements of a Lie algebra, or logarithms of generators of a discrete group.
        discrete: whether coefficients were integers, so that only products of the exponentials are in the group.
        losses: for each epoch the adversarial loss of the generators, the absolute mean cosine between moved and
            unmoved inputs, and the loss of the discriminator. Without any information the first and the last are ln 2.
    """

    basis: Float[np.ndarray, "count n n"]
    discrete: bool
    losses: Float[np.ndarray, "epochs 3"]

    @property
    def group(self) -> MatrixGroup:
        """The group in the coordinates of the data: by its Lie algebra, or by generators if it is discrete."""
        from scipy.linalg import expm

        return MatrixGroup([*expm(self.basis)]) if self.discrete else MatrixGroup(lie_algebra=[*self.basis])

    def __group__(self) -> MatrixGroup:
        """Return the group that a label is bound to."""
        return self.group

    @property
    def recognized(self) -> Recognized:
        """The name of the Lie algebra, and a change of basis to its standard matrices.

        The noise of the generators may be 0.08, as the sine of an angle; `equikit.groups.lie.recognize` takes others.

        Raises:
            GroupError: if the group is discrete, or the generators are not closed under commutators within the noise.
        """
        if self.discrete:
            raise GroupError(
                "a discrete group has no Lie algebra to recognize",
                got="integer coefficients",
                expected='coefficients="normal" or "uniform"',
                step="list its elements with found.group.elements()",
            )
        return recognize(self.basis, LOOSE)

    def metric(self, tolerance: float = 0.2) -> Float[np.ndarray, "n n"]:
        r"""Return the metric J with \(\|J\| = 1\) that minimizes \(\sum_i \|L_i^T J + J L_i\|^2\).

        Long generators count more: they are learned from larger motions, with less noise.

        Args:
            tolerance: the largest square root of this sum, relative to \(2 \sqrt{\sum_i \|L_i\|^2}\).

        Raises:
            GroupError: if no metric is preserved within the tolerance.

        Source:
            Yang et al., Generative adversarial symmetry discovery, arXiv:2302.00236, section 4.4 (LieGNN).
        """
        tolerance = _checks.number("tolerance", tolerance, above=0, below=1, example=0.2, traced=False)
        n = self.basis.shape[-1]
        rows, columns = np.tril_indices(n)
        forms = np.zeros((len(rows), n, n))
        forms[np.arange(len(rows)), rows, columns] = forms[np.arange(len(rows)), columns, rows] = 1
        forms /= np.linalg.norm(forms, axis=(1, 2), keepdims=True)
        change = np.einsum("aji,cjk->aikc", self.basis, forms) + np.einsum("cij,ajk->aikc", forms, self.basis)
        _, sizes, right = np.linalg.svd(change.reshape(-1, len(forms)), full_matrices=False)
        error = sizes[-1] / (2 * np.linalg.norm(self.basis))
        if not error <= tolerance:
            raise GroupError(
                "the generators preserve no metric",
                got=f"error {error:.2g} of the best one",
                expected=f"at most {tolerance:g}, as for generators of an orthogonal group O(p, q)",
                step="train longer, or allow more noise by a larger tolerance=",
            )
        best = np.tensordot(right[-1], forms, 1)
        return np.asarray(best * np.sign(best.ravel()[np.argmax(np.abs(best))]))


def _rank(found: FoundGenerators) -> tuple[bool, float]:
    """Rank games: those that move the data first, then by the loss of the discriminator at the end."""
    _, cosine, judge = np.mean(found.losses[-max(len(found.losses) // 10, 1) :], axis=0)
    return bool(cosine < STILL), float(judge)


@dataclass(frozen=True, slots=True)
class LieGAN:
    r"""Find generators of a group by a game: moved data should look like data.

    Elements are \(g = \exp(\sum_i w_i L_i)\) with random coefficients w. They act on the second axis of x, and on y by
    a representation. A discriminator tells (x, y) from (g x, g y); the generators \(L_i\) are trained to fool it. Two
    penalties keep elements away from the identity and generators from each other: the absolute mean cosine between g x
    and x, and the absolute cosines of all pairs of generators.

    Args:
        generators: the number of generators.
        outputs: how the group acts on y: `"invariant"`, `"vector"` like on x, `"dual"` by the inverse transpose, or a
            function from the matrix of an element `[n, n]` to its matrix on the second axis of y, in JAX.
        mask: boolean `[n, n]`; entries of the generators outside are zero.
        coefficients: the distribution of w: `"normal"`, `"uniform"`, or `"integers"` for discrete groups. The range of
            integers grows from one during training: high powers of an element fit only near the right one.
        most: the standard deviation of normal coefficients, or the bound of the others; by default 1, for integers 10.
        similarity: the weight of the cosine between moved and unmoved inputs.
        overlap: the weight of the overlaps of generators.
        killing: whether the overlap is the Killing form of gl(n) instead of the cosine.
        hidden: the widths of the discriminator, a perceptron with leaky ReLUs.
        batch: the number of samples in a step.
        rates: the learning rates of generators and discriminator (Adam).

    Raises:
        OptionError: if an option has no meaning.

    Example:
        >>> import jax
        >>> x = jax.random.normal(jax.random.key(0), (512, 2, 1))
        >>> y = jax.numpy.sum(x**2, axis=(1, 2))
        >>> gan = LieGAN(hidden=(32,), rates=(1e-2, 1e-3))
        >>> found = gan.fit(x, y, epochs=60, key=jax.random.key(1))
        >>> found.basis.shape, found.losses.shape
        ((1, 2, 2), (60, 3))

    Source:
        Yang et al., Generative adversarial symmetry discovery, ICML 2023, arXiv:2302.00236.
    """

    generators: int = 1
    outputs: str | Callable[[Any], Any] = "invariant"
    mask: Any = None
    coefficients: str = "normal"
    most: float | None = None
    similarity: float = 1.0
    overlap: float = 0.1
    killing: bool = False
    hidden: Sequence[int] = (512, 512)
    batch: int = 64
    rates: tuple[float, float] = (1e-3, 2e-4)

    def __post_init__(self) -> None:
        _checks.count("generators", self.generators, least=1)
        if not callable(self.outputs):
            _checks.choice("outputs", self.outputs, ("invariant", "vector", "dual"))
        _checks.choice("coefficients", self.coefficients, ("normal", "uniform", "integers"))
        _checks.number("most", self.most, above=0, example=1, optional=True, traced=False)
        if self.coefficients == "integers" and self.most is not None:
            _checks.count("most", self.most, least=1, example=10)
        _checks.number("similarity", self.similarity, least=0, traced=False)
        _checks.number("overlap", self.overlap, least=0, example=0.1, traced=False)
        _checks.flag("killing", self.killing)
        _checks.widths("hidden", self.hidden)
        _checks.count("batch", self.batch, least=1, example=64)
        if len(_checks.numbers("rates", self.rates, example=(1e-3, 2e-4), above=0.0)) != 2:
            raise OptionError(
                "rates= must be two learning rates",
                got=_checks.shown(self.rates),
                expected="one for the generators, one for the discriminator",
                step="write rates=(1e-3, 2e-4)",
            )

    def fit(self, x: Any, y: Any = None, *, epochs: int = 100, starts: int = 1, key: jax.Array) -> FoundGenerators:
        """Train on data.

        Args:
            x: inputs `[samples, n, channels]`; an element acts on the axis of size n, in all channels.
            y: outputs: real numbers `[samples, *axes]` that are invariant, or `[samples, k, channels]` that are moved;
                or classes as integers `[samples]`, which are invariant. Without outputs the symmetry of the
                distribution of x is sought.
            epochs: the number of passes over the data.
            starts: the number of games, from different generators; with integer coefficients some end at the identity.
            key: JAX key for initial values, batches and coefficients.

        Returns:
            The generators in the coordinates of x, of the game whose discriminator has the largest loss in the last
            tenth of the epochs; games that end at the identity come last.

        Raises:
            ShapeError: if arrays or the mask have the wrong shape.
            OptionError: if data are constant, not finite or fewer than a batch, or training diverges.

        Cost: per start and step an exponential for each sample of a batch, and three passes through the discriminator
            with their gradients.
        """
        count = _checks.count("epochs", epochs, least=1, example=100)
        games = _checks.count("starts", starts, least=1)
        _checks.key(key)
        data = self._read(x, y)
        with progress("playing", games * count) as advance:
            played = [
                self._play(data, count, jax.random.fold_in(jnp.asarray(key), game), advance) for game in range(games)
            ]
        return max(played, key=_rank)

    def _play(
        self, data: tuple[jax.Array, jax.Array, int | None], epochs: int, key: jax.Array, advance: Callable[[str], None]
    ) -> FoundGenerators:
        """Play one game."""
        inputs, outputs, classes = data
        n = inputs.shape[-1]
        mask = jnp.ones((n, n)) if self.mask is None else self._read_mask(n)
        raw_key, judge_key, key = jax.random.split(key, 3)
        width = inputs[0].size + (outputs[0].size if classes is None else 0)
        judge = nnx.split(Discriminator(width, classes, tuple(self.hidden), rngs=nnx.Rngs(judge_key)))
        raw, rules = jax.random.normal(raw_key, (self.generators, n, n)) / np.sqrt(n), self._rules()
        if self.coefficients == "integers":  # all powers of an element of a finite group are bounded
            raw = (raw - jnp.swapaxes(raw, 1, 2)) / np.sqrt(2)
        one, other = rules.optimizers()
        state = raw, judge[1], one.init(raw), other.init(judge[1])
        losses = []
        for number in range(epochs):
            draw = jax.random.fold_in(key, number)
            most = self._range(number / epochs)
            state, played = epoch(rules, judge[0], state, inputs, outputs, mask, most, draw)
            losses.append(np.asarray(played, np.float64))
            if not np.all(np.isfinite(losses[-1])):
                raise OptionError(
                    f"training diverged in epoch {number}",
                    got=f"losses {losses[-1]}",
                    expected="finite losses",
                    step="write rates=(1e-4, 2e-4), or a smaller most=",
                )
            advance(f"cosine {losses[-1][1]:.2f}")
        return FoundGenerators(
            np.asarray(state[0] * mask, np.float64), self.coefficients == "integers", np.array(losses)
        )

    def _range(self, share: float) -> jax.Array:
        """Return the spread of coefficients after a share of the epochs; the range of integers grows from one."""
        if self.coefficients != "integers":
            return jnp.float32(1 if self.most is None else self.most)
        return jnp.float32(round((10 if self.most is None else self.most) ** min(1.0, share / GROWN)))

    def _rules(self) -> Rules:
        return Rules(
            self.coefficients,
            self.outputs,
            float(self.similarity),
            float(self.overlap),
            bool(self.killing),
            int(self.batch),
            (float(self.rates[0]), float(self.rates[1])),
        )

    def _read(self, x: Any, y: Any) -> tuple[jax.Array, jax.Array, int | None]:
        """Return inputs and outputs with unit second moment, and the number of classes."""
        _checks.unmasked("x", x)
        inputs = np.asarray(x)
        if inputs.ndim != 3 or not is_real(inputs.dtype) or not inputs.shape[1]:
            raise ShapeError(
                "x must be vectors",
                got=f"{inputs.dtype}, shape {list(inputs.shape)}",
                expected="real numbers, [samples, n, channels], n at least 1",
                step="add an axis of one channel: x[..., None]"
                if inputs.ndim == 2 and inputs.shape[1]
                else "reshape x so that the group acts on its second axis",
            )
        _checks.finite("the inputs", inputs, step="drop the samples that are not finite")
        if len(inputs) < self.batch or not np.any(np.std(inputs, axis=0)):
            raise OptionError(
                "there are too few different samples",
                got=f"{len(inputs):,} samples, spread {np.std(inputs, axis=0).max(initial=0):.2g}",
                expected=f"at least one batch of {self.batch:,}, not all equal",
                step="pass more samples, or write batch=16",
            )
        scaled = np.swapaxes(inputs, 1, 2) / np.sqrt(np.mean(np.square(inputs, dtype=float)))
        if y is None:
            return jnp.asarray(scaled, jnp.float32), jnp.zeros((len(inputs), 0)), None
        numbers, outputs = real_array("the outputs", y), np.asarray(y)
        _checks.shaped("y", outputs, [len(inputs), *map(str, range(outputs.ndim - 1))], step="pass one row for each x")
        _checks.finite("the outputs", outputs, step="drop the samples that are not finite")
        if outputs.dtype.kind in "iub" and outputs.ndim == 1:
            names, places = np.unique(outputs, return_inverse=True)
            return jnp.asarray(scaled, jnp.float32), jnp.asarray(places), len(names)
        moving = self.outputs != "invariant"
        outputs = numbers
        center = 0 if moving else outputs.mean(0)
        spread = np.sqrt(np.mean((outputs - center) ** 2, axis=None if moving else 0)) + 1e-12
        outputs = (outputs - center) / spread
        wanted = self._size_of_outputs(inputs.shape[1])
        if wanted is not None and (*outputs.shape[1:2], outputs.ndim) != (wanted, 3):
            raise ShapeError(
                "the group does not act on the second axis of y",
                got=f"shape {list(np.shape(y))}",
                expected=f"[samples, {wanted}, channels]",
                step="add an axis of one channel: y[..., None]"
                if outputs.shape[1:] == (wanted,)
                else 'write outputs="invariant", or reshape y',
            )
        flat = np.swapaxes(outputs, 1, 2) if moving else outputs.reshape(len(outputs), 1, -1)
        return jnp.asarray(scaled, jnp.float32), jnp.asarray(flat, jnp.float32), None

    def _size_of_outputs(self, n: int) -> int | None:
        """Return the size of the representation on outputs, or `None` if any size is fine."""
        if isinstance(self.outputs, str):
            return None if self.outputs == "invariant" else n
        try:
            shape = jax.eval_shape(self.outputs, jax.ShapeDtypeStruct((n, n), jnp.float32)).shape
        except Exception as error:  # whatever the function raises
            raise raised(error) from error
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ShapeError(
                "outputs= must map a matrix to a matrix",
                got=f"shape {list(shape)} for a matrix [{n}, {n}]",
                expected="a square matrix",
                step="write outputs=lambda g: jnp.kron(g, g)",
            )
        return int(shape[0])

    def _read_mask(self, n: int) -> jax.Array:
        mask = np.asarray(self.mask)
        if mask.shape != (n, n) or mask.dtype.kind not in "biuf" or not np.any(mask):
            raise ShapeError(
                "the mask does not fit the generators",
                got=f"{mask.dtype}, shape {list(mask.shape)}, {np.count_nonzero(mask)} entries not zero",
                expected=f"booleans [{n}, {n}], not all false",
                step=f"write mask=np.ones(({n}, {n}), bool)",
            )
        return jnp.asarray(mask != 0, jnp.float32)
