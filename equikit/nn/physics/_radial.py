"""Functions of a distance: a basis with a smooth cutoff, followed by a small network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit._array_checks import checked_arrays
from equikit.nn._features import refuse_complex
from equikit.nn._functions import silu
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.signatures import Signature, Term


def cutoff_envelope(distance: jax.Array) -> jax.Array:
    r"""Return \(1 - 28 x^6 + 48 x^7 - 21 x^8\) below one, zero above: twice differentiable, flat at both ends.

    Source:
        Gasteiger et al., Directional Message Passing for Molecular Graphs, arXiv:2003.03123, equation 8 with p = 6.
    """
    x = jnp.minimum(distance, 1)
    return 1 - x**6 * (28 - 48 * x + 21 * x**2)


DISTANCE = Signature((Term("distance", ()),), (), ())


class Radial(Layer):
    r"""Learned functions of a distance that vanish smoothly at a cutoff.

    A network with hidden layers acts on a basis of `basis_size` functions; an envelope that is zero beyond the cutoff
    multiplies its output. The basis is \(\sqrt{2 / c}\, \sin(k \pi r / c) / r\), or equidistant Gaussians.

    Args:
        cutoff: the distance c beyond which all functions are zero.
        channels: number of functions.
        basis: `"bessel"` or `"gaussian"`.
        basis_size: number of basis functions.
        hidden: widths of the hidden layers.
        rngs: random keys for the parameters.
        param_dtype: dtype of the parameters.

    Raises:
        OptionError: if `basis` is unknown, or a number is out of range.

    Example:
        >>> functions = Radial(5.0, 4, rngs=nnx.Rngs(0))
        >>> functions(jnp.array([1.0, 5.0])).shape, float(jnp.abs(functions(jnp.array([5.0, 9.0]))).max())
        ((2, 4), 0.0)

    Source:
        Gasteiger et al., arXiv:2003.03123, for the basis and the envelope; Schütt et al., arXiv:1706.08566.
    """

    def __init__(
        self,
        cutoff: float,
        channels: int,
        *,
        basis: Literal["bessel", "gaussian"] = "bessel",
        basis_size: int = 8,
        hidden: Sequence[int] = (32,),
        rngs: nnx.Rngs,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        _checks.rngs(rngs)
        self.basis = _checks.choice("basis", basis, ("bessel", "gaussian"))
        self.cutoff: float = _checks.number("cutoff", cutoff, above=0, example=5.0, traced=False)
        self.basis_size = _checks.count("basis_size", basis_size, least=1, example=8)
        count = _checks.count("channels", channels, least=1, example=8)
        widths = [self.basis_size, *_checks.widths("hidden", hidden, example="(32,)"), count]
        self.network = nnx.List(
            [
                Linear("() -> ()", before, after, rngs=rngs, param_dtype=param_dtype)
                for before, after in itertools.pairwise(widths)
            ]
        )

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(layer.channels[1][0] for layer in [*self.network][:-1])

    def _call_arguments(self) -> list[str]:
        return [f"{self.cutoff:g}", str(self.network[-1].channels[1][0])]

    def __call__(self, distance: jax.Array) -> jax.Array:
        """Return the functions `[*batch, channels]` at nonnegative distances `[*batch]`.

        Raises:
            DTypeError: if the distances are not real floating-point numbers.
        """
        (distance,), _ = checked_arrays(DISTANCE, (None,), [distance])
        distance = refuse_complex("distance", distance)
        x = (distance / self.cutoff)[..., None]
        if self.basis == "bessel":
            # sinc is sin(πx) / (πx), with the right value and derivative at zero.
            numbers = jnp.arange(1, self.basis_size + 1, dtype=distance.dtype)
            y = jnp.sqrt(2 / self.cutoff).astype(x.dtype) * numbers * jnp.pi / self.cutoff * jnp.sinc(numbers * x)
        else:
            centers = jnp.linspace(0, 1, self.basis_size, dtype=distance.dtype)
            y = jnp.exp(-0.5 * ((x - centers) * max(self.basis_size - 1, 1)) ** 2)
        for i, layer in enumerate(self.network):
            y = layer(silu(y) if i else y)
        return y * cutoff_envelope(x)
