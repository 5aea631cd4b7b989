"""Batches of examples of different sizes, padded to few sizes, so that few programs are compiled."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from equikit import _checks
from equikit._errors import DTypeError, OptionError
from equikit.data._digest import digest
from equikit.data._padding import Example, arrays_of, labels_of, marked, pad, refuse_padded, sizes_of

Size = tuple[int, ...]
"""The size of each label."""

MOST_CUTS = 64
"""Bounds between buckets that are tried."""


class Batch(NamedTuple):
    """Padded examples.

    Attributes:
        features: by name, `[batch, sizes, channels]`.
        masks: for each label, `[batch, n]`.
        targets: one row for each example, or `None`.
    """

    features: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    targets: Any = None


class Passes:
    """Iterate over batches of examples in groups; each pass has a new random order. Subclasses make the batches.

    Args:
        count: the number of examples.
        targets: one row for each example, in a tree of arrays, or `None`.
        batch, seed, drop_last: see `Batches`.
        group_of: the number of the group of each example.
    """

    def __init__(
        self, count: int, targets: Any, *, batch: int, seed: int | None, drop_last: bool, group_of: Sequence[int]
    ) -> None:
        self._targets = _copied(targets, count)
        self._batch = _checks.count("batch", batch, least=1, example=32)
        self._drop_last = _checks.flag("drop_last", drop_last)
        self._seed = None if seed is None else _checks.count("seed", seed)
        self._epoch = 0
        self._groups: list[list[int]] = [[] for _ in range(1 + max(group_of))]
        for place, group in enumerate(group_of):
            self._groups[group].append(place)
        smallest = min(map(len, self._groups))
        if self._drop_last and count < self._batch:
            raise OptionError(
                "there are fewer examples than a batch has, so that drop_last=True would never show them",
                got=f"{count} examples, batch={batch}",
                expected=f"a batch of at most {count}",
                step="write drop_last=False, or give a smaller batch",
            )
        if self._drop_last and smallest < self._batch:
            raise OptionError(
                "a bucket has fewer examples than a batch, so that drop_last=True would never show them",
                got=f"{smallest} examples in a bucket, batch={batch}",
                expected="buckets with a whole batch or more",
                step="write drop_last=False, or give fewer buckets",
            )

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        rounded = math.floor if self._drop_last else math.ceil
        return sum(rounded(len(group) / self._batch) for group in self._groups)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass. `ek.train.fit` does so, and a resumed training has the same orders."""
        self._epoch = _checks.count("epoch", epoch)

    def __iter__(self) -> Iterator[Any]:
        generator = None if self._seed is None else np.random.default_rng([self._seed, self._epoch])
        self._epoch += 1
        return self._batches(generator)

    def _batches(self, generator: np.random.Generator | None) -> Iterator[Any]:
        places: list[tuple[int, list[int]]] = []
        for number, group in enumerate(self._groups):
            order = group if generator is None else generator.permutation(group).tolist()
            for start in range(0, len(order), self._batch):
                chosen = order[start : start + self._batch]
                if len(chosen) == self._batch or not self._drop_last:
                    places.append((number, chosen))
        if generator is not None:
            generator.shuffle(places)
        for number, chosen in places:
            yield self._made(number, chosen)

    def _made(self, group: int, chosen: list[int]) -> Any:
        """Return the batch of some examples of a group."""
        raise NotImplementedError

    def _targets_of(self, chosen: list[int]) -> Any:
        return jax.tree.map(lambda rows: rows[chosen], self._targets)


