"""The words of a parameter's name, so that names of different libraries can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Words = tuple[str, ...]

ENDS = {
    **dict.fromkeys(("kernel", "weight", "scale", "embedding", "gamma"), "weight"),
    **dict.fromkeys(("bias", "beta", "offset"), "bias"),
    **dict.fromkeys(("mean", "runningmean", "movingmean"), "mean"),
    **dict.fromkeys(("var", "runningvar", "movingvar", "variance"), "var"),
}
"""The last word of a name, and the word that stands for it here."""
KINDS = {*ENDS.values()}

SAME = {
    **dict.fromkeys(("q", "qproj", "toq", "query", "queryproj", "wq"), "query"),
    **dict.fromkeys(("k", "kproj", "tok", "key", "keyproj", "wk"), "key"),
    **dict.fromkeys(("v", "vproj", "tov", "value", "valueproj", "wv"), "value"),
    **dict.fromkeys(("o", "out", "outproj", "oproj", "toout"), "out"),
}
"""Words for the projections of attention."""

FUSED = {"inproj", "qkv", "cattn", "qkvproj", "wqkv", "toqkv"}
"""Words for the projections to queries, keys and values in one array."""
PARTS = ("query", "key", "value")

OF_MODULES = {"w": "weight", "b": "bias"}
"""Short last words, which are names of Haiku only behind the name of a module."""

COLLECTIONS = ("params", "batchstats")
"""First words of Flax, which stand for kinds of variables and not for modules."""

UNUSED = ("num_batches_tracked",)
"""The ends of names of arrays that are no parameters."""


def words_of(name: str) -> Words:
    """Return the words of a name: `layers.0.self_attn.q_proj.weight` is `layers 0 selfattn query weight`."""
    found: list[str] = []
    for part in re.split(r"[./]", name):
        ending = re.fullmatch(r"(.+)_(weight|bias)", part)  # `in_proj_weight` is the weight of `in_proj`
        for one in ending.groups() if ending else (part,):
            found += _pieces(one.lower())
    *rest, last = found[found[0] in COLLECTIONS and len(found) > 1 :]
    of_module = OF_MODULES.get(last, last) if rest else last
    return (*(SAME.get(word, word) for word in rest), ENDS.get(last, of_module))


def _pieces(part: str) -> list[str]:
    """Return letters as one word, and a number that `_` separates as another: `selfattn`, `dense 0`, but `linear1`."""
    found: list[str] = []
    for word in part.split("_"):
        if found and not word.isdigit() and not found[-1].isdigit():
            found[-1] += word
        else:
            found.append(word)
    return [word for word in found if word] or [part]


def shared_prefix(names: Sequence[Words]) -> int:
    """Return the number of first words that all names share, the last word of a name left out."""
    shared = 0
    while names and all(len(words) > shared + 1 and words[shared] == names[0][shared] for words in names):
        shared += 1
    return shared


def natural(words: Iterable[str]) -> tuple[tuple[int, str], ...]:
    """A key that sorts numbers by their values."""
    return tuple((int(word), "") if word.isdigit() else (-1, word) for word in words)
