"""Constitutive laws: stress from strain, with the symmetry of a material."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from equikit import _checks
from equikit._array_checks import checked_arrays
from equikit._errors import OptionError, ShapeError
from equikit.diagrams import Diagram, MultilinearSpace, multilinear
from equikit.groups import Group, O
from equikit.nn._features import refuse_complex
from equikit.nn._functions import silu
from equikit.nn._layer import Layer
from equikit.nn._linear import Linear
from equikit.nn.physics._point_group import counts, invariants_of, maps_of
from equikit.plans import apply_multilinear
from equikit.plans.sharding import entries
from equikit.signatures import Signature, Term

Part = tuple[MultilinearSpace, tuple[int, ...], int, int]
"""A space, the indices of its chosen basis elements, the degree in the strain, and the structural tensor or -1."""


MOST_POWERS = 20
"""The highest degree for groups with diagrams; far smaller degrees already give too many diagrams."""


def _connected(diagram: Diagram, inputs: int) -> bool:
    """Whether a diagram connects all tensors, so that no invariant of some of them is a separate factor.

    All inputs have two axes; the output is tensor number 0.
    """
    split = len(diagram.top)
    tensor = [0 if v < split else 1 + (v - split) // 2 for v in range(diagram.order)]
    nodes = {*range(0 if split else 1, inputs + 1)}
    reached, edge = set[int](), [min(nodes)] if nodes else []
    while edge:
        one = edge.pop()
        reached.add(one)
        blocks = {diagram.growth[v] for v in range(diagram.order) if tensor[v] == one}
        blocks |= {b for _, _, legs in diagram.heads if blocks & {*legs} for b in legs}
        edge += [t for v, t in enumerate(tensor) if diagram.growth[v] in blocks and t not in reached]
    return reached == nodes


@functools.lru_cache(maxsize=64)
def _parts(group: Group, degree: int, structures: int, target: str, products: bool = False) -> tuple[Part, ...]:
    """Return the connected maps from strains, and at most one structural tensor, to stress or to a scalar.

    With `products`, also return disconnected maps: products of invariants and maps of lower degree.
    """
    found = []
    for count, structure in itertools.product(range(degree + 1), range(-1, structures)):
        strain = "sym(x x)" if count == 1 else f"sym({', '.join(['sym(x x)'] * count)})"
        inputs = [strain] * (count > 0) + ["sym(x x)"] * (structure >= 0)
        if not inputs and target == "()":
            continue  # a constant
        space = multilinear(f"{', '.join(inputs) or '()'} -> {target}", {"x": group})
        tensors = count + (structure >= 0)
        chosen = tuple(i for i, total in enumerate(space.basis) if products or _connected(total.first, tensors))
        if chosen:
            found.append((space, chosen, count, structure))
    return tuple(found)


def _checked_axes(axes: Any) -> tuple[tuple[float, ...], ...]:
    """Return axes as tuples of numbers, or raise `OptionError`."""
    try:
        return tuple(tuple(float(entry) for entry in axis) for axis in axes)
    except (TypeError, ValueError):
        raise OptionError(
            "the axes of the material are not a list of vectors",
            got=repr(axes),
            expected="a list of vectors of real numbers, also for a single axis",
            step="write axes=((0, 0, 1),)",
        ) from None


def _is_known(group: Group) -> bool:
    """Whether a group is orthogonal, real and bound, and has diagrams with restricted blocks or is finite."""
    known = group.is_finite if group.blocks == "whole" else group.blocks != "any"
    return bool(known and group.keeps_norm and not group.is_complex and group.n)


class ConstitutiveLaw(Layer):
    r"""Stress as a function of strain with the symmetry of a material: \(\sigma = \sum_a f_a(I(E))\, G_a(E)\).

    \(G_a\) are the polynomial equivariant maps of symmetric tensors, computed as symmetric multilinear maps of several
    copies of the strain (\(1, E, E^2\) for an isotropic material). \(I\) are the invariants, computed in the same way
    (\(\mathrm{tr} E, \mathrm{tr} E^2, \mathrm{tr} E^3\)), and \(f_a\) is a small network. Products of an invariant and
    a map of lower degree are omitted. A hyperelastic law is the gradient of an energy \(\psi(I(E))\), and so
    conservative; its invariants include products up to the same degree.

    The group that acts on an axis and the structural tensors \(a \otimes a\) of the material axes define the material:

    | material | arguments |
    | --- | --- |
    | isotropic | `group=O(3)` |
    | transversely isotropic | `axes=((0, 0, 1),)` |
    | orthotropic | `axes=((1, 0, 0), (0, 1, 0), (0, 0, 1))` |
    | cubic, axes along the coordinates | `group=H(3)`, with `degree=3` or more |
    | any point group | `group=MatrixGroup(generators)` |

    For a point group \(I\) and \(G_a\) are all invariant and equivariant polynomials of the strain up to their degrees,
    products included.

    Args:
        group: O(n), SO(n), H(n) or Bistochastic(n) with the dimension n; or a finite group of orthogonal matrices.
        axes: unit vectors a along the material axes.
        degree: the highest power of the strain in the maps; 2 by default. A hyperelastic law does not accept it: its
            maps are the gradients of its invariants.
        invariants: the largest number of tensors in an invariant.
        hidden: widths of the hidden layers of the network; without any, \(f_a\) is an affine function of the
            invariants.
        hyperelastic: whether the stress is the gradient of an energy.
        stress_free: whether the stress vanishes at zero strain.
        scale: the typical magnitude of strains, by which they are divided.
        rngs: random keys for the parameters.
        param_dtype: dtype of the parameters.

    Attributes:
        network: the layers of the network, a list of `Linear`.

    Raises:
        OptionError: if the group is not supported, or an axis is not a unit vector of its dimension.

    Cost: a few products of n × n matrices, and the network, for each strain.

    Example:
        >>> law = ConstitutiveLaw(O(3), hidden=(16,), rngs=nnx.Rngs(0))
        >>> law(jnp.zeros((4, 3, 3))).shape
        (4, 3, 3)

    Source:
        Zhang et al., arXiv:2508.12596, section on constitutive laws; Boehler, Applications of Tensor Functions in Solid
        Mechanics, 1987, for structural tensors.
    """

    shows_parts = True

    def __init__(
        self,
        group: Group | None = None,
        *,
        axes: Sequence[Sequence[float]] = (),
        degree: int | None = None,
        invariants: int = 3,
        hidden: Sequence[int] = (32, 32),
        hyperelastic: bool = False,
        stress_free: bool = True,
        scale: float = 1.0,
        rngs: nnx.Rngs,
        param_dtype: DTypeLike = jnp.float32,
    ) -> None:
        self.group = O(3) if group is None else group
        if not isinstance(self.group, Group) or not _is_known(self.group):
            raise OptionError(
                "the group of a material is not one of orthogonal matrices that is known here",
                got=repr(group),
                expected="O(n), SO(n), H(n) or Bistochastic(n), bound, or a MatrixGroup of orthogonal generators",
                step="write group=ek.O(3), and give the axes of the material by axes=",
            )
        self.axes = _checked_axes(axes)
        if self.axes and self._is_point_group:
            raise OptionError(
                "a point group knows the axes of its material",
                got=f"axes={self.axes}, group={self.group}",
                expected="axes= with other groups only",
                step="leave axes out",
            )
        for axis in self.axes:
            if len(axis) != self.group.n or not abs(sum(entry**2 for entry in axis) - 1) <= 1e-6:
                raise OptionError(
                    "an axis of the material is not a unit vector",
                    got=axis,
                    expected=f"{self.group.n} numbers whose squares sum to one",
                    step="divide it by its length",
                )
        self.scale: float = _checks.number("scale", scale, above=0, example=1.0, traced=False)
        self.hyperelastic = _checks.flag("hyperelastic", hyperelastic)
        self.stress_free = _checks.flag("stress_free", stress_free)
        if hyperelastic and degree is not None:
            raise OptionError(
                "a hyperelastic law has no maps to choose a degree of",
                got=f"hyperelastic=True, degree={degree!r}",
                expected="invariants=, whose gradients are its maps",
                step="leave degree out",
            )
        most = None if self._is_point_group else MOST_POWERS
        self.degree = _checks.count("degree", 2 if degree is None else degree, most=most, example=2)
        self.invariants = _checks.count("invariants", invariants, least=1, most=most, example=3)
        _checks.rngs(rngs)
        if self._is_point_group:
            found, maps = counts(self.group, self.invariants, 0 if hyperelastic else self.degree)
        else:
            found = sum(len(chosen) for _, chosen, _, _ in self._invariants)
            maps = 0 if hyperelastic else sum(len(chosen) for _, chosen, _, _ in self._maps)
        widths = [found, *_checks.widths("hidden", hidden), 1 if hyperelastic else maps]
        self.network = nnx.List(
            [
                Linear("() -> ()", before, after, rngs=rngs, param_dtype=param_dtype)
                for before, after in itertools.pairwise(widths)
            ]
        )

    @property
    def _is_point_group(self) -> bool:
        """Whether the group has no diagrams, so that polynomials are computed from its generators."""
        return self.group.blocks == "whole"

    @property
    def _maps(self) -> tuple[Part, ...]:
        return _parts(self.group, self.degree, len(self.axes), "sym(x x)")

    @property
    def _invariants(self) -> tuple[Part, ...]:
        # An energy needs squares of invariants even without hidden layers: Hooke's law contains one.
        parts = _parts(self.group, self.invariants, len(self.axes), "()", self.hyperelastic)
        # An invariant of structural tensors alone is a constant.
        return tuple(part for part in parts if part[2] and part[2] + (part[3] >= 0) <= self.invariants)

    def _evaluate(self, parts: tuple[Part, ...], strain: jax.Array) -> jax.Array:
        """Return the values of some maps, concatenated as channels."""
        values = []
        for space, chosen, count, structure in parts:
            inputs = [strain[..., None]] * count
            if structure >= 0:
                axis = np.array(self.axes[structure])
                tensor = jnp.asarray(np.outer(axis, axis), strain.dtype)[..., None]
                # Derived from the strain, so that it has the same sharding.
                inputs.append(jnp.zeros_like(strain[..., None]) + tensor)
            if not inputs:
                inputs = [jnp.ones_like(strain[..., 0, :1])]
            unit = np.zeros((len(space.basis), *[1] * len(inputs), len(chosen)))
            for place, element in enumerate(chosen):
                unit[element, ..., place] = 1 / np.sqrt(float(space.mean_square_gains()[element]))
            values.append(apply_multilinear(space, inputs, jnp.asarray(unit, strain.dtype)))
        return jnp.concatenate(values, -1)

    def invariants_of(self, strain: jax.Array) -> jax.Array:
        """Return the network's input, `[*batch, count]`: invariants of the scaled strain, each divided by its norm.

        Raises:
            ShapeError, DTypeError: if the strain does not fit.
        """
        return self._invariants_of(self._checked(strain))

    def _invariants_of(self, strain: jax.Array) -> jax.Array:
        if self._is_point_group:
            return invariants_of(self.group, self.invariants, (strain + jnp.swapaxes(strain, -1, -2)) / 2 / self.scale)
        return self._evaluate(self._invariants, strain / self.scale)

    def _maps_of(self, strain: jax.Array) -> jax.Array:
        if self._is_point_group:
            return maps_of(self.group, self.degree, (strain + jnp.swapaxes(strain, -1, -2)) / 2 / self.scale)
        return self._evaluate(self._maps, strain / self.scale)

    def _network(self, invariants: jax.Array) -> jax.Array:
        for i, layer in enumerate(self.network):
            invariants = layer(silu(invariants) if i else invariants)
        return invariants

    def _potential(self, strain: jax.Array) -> jax.Array:
        """Return the energy before the stress at rest is subtracted, times the scale, so that stress is about one."""
        return self.scale * self._network(self._invariants_of(strain))[..., 0]

    def energy(self, strain: jax.Array) -> jax.Array:
        """Return the energy density of a hyperelastic law, `[*batch]`, up to a constant.

        Raises:
            OptionError: if the law is not hyperelastic.
        """
        if not self.hyperelastic:
            raise OptionError(
                "the law has no energy",
                got="hyperelastic=False",
                expected="a hyperelastic law",
                step="make it with hyperelastic=True",
            )
        strain = self._checked(strain)
        energy = self._potential(strain)
        if self.stress_free:
            energy = energy - jnp.sum(self._at_rest(strain.dtype) * strain, (-2, -1))
        return energy

    def _at_rest(self, dtype: jnp.dtype) -> jax.Array:
        """Return the stress at zero strain, before it is subtracted."""
        return self._stress(jnp.zeros((self.group.n, self.group.n), dtype))

    def _stress(self, strain: jax.Array) -> jax.Array:
        if self.hyperelastic:
            gradient: jax.Array = jax.grad(lambda strain: jnp.sum(self._potential(strain)))(strain)
            return gradient
        factors = self._network(self._invariants_of(strain))
        maps = self._maps_of(strain)
        return jnp.einsum("...ijc,...c->...ij", maps, factors)

    def _checked(self, strain: jax.Array) -> jax.Array:
        n, kernels = self.group.n, [layer.kernel["() -> ()"][...] for layer in self.network]
        if isinstance(strain, jax.Array | np.ndarray) and strain.shape[-2:] != (n, n):
            raise ShapeError(
                "the strain is not a tensor of second order",
                got=f"shape {list(strain.shape)}",
                expected=f"[*batch, {n}, {n}]",
                step="leave channels out; write strains in Voigt's notation as matrices",
            )
        signature = Signature((Term("strain", ("x", "x")),), (), (("x", self.group),))
        weights = {f"weights {i}": kernel for i, kernel in enumerate(kernels)}
        (strain,), _ = checked_arrays(signature, (None,), [strain], weights=weights)
        refuse_complex("strain", strain)
        if any(entries(strain)[-2:]):
            raise OptionError(
                "the axes of the strain are spread over devices",
                got=jax.typeof(strain).sharding.spec,
                expected="a batch that is spread, and whole tensors",
                step='write jax.reshard(strain, jax.P("data")), with the axis of your mesh',
            )
        return strain.astype(jnp.result_type(strain, *kernels))  # otherwise a gradient would be cast down

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the hidden layers."""
        return tuple(layer.channels[1][0] for layer in [*self.network][:-1])

    def _call_arguments(self) -> list[str]:
        return [str(self.group)]

    def _call_options(self) -> Iterator[str]:
        """Yield the options; a hyperelastic law has no degree."""
        options = super()._call_options()
        yield from (text for text in options if not (self.hyperelastic and text.startswith("degree=")))

    def __call__(self, strain: jax.Array) -> jax.Array:
        """Return the stress `[*batch, n, n]` of the symmetric part of strains `[*batch, n, n]`.

        Raises:
            ShapeError, DTypeError: if the strain does not fit.
        """
        strain = self._checked(strain)
        stress = self._stress(strain)
        return stress - self._at_rest(strain.dtype) if self.stress_free else stress
