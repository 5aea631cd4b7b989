"""Examples of different sizes as padded batches or joined; graphs of NetworkX and jraph as arrays; neighbor lists."""

from equikit._keywords import answer_misspelled
from equikit._neighbors import Neighbors
from equikit.data._batches import Batch, Batches, Passes as Passes
from equikit.data._digest import digest as digest
from equikit.data._graphs import from_jraph, from_networkx
from equikit.data._joining import Joined, join
from equikit.data._neighbors import neighbors
from equikit.data._padding import pad
from equikit.data._split import split

__all__ = [
    "Batch",
    "Batches",
    "Joined",
    "Neighbors",
    "from_jraph",
    "from_networkx",
    "join",
    "neighbors",
    "pad",
    "split",
]

answer_misspelled(__name__)
