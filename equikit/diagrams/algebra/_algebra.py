"""What can be done with a diagram, and with a sum of diagrams, alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from equikit.diagrams.algebra._category import Product
    from equikit.diagrams.algebra._combination import Combination
    from equikit.diagrams.algebra._composite import Composite


class Multipliable:
    """A diagram or a product of diagrams: it is composed, put beside others and turned upside down."""

    __slots__ = ()

    def compose(self, other: Product) -> Composite | Combination:
        """`self` after `other`; see `equikit.diagrams.compose`."""
        from equikit.diagrams.algebra._category import compose  # the category stands above its values

        return compose(cast("Product", self), other)

    __matmul__ = compose

    def tensor(self, other: Product) -> Product:
        """`self` beside `other`; see `equikit.diagrams.tensor`."""
        from equikit.diagrams.algebra._category import tensor

        return tensor(cast("Product", self), other)

    def flip(self) -> Product:
        """The transposed map; see `equikit.diagrams.flip`."""
        from equikit.diagrams.algebra._category import flip

        return flip(cast("Product", self))
