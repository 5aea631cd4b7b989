"""Examples of different sizes as padded batches with masks; graphs of NetworkX and jraph as arrays."""

from equikit._keywords import answer_misspelled
from equikit.data._batches import Batch, Batches
from equikit.data._digest import digest as digest
from equikit.data._graphs import from_jraph, from_networkx
from equikit.data._padding import pad
from equikit.data._split import split

__all__ = ["Batch", "Batches", "from_jraph", "from_networkx", "pad", "split"]

answer_misspelled(__name__)
