"""Probabilistic symmetrization: group elements sampled from a learned distribution."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from equikit import _checks
from equikit._errors import GroupError, OptionError
from equikit.groups import O, S
from equikit.signatures import Term
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._element import Array, compose
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._info import Info, merged_more, settled
from equikit.symmetrization.engine._method import Method, permuted_label
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample
from equikit.symmetrization.engine.backbones._modules import held_network
from equikit.symmetrization.engine.backbones._network import NOISE, called, wide_inputs
from equikit.symmetrization.permutations._assignment import ASSIGNMENT, straight_through
from equikit.symmetrization.permutations._permutation import scores_of
from equikit.symmetrization.permutations._sort import SCORES, SortedScores
from equikit.symmetrization.rotations._pooled_vectors import GramSchmidt, pooled_vectors, vector_term
from equikit.symmetrization.rotations._rotation import rotated_label


class Probabilistic(Method, nnx.Module):
    r"""Elements sampled from \(p(g \mid x)\), given by an equivariant network, for S(n), O(d), SO(d) and products.

    The network gets the input and noise ε with a distribution that is invariant under the groups, and maps them to a
    group element \(q(x, \epsilon)\), with \(q(g x, g \epsilon) = g\, q(x, \epsilon)\): scores of the entries, which are
    sorted, for S(n), and vectors, which are orthonormalized, for O(d) and SO(d). Then
    \(p(g' g \mid g' x) = p(g \mid x)\), and the expectation of \(g f(g^{-1} x)\) is equivariant for every x, symmetric
    or not, and all parameters. A mean of samples is equivariant only in expectation; see `info.standard_error`.

    It is group averaging if the network returns the noise, and canonicalization if the network ignores the noise;
    between these, it averages over a learned distribution. For a symmetric input, a single element breaks the symmetry,
    and outputs of entries that a symmetry exchanges differ, but not their expectations.

    Noise is independent and normal, with one number for each entry of the axes and each channel: for S alone, each
    entry has its own noise; for rotations, noise vectors have the axes of the first term that has the label once.
    Derivatives flow through the noise to the network: by Gram-Schmidt, and straight through the sorting as in
    `PermutationCanonicalization`.

    Args:
        network: a pure, equivariant function, as in `RotationCanonicalization` and `PermutationCanonicalization`. It
            gets a dictionary with the noise under `"noise"`; `ek.nn.DeepSets` and `ek.nn.GraphNetwork` get it among the
            numbers of the entries. For several labels it returns a dictionary, with scores under the label, and vectors
            under the label or the labels of their term.
        labels: the axes on which elements act; by default, all that are bound to S or O. At most one of them may be
            bound to O. Several random methods in the list `how` multiply their numbers of samples, so use `samples=1`
            for all but one.
        terms: names of the input terms that the network sees; all by default.
        samples: the number of sampled elements for each input.
        evaluation_samples: the number of samples after `sym.eval()`; by default `samples`.
        noise: the number of channels of the noise.
        scale: the standard deviation of the noise.
        temperature, rounds: options of the soft permutation, as in `PermutationCanonicalization`.

    Attributes:
        deterministic: whether permutations have no derivative, and `evaluation_samples` is used; `eval()` and `train()`
            set it. Elements are still sampled.

    Raises:
        OptionError: if the network or an option does not fit, or there is no key.
        GroupError: if a label has another group.
        ShapeError, DTypeError: if the network's output has the wrong form.
        FrameError: for a non-finite input. Elements that the network's output does not determine, for tied scores or
            dependent vectors, are sampled uniformly.

    Cost: one call of the network and one evaluation of the backbone for each sample.

    Example:
        >>> import equikit as ek
        >>> from equikit.symmetrization import Probabilistic
        >>> network = ek.nn.DeepSets(2, [8], 1, out="p", rngs=nnx.Rngs(0))       # a number and its noise
        >>> how = Probabilistic(network, samples=1000)
        >>> sym = ek.symmetrize(lambda x: jnp.cumsum(x, -2), "p -> p", p=ek.S, how=how)
        >>> y, info = sym(jnp.array([[1.0], [1.0], [5.0]]), key=jax.random.key(0), with_info=True)
        >>> bool(jnp.all(jnp.abs(y[0] - y[1]) < 6 * info.standard_error["p"][0]))      # equal entries, equal outputs
        True

    Source:
        Kim et al., Learning probabilistic symmetrization for architecture agnostic equivariance, arXiv:2306.02866,
        section 2.
    """

    needs_key = True

    def __init__(
        self,
        network: Callable[..., Any],
        labels: str | Sequence[str] | None = None,
        *,
        terms: tuple[str, ...] | None = None,
        samples: int = 1,
        evaluation_samples: int | None = None,
        noise: int = 1,
        scale: float = 1.0,
        temperature: float = 0.1,
        rounds: int = 20,
    ) -> None:
        self.network = held_network(
            network, step="pass what takes the input of symmetrize and returns scores or vectors"
        )
        self.labels = option("labels", labels)
        self.terms = option("terms", terms)
        self.samples = option("samples", samples)
        evaluated = samples if evaluation_samples is None else evaluation_samples
        self.evaluation_samples = _checks.count("evaluation_samples", evaluated, least=1)
        self.noise = option("noise", noise)
        self.scale = option("scale", scale)
        self.temperature = option("temperature", temperature)
        self.rounds = option("rounds", rounds)
        self.deterministic = False

    def __str__(self) -> str:
        return f"Probabilistic({type(self.network).__name__}(...), samples={self.samples})"

    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels of the elements."""
        permuted, rotated = self._labels(action)
        return frozenset(permuted) | frozenset(rotated)

    def reads(self, action: Action) -> frozenset[str]:
        """No labels: the network is invariant under all other groups."""
        return frozenset()

    def _labels(self, action: Action) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the permuted labels, and at most one rotated label."""
        groups = action.groups
        names = self.labels or tuple(name for name, group in groups.items() if isinstance(group, S | O))
        rotated = tuple(name for name in names if isinstance(groups.get(name), O))
        if not names or len(rotated) > 1 or not all(isinstance(groups.get(name), S | O) for name in names):
            raise GroupError(
                f"Probabilistic cannot act on {', '.join(names) or 'no axis'}",
                got=", ".join(f"{label}={what}" for label, what in action.signature.bindings) or "no labels",
                expected="labels bound to S, and at most one bound to O(d) or SO(d)",
                step="bind a label, or name labels= and put another method into the list",
            )
        for name in names:
            if name in rotated:
                rotated_label(self, action, name, "sample", False)
            else:
                SortedScores(permuted_label(self, action, name)).acts_on(action)
        return tuple(name for name in names if name not in rotated), rotated

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Sample elements for every input."""
        assert key is not None, "symmetrize asks for a key"
        return self.draw(action, sample, key, self.evaluation_samples if self.deterministic else self.samples)

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Sample elements independently."""
        x, masks = sample.x, sample.masks
        permuted, rotated = self._labels(action)
        first = action.inputs[0]
        batch = (samples, *action.batch(first, x[first.name]))
        x = {name: jnp.broadcast_to(array, (samples, *array.shape)) for name, array in x.items()}
        masks = {label: jnp.broadcast_to(mask, (samples, *mask.shape)) for label, mask in masks.items()}
        for_noise, for_rotations, *for_ties = jax.random.split(key, 2 + len(permuted))
        found = self._of_network(action, x, masks, batch, permuted, rotated, for_noise)
        several, frames, refused = Sample(x, masks), [], jnp.zeros(batch, bool)
        for label in rotated:
            pooled = pooled_vectors(found, action, label, action.named(self.terms), batch, x, masks, False)
            for array in pooled.values():
                refused = refused | ~jnp.all(jnp.isfinite(array), axis=tuple(range(len(batch), array.ndim)))
            method = GramSchmidt(label, False, None, "sample")
            frames.append(method.frame(action, several.with_arrays(pooled), for_rotations))
        for label, its_key in zip(permuted, for_ties, strict=True):
            scores = scores_of(found, action, label, batch, x)
            orders = SortedScores(label, entries=False).draw(action, several.with_arrays({SCORES: scores}), its_key, 1)
            refused = refused | orders.info.refused
            if not self.deterministic:
                orders = straight_through(orders, label, scores, masks.get(label), self.temperature, self.rounds)
            frames.append(orders)
        refused, infos = jnp.any(refused, axis=0), [frame.info for frame in frames]
        told = [{name: a for name, a in info.more.items() if name in ("matrix", ASSIGNMENT)} for info in infos]
        gaps, ties = [i.gap for i in infos if i.gap is not None], [i.ties for i in infos if i.ties is not None]
        info = Info(
            jnp.full(batch[1:], samples, jnp.float32),
            refused,
            refused,
            gap=jnp.min(functools.reduce(jnp.minimum, gaps), axis=0),
            ties=jnp.max(sum(ties), axis=0) if ties else None,
            more=functools.reduce(merged_more, told),
        )
        elements = functools.reduce(compose, (frame.elements for frame in frames))
        real = jnp.result_type(jnp.float32, *(array.real.dtype for array in x.values()))
        weights = settled(jnp.full(batch, 1 / samples, real), info)
        return Frame(jax.tree.map(lambda array: array[0], elements), weights, info, drawn=True)

    def _of_network(
        self,
        action: Action,
        x: Mapping[str, Array],
        masks: Mapping[str, Array],
        batch: tuple[int, ...],
        permuted: tuple[str, ...],
        rotated: tuple[str, ...],
        key: jax.Array,
    ) -> Any:
        """Return the output of the network for the inputs and new noise."""
        terms = action.named(self.terms)
        if any(term.name == NOISE for term in terms):
            raise OptionError(
                "an input has the name of the noise",
                got=f"terms named {[term.name for term in terms]}",
                expected=f"other names than {NOISE!r}",
                step="rename the term",
            )
        arrays = wide_inputs(action, terms, x)
        vectors = [name for label in rotated for name in vector_term(label, terms).labels]
        noise = Term(NOISE, (*vectors, *(label for label in permuted if label not in vectors)))
        sizes: dict[str, int] = {}
        for term in action.inputs:
            sizes |= dict(zip(term.labels, x[term.name].shape[len(batch) :], strict=False))
        shape = (*batch, *(sizes[label] for label in noise.labels), self.noise)
        dtype = jnp.result_type(*arrays.values())
        arrays[NOISE] = self.scale * jax.random.normal(key, shape, jnp.zeros((), dtype).real.dtype)
        return called(self.network, (*terms, noise), arrays, masks)
