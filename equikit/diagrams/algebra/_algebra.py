"""Operations that diagrams and sums of diagrams share."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from equikit.diagrams.algebra._category import Product
    from equikit.diagrams.algebra._combination import Combination
    from equikit.diagrams.algebra._composite import Composite


class Multipliable:
    """A diagram or a product of diagrams, with composition, tensor product and transposition."""

    __slots__ = ()

    def compose(self, other: Product) -> Composite | Combination:
        """Compose: `self` after `other`; see `equikit.diagrams.compose`."""
        from equikit.diagrams.algebra._category import compose  # the category is built on this class

        return compose(cast("Product", self), other)

    __matmul__ = compose

    def tensor(self, other: Product) -> Product:
        """Take the tensor product of `self` and `other`; see `equikit.diagrams.tensor`."""
        from equikit.diagrams.algebra._category import tensor

        return tensor(cast("Product", self), other)

    def flip(self) -> Product:
        """Return the transposed map; see `equikit.diagrams.flip`."""
        from equikit.diagrams.algebra._category import flip

        return flip(cast("Product", self))
