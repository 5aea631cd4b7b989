"""The public function of learned canonicalization, which chooses the method for a group."""

from __future__ import annotations

from typing import Any, Literal

from equikit import _checks, _keywords
from equikit._errors import GroupError
from equikit.groups import SO, Group, H, MatrixGroup, O, S, Z
from equikit.symmetrization.engine._method import Method
from equikit.symmetrization.finite._energy import EnergyCanonicalization
from equikit.symmetrization.finite._image import ImageCanonicalization
from equikit.symmetrization.permutations._permutation import PermutationCanonicalization
from equikit.symmetrization.rotations._descent import EnergyDescent
from equikit.symmetrization.rotations._rotation import RotationCanonicalization


@_keywords.needs(group="write group=ek.O(3)")
def Canonicalize(  # capitalized because it returns an instance of a class
    network: Any, group: Group | type[Group], *, by: Literal["network", "energy"] = "network", **options: Any
) -> Method:
    r"""Learned canonicalization: one group element h(x) for every input, \(x \mapsto h(x)\, f(h(x)^{-1} x)\).

    The element comes from an equivariant network; with `by="energy"`, it is the element whose copy of the input has the
    lowest energy, for any function as energy.

    Args:
        network: the network or energy that chooses the element; see the class.
        group: the group. `Z(n)` and `D(n)` rotate images, `"i j"` with fixed axes; `O`, `SO` and `S` act on a label,
            and by energy any finite group of a label, such as `S`, `H` or a `MatrixGroup`, and `Z(n)` and `D(n)` in a
            signature without images or with `label=`. A label must be bound to this group, or to a group of this class
            if it is a class: `ek.O`.
        by: `"network"` or `"energy"`.
        **options: options of the class, such as `on_degenerate=`, or `label=` if several labels have the group.

    Returns:
        For `Z` and `D` an `ImageCanonicalization` or `EnergyCanonicalization`, for `O` and `SO` a
        `RotationCanonicalization` or `EnergyDescent`, for `S` a `PermutationCanonicalization` or
        `EnergyCanonicalization`; all are NNX modules.

    Raises:
        GroupError: if there is no learned canonicalization for the group; in `symmetrize`, if no label is bound to it.
        OptionError: if `by` has another value.

    Example:
        >>> import equikit as ek, jax
        >>> from flax import nnx
        >>> network = ek.nn.GroupConvolution(1, ek.D(4), rngs=nnx.Rngs(0))
        >>> sym = ek.symmetrize(
        ...     lambda image: image[..., 0, 1, :], "i j -> ", i=ek.Fixed(8), j=ek.Fixed(8),
        ...     how=Canonicalize(network, group=ek.D(4)))
        >>> image = jax.random.normal(jax.random.key(0), (8, 8, 1))
        >>> bool(sym(image) == sym(image[::-1]))
        True

    Source:
        Kaba et al., Equivariance with learned canonicalization functions, arXiv:2211.06489.
    """
    _checks.choice("by", by, ("network", "energy"))
    kind = group if isinstance(group, type) else type(group)
    made: Any = None
    if isinstance(group, Z):  # D too
        made = ImageCanonicalization if by == "network" else EnergyCanonicalization
    elif kind in (O, SO):
        made = RotationCanonicalization if by == "network" else EnergyDescent
    elif kind is S and by == "network":
        made = PermutationCanonicalization
    elif by == "energy" and ((isinstance(group, Group) and group.is_finite) or kind in (S, H, MatrixGroup)):
        made = EnergyCanonicalization
    if made is None:
        raise GroupError(
            "there is no learned canonicalization for this group",
            got=f"group={group!r}, by={by!r}",
            expected="Z(n) or D(n) for images, O, SO or S; by energy any finite group",
            step="write for example Canonicalize(network, group=ek.D(4)), or use a frame of ek.frames",
        )
    known = _keywords.call_of(made, Canonicalize).arguments - {"self", "network", "encoder", "group"}
    _keywords.refuse_unknown("Canonicalize", options, known)
    of_label = not isinstance(group, Z) or (by == "energy" and options.get("label") is not None)
    method: Method = made(network, **options) if of_label else made(network, group, **options)
    method.asked = group
    return method
