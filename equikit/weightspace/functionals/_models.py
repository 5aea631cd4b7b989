"""Functionals with the options of published models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from flax import nnx

from equikit import _checks, _keywords
from equikit.weightspace.functionals._fixed import FixedAxes, ends
from equikit.weightspace.functionals._functional import Functional
from equikit.weightspace.specifications._specification import Specification, checked_specification


class UNF(Functional):
    r"""A universal neural functional, with position encodings on all axes that are not permuted.

    Axes of inputs, outputs and space are treated as if they were permuted. As the paper notes, this is not a symmetry
    of the model; learned position encodings break it. The paper treats kernel positions in this way without encodings.
    The number of weights does not depend on any size: for the parameters of a perceptron with L weights and L biases,
    a layer has \(4 L^2 + 10 L - 4\) diagrams.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers of channels for each weight: input, hidden layers, output.
        out: labels of the output, `""` for invariants; by default the output is a tree like the parameters.
        rngs: random keys for the parameters.
        **options: other options of `Functional`.

    Raises:
        OptionError: if an option is invalid.

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
    """A permutation-equivariant neural functional (NP or HNP) that treats positions in space as channels.

    With `"HNP"` only hidden neurons are permuted, and every input and output of the model has separate weights: the
    functional assumes exactly the symmetry of the model. With `"NP"` inputs and outputs are treated as if they were
    permuted too, and learned position encodings break this symmetry; the number of weights does not grow with them.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers of channels for each weight: input, hidden layers, output.
        out: labels of the output, `""` for invariants; by default the output is a tree like the parameters.
        variant: see above.
        rngs: random keys for the parameters.
        **options: other options of `Functional`.

    Raises:
        OptionError: if the variant is unknown, or an option is invalid.

    Example:
        >>> import jax.numpy as jnp
        >>> from equikit.weightspace import trace
        >>> params = {"first": jnp.ones((3, 8)), "second": jnp.ones((8, 2))}
        >>> spec = trace(lambda p, x: jnp.tanh(x @ p["first"]) @ p["second"], params, jnp.ones((5, 3)))
        >>> NFN(spec, [1, 16, 1], variant="HNP", rngs=nnx.Rngs(0))(params)["first"].shape
        (3, 8)

    Source:
        Zhou et al., Permutation equivariant neural functionals, arXiv:2302.14040. The paper defines layers for chains
        of dense and convolutional layers; here they are defined for any specification.
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
    """A deep-weight-space network, whose layers span all affine maps that commute with permutations of hidden neurons.

    The layers are equal to the layers of `NFN` with `"HNP"`: two papers found the same space of maps. They are linear
    here, as in the paper's characterization; the paper's code by default replaces sums by attention with a maximum.

    Args:
        spec: the symmetry of the parameters, from `trace`.
        channels: numbers of channels for each weight: input, hidden layers, output.
        out: labels of the output, `""` for invariants; by default the output is a tree like the parameters.
        rngs: random keys for the parameters.
        **options: other options of `Functional`.

    Raises:
        OptionError: if an option is invalid.

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
    """Return the options of a functional with the paper's choice of `fixed`, which callers must not pass."""
    _keywords.refuse_unknown(name, {*options} & {"fixed"}, _keywords.call_of(Functional).options - {"fixed"})
    return {**options, "fixed": fixed}
