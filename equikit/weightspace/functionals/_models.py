"""Functionals with the choices of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from flax import nnx

from equikit import _checks
from equikit.weightspace.functionals._fixed import FixedAxes, ends
from equikit.weightspace.functionals._functional import Functional
from equikit.weightspace.specifications._specification import Specification, checked_specification


class UNF(Functional):
    r"""A universal neural functional, with position encodings of everything that is not permuted.

    Axes of inputs, outputs and space are treated as if they were permuted, which the paper notes is no symmetry of the
    model; learned codes of the positions break it again. The paper treats positions of a kernel so without codes.
    The number of weights does not depend on any size: those of a perceptron with L weights and L biases have
    \(4 L^2 + 10 L - 4\) diagrams.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers for each weight: of the input, of the hidden layers, of the output.
        out: labels of the output, `""` for invariants; by default a tree like the parameters.
        rngs: random keys for the parameters.
        **options: all others of `Functional`.

    Raises:
        OptionError: if an option does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import trace
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> UNF(spec, [1, 16, 4], out="", rngs=nnx.Rngs(0))(params).shape
        (4,)

    Source:
        Zhou, Finn and Harrison, Universal neural functionals, arXiv:2402.05232.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        super().__init__(spec, channels, out, **_chosen("UNF", options, "positions"), rngs=rngs)


class NFN(Functional):
    """A permutation-equivariant neural functional, NP or HNP, with positions in space as channels.

    With `"HNP"` hidden neurons are permuted, and the ends, inputs and outputs of the model, have weights for every
    index: no symmetry is assumed that is not there. With `"NP"` the ends are treated as if they were permuted too, and
    learned codes of their positions break this symmetry; the number of weights does not grow with the ends.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers for each weight: of the input, of the hidden layers, of the output.
        out: labels of the output, `""` for invariants; by default a tree like the parameters.
        variant: see above.
        rngs: random keys for the parameters.
        **options: all others of `Functional`.

    Raises:
        OptionError: if there is no such variant, or an option does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import trace
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> NFN(spec, [1, 16, 1], variant="HNP", rngs=nnx.Rngs(0))(params)["first"].shape
        (3, 8)

    Source:
        Zhou et al., Permutation equivariant neural functionals, arXiv:2302.14040. Its layers are
        written for chains of dense and convolutional layers; here they are those of any specification.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        variant: Literal["NP", "HNP"] = "NP",
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        checked_specification(spec)
        self.variant = _checks.choice("variant", variant, ("NP", "HNP"))
        coded: dict[str, FixedAxes] = dict.fromkeys(ends(spec), "positions") if variant == "NP" else {}
        super().__init__(spec, channels, out, **_chosen("NFN", options, coded), rngs=rngs)


class DWSNet(Functional):
    """A deep-weight-space network: all affine maps that commute with permutations of hidden neurons, and no others.

    These are the layers of `NFN` with `"HNP"`: two papers found one space of maps. They are linear here, as in the
    characterization of the paper; its code puts attention with a maximum in the place of sums by default.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers for each weight: of the input, of the hidden layers, of the output.
        out: labels of the output, `""` for invariants; by default a tree like the parameters.
        rngs: random keys for the parameters.
        **options: all others of `Functional`.

    Raises:
        OptionError: if an option does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import trace
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> DWSNet(spec, [1, 16], out="", head=[10], rngs=nnx.Rngs(0))(params).shape
        (10,)

    Source:
        Navon et al., Equivariant architectures for learning in deep weight spaces, arXiv:2301.12780.
    """

    def __init__(
        self,
        spec: Specification,
        channels: Sequence[int],
        out: str | None = None,
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        super().__init__(spec, channels, out, **_chosen("DWSNet", options, "dense"), rngs=rngs)


def _chosen(name: str, options: dict[str, Any], fixed: FixedAxes | dict[str, FixedAxes]) -> dict[str, Any]:
    """The options of a functional, with the choice of a paper, which must not be given again."""
    _checks.refuse_unknown(name, {*options} & {"fixed"}, _checks.call_of(Functional).options - {"fixed"})
    return {**options, "fixed": fixed}
