"""Random elements of a frame: one sample per step in training, the exact average in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from equikit import _keywords
from equikit.symmetrization.engine._action import Action
from equikit.symmetrization.engine._frame import Frame
from equikit.symmetrization.engine._method import Method, checked_method
from equikit.symmetrization.engine._options import option
from equikit.symmetrization.engine._sample import Sample


class _Drawing(Method):
    of: Method
    samples: int

    @property
    def needs_key(self) -> bool:
        """Whether the frame itself is random."""
        return self.of.needs_key

    def acts_on(self, action: Action) -> frozenset[str]:
        """The labels of the frame."""
        return self.of.acts_on(action)

    def reads(self, action: Action) -> frozenset[str]:
        """The labels that the frame reads."""
        return self.of.reads(action)

    def frame(self, action: Action, sample: Sample, key: jax.Array | None) -> Frame:
        """Return random elements with a key, or all elements without a key."""
        if key is None:
            return self.of.frame(action, sample, None)
        return self.draw(action, sample, key, self.samples)

    def draw(self, action: Action, sample: Sample, key: jax.Array, samples: int) -> Frame:
        """Sample elements of the underlying frame: samples of samples are not independent."""
        return self.of.draw(action, sample, key, samples)


@dataclass(frozen=True)
class Stochastic(_Drawing):
    r"""With a key, elements sampled from a frame by their weights; without a key, the exact average.

    With a key, the result is equivariant only in expectation, and costs one evaluation per sample; training sees a few
    random elements of frames, similar to augmentation by random rotations. Without a key, in evaluation, all elements
    are averaged, and the result is equivariant up to rounding. This is the recommended way to train with frames.

    Args:
        of: the frame.
        samples: the number of sampled elements for each input; the standard error is in `info`.

    Cost: with a key, one evaluation of the backbone for each sample.

    Example:
        >>> import equikit as ek, jax.numpy as jnp
        >>> sym = ek.symmetrize(jnp.sin, "p x -> p x", p=ek.S, x=ek.O(3), how=Stochastic(ek.frames.PCA()))
        >>> x = jax.random.normal(jax.random.key(0), (5, 3, 1))
        >>> sym.frame(x).size, sym.frame(x, key=jax.random.key(1)).size
        (8, 1)

    Source:
        Duval et al., FAENet, arXiv:2305.05577, section 3.2.
    """

    of: Method
    samples: int = 1

    @_keywords.needs(of="write of=ek.frames.PCA()")
    def __new__(cls, of: Method, samples: int = 1) -> Any:
        """Return a module if the method has parameters, so that training finds them."""
        return StochasticModule(of, samples) if isinstance(of, nnx.Module) else super().__new__(cls)

    def __getnewargs__(self) -> tuple[Method, int]:
        """Return the arguments with which a copy is made."""
        return self.of, self.samples

    def __post_init__(self) -> None:
        checked_method("of", self.of)
        object.__setattr__(self, "samples", option("samples", self.samples))


class StochasticModule(_Drawing, nnx.Module):
    """Random elements of a method with parameters: the module that `Stochastic` returns for a module."""

    def __init__(self, of: Method, samples: int = 1) -> None:
        self.of, self.samples = of, option("samples", samples)