class Batches(Passes):
    r"""Iterate over padded batches of examples; each pass has a new random order.

    Examples are sorted by their number of entries and cut into buckets, and each bucket is padded to one size. The cuts
    minimize the number of padded entries, \(\sum_b |b|\, |\max b|\), where \(|\max b|\) is the number of entries of an
    example that has the largest size in the bucket for each label. `ek.train.fit` compiles one program for each shape:
    two for each bucket, since the last batch of a bucket may be smaller.

    Args:
        examples: features by name, as for `pad`.
        targets: one row for each example; also a tuple or dictionary of such arrays. Targets on nodes or pairs have the
            size of the example: put them among the features, which are padded, and name their labels in `terms`. In the
            loss, `x = batch.features` then holds both, `{name: x[name] for name in inputs}` is the input of the model,
            and `jnp.mean(errors, where=batch.masks["p"][..., None])` the mean over present nodes.
        batch: the number of examples in each batch.
        buckets: the largest number of buckets.
        seed: seed of the order; `None` keeps the order of the examples within each bucket, as for validation.
        drop_last: whether batches that are not full are left out, other examples in each pass.
        terms, masked: the labels of features whose name is not the term itself, and the labels with a mask, as for
            `pad`.

    Attributes:
        sizes: the padded size of each label, for each bucket.

    Raises:
        OptionError: if examples are not a list or there is none, features are missing or differ, targets have another
            number of rows, an option has no meaning, `masked` has another label or `terms` another name, or a bucket is
            smaller than a batch with `drop_last`.
        DTypeError: if a feature or a target does not hold numbers or is a masked array.
        ShapeError: if a feature does not have an axis for each label, or a label without a mask would be padded.

    Cost: one copy per pass; to choose buckets, \(O(s^2 b)\) for s different sizes and b buckets. Of more than 64 sizes,
    neighbors are joined first.

    Example:
        >>> examples = [{"p": np.ones((n, 2))} for n in (3, 9, 2, 8)]
        >>> batches = Batches(examples, np.arange(4), batch=2, buckets=2, seed=None)
        >>> batches.sizes
        ({'p': 3}, {'p': 9})
        >>> [(batch.features["p"].shape, batch.targets.tolist()) for batch in batches]
        [((2, 3, 2), [0, 2]), ((2, 9, 2), [1, 3])]
    """

    def __init__(
        self,
        examples: Sequence[Example],
        targets: Any = None,
        *,
        batch: int,
        buckets: int = 4,
        seed: int | None = 0,
        drop_last: bool = False,
        terms: Mapping[str, str] | None = None,
        masked: Collection[str] | None = None,
    ) -> None:
        labels = labels_of(examples, terms)
        examples = arrays_of(examples)
        found = [sizes_of(example, labels) for example in examples]
        names = tuple(found[0])
        each = [tuple(one[name] for name in names) for one in found]
        self._examples, self._terms = examples, terms
        self._masked = marked(masked, names)
        entries = [tuple(names.index(label) for label in axes) for axes in labels.values()]
        chosen = _buckets(each, entries, _checks.count("buckets", buckets, least=1, example=4))
        bucket_of = {size: number for number, bucket in enumerate(chosen) for size in bucket}
        super().__init__(
            len(examples),
            targets,
            batch=batch,
            seed=seed,
            drop_last=drop_last,
            group_of=[bucket_of[size] for size in each],
        )
        self.sizes = tuple(dict(zip(names, _largest(bucket), strict=True)) for bucket in chosen)
        for group, wanted in zip(self._groups, self.sizes, strict=True):
            refuse_padded(self._masked, [found[place] for place in group], wanted)

    def digest(self) -> str:
        """Return a digest of the examples, the targets and the options, which checkpoints of `ek.train.fit` compare."""
        options = (self.sizes, self._batch, self._drop_last, self._seed, self._terms, self._masked)
        return digest((self._examples, self._targets, np.array(repr(options))))

    def _made(self, group: int, chosen: list[int]) -> Batch:
        examples = [self._examples[i] for i in chosen]
        features, masks = pad(examples, sizes=self.sizes[group], terms=self._terms, masked=self._masked)
        return Batch(features, masks, self._targets_of(chosen))


def _copied(targets: Any, count: int) -> Any:
    """Return a copy of the targets, a tree of arrays with one row for each example; `None` stays `None`."""

    def copied(rows: Any) -> np.ndarray:
        _checks.unmasked("targets", rows, step="pass x.filled(0), and x.mask as another target")
        try:
            found = np.atleast_1d(np.array(rows))
        except (TypeError, ValueError):  # lists of unequal lengths; typed keys
            found = np.array(None)
        if not any(jnp.issubdtype(found.dtype, kind) for kind in (jnp.number, jnp.bool_)):
            raise DTypeError(
                "targets must be arrays of numbers",
                got=f"dtype {found.dtype}" if isinstance(rows, np.ndarray) else _checks.shown(rows, 60),
                expected="floating-point, complex, integer or boolean",
                step="give each class a number",
            )
        _checks.same("the number of targets", len(found), count, step="give one target for each example")
        return found

    if targets is not None:
        leaves = jax.tree.leaves(targets, is_leaf=lambda node: isinstance(node, list))
        _checks.some("targets", leaves, got=_checks.shown(targets, 60), step="leave targets out")
    return jax.tree.map(copied, targets, is_leaf=lambda node: isinstance(node, list))


def _largest(sizes: Sequence[Size]) -> Size:
    return tuple(map(max, zip(*sizes, strict=True)))


def _buckets(each: Sequence[Size], entries: Sequence[tuple[int, ...]], most: int) -> list[list[Size]]:
    """Partition the different sizes into at most so many buckets with the fewest padded entries."""

    def volume(size: Sequence[int]) -> int:
        return sum(math.prod(size[i] for i in axes) for axes in entries)

    count = Counter(each)
    sizes = sorted(count, key=lambda size: (volume(size), size))
    cuts = np.unique(np.linspace(0, len(sizes), min(len(sizes), MOST_CUTS) + 1).astype(int)).tolist()
    total = [0, *itertools.accumulate(count[size] for size in sizes)]
    costs = {(i, j): (total[j] - total[i]) * volume(_largest(sizes[i:j])) for i, j in itertools.combinations(cuts, 2)}
    best: list[dict[int, tuple[int, list[int]]]] = [{0: (0, [])}]
    for _ in range(min(most, len(cuts) - 1)):
        before = best[-1]
        best.append(
            {
                j: min((before[i][0] + costs[i, j], [*before[i][1], j]) for i in before if i < j)
                for j in cuts[1:]
                if any(i < j for i in before)
            }
        )
    _, ends = min(of[len(sizes)] for of in best if len(sizes) in of)
    return [sizes[i:j] for i, j in itertools.pairwise([0, *ends])]
