"""Where batches come from: arrays in memory, or an iterable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, Sized
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from equikit import _checks
from equikit._array_checks import foreign
from equikit._errors import DTypeError, OptionError, ShapeError
from equikit.data import digest
from equikit.train._devices import replicated
from equikit.train._fingerprint import of_shapes
from equikit.train._program import Carry, Program, row_count

Epoch = Callable[[Carry, jax.Array, int], tuple[Carry, Any]]
Measure = Callable[[Carry, jax.Array], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Arrays in memory, with one row per example."""

    tree: Any
    batch: int

    @property
    def steps(self) -> int:
        """The number of steps per epoch."""
        return row_count(self.tree) // self.batch

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint remembers of the data."""
        return {"batch": self.batch, **of_shapes(self.tree), "digest of values": digest(self.tree)}

    def size_for_devices(self) -> int:
        """Return the number of rows that devices share."""
        return self.batch

    def on(self, sharding: NamedSharding) -> Rows:
        """Return the rows, replicated on all devices of a sharding."""
        return replace(self, tree=replicated(self.tree, sharding))

    def epoch(self, program: Program) -> Epoch:
        """Compile a pass over the rows."""
        run = jax.jit(functools.partial(program.epoch, batch=self.batch))
        return lambda carry, key, number: run(carry, self.tree, key)

    def measure(self, program: Program) -> Measure:
        """Compile the mean of the measure over the rows."""
        run = jax.jit(functools.partial(program.mean_measure, batch=self.batch))
        return lambda carry, key: run(carry, self.tree, key)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """An iterable of batches, each a tree of arrays."""

    name: str
    batches: Iterable[Any]

    @property
    def steps(self) -> int | None:
        """The number of steps per epoch, if it is known before training."""
        try:
            return len(self.batches) if isinstance(self.batches, Sized) else None
        except TypeError:  # loaders of PyTorch over an iterable have a length that they do not know
            return None

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint remembers of the data: the values too, if they can be read without a new epoch."""
        found = digest(self.batches) if isinstance(self.batches, list) else None
        if callable(compared := getattr(self.batches, "digest", None)):
            found = str(compared())
        return {"batches": self.steps, "digest of values": found}

    def size_for_devices(self) -> int:
        """Raise `OptionError`: these batches are placed by whoever makes them."""
        raise OptionError(
            f"devices= does not apply to an iterable of batches ({self.name}=)",
            got=type(self.batches).__name__,
            expected="arrays with one row per example",
            step="leave out devices=, and put each batch on them with jax.device_put",
        )

    def on(self, sharding: NamedSharding) -> Stream:
        """Raise `OptionError`, as for the number of rows."""
        self.size_for_devices()
        return self

    def epoch(self, program: Program) -> Epoch:
        """Compile a step for each shape of batch."""
        step = jax.jit(program.step)

        def run(carry: Carry, key: jax.Array, number: int) -> tuple[Carry, Any]:
            if hasattr(self.batches, "set_epoch"):
                self.batches.set_epoch(number)
            found = []
            for place, batch in enumerate(self._arrays()):
                carry, measure = step(carry, batch, jax.random.fold_in(key, place))
                found.append((measure, row_count(batch)))
            return carry, self._mean(found)

        return run

    def measure(self, program: Program) -> Measure:
        """Compile the measure for each shape of batch."""
        one = jax.jit(program.measure)

        def run(carry: Carry, key: jax.Array) -> Any:
            return self._mean([(one(carry, batch, key), row_count(batch)) for batch in self._arrays()])

        return run

    def _arrays(self) -> Iterator[Any]:
        """Yield batches of arrays; loaders may have tensors of other libraries."""
        for batch in self.batches:
            yield jax.tree.map(functools.partial(_numbers, self.name), batch)

    def _mean(self, found: list[tuple[Any, int]]) -> Any:
        """Return the mean of measures, weighted by the numbers of rows."""
        if not found:
            raise OptionError(
                f"{self.name}= has no batches",
                got=f"{type(self.batches).__name__} without batches, or one that can be iterated only once",
                expected="an iterable that gives batches in every epoch",
                step=f"pass {self.name}=list(batches), or arrays with one row per example",
            )
        measures, counts = zip(*found, strict=True)
        return np.average(np.asarray(measures), weights=counts)


def source(name: str, data: Any, batch: int | None) -> Rows | Stream:
    """Return the data of an argument as a source of batches, or raise our errors."""
    leaves = [] if isinstance(data, Iterator | list) else jax.tree.leaves(data)
    if not (leaves and all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves)):
        return _stream(name, data, batch)
    counts = {leaf.shape[0] if leaf.shape else None for leaf in leaves}
    if len(counts) > 1 or counts == {None}:
        raise ShapeError(
            f"the arrays of {name}= have different numbers of rows",
            got=", ".join(str([*leaf.shape]) for leaf in leaves),
            expected="arrays with one row per example",
            step="pass a list of batches, or ek.data.Batches, if batches differ in shape",
        )
    count = counts.pop()
    most = _checks.count(f"the number of rows of {name}=", count, least=1)
    size = most if batch is None else _checks.count("batch", batch, least=1, example=min(32, most))
    if name == "train" and size > most:
        _checks.count("batch", batch, least=1, most=most, example=min(32, most))
    return Rows(jax.tree.map(lambda leaf: jnp.asarray(_numbers(name, leaf)), data), min(size, most))


def _numbers(name: str, leaf: Any) -> Any:
    """Return an array of JAX as it is and anything else as an array of NumPy, or raise `DTypeError`."""
    if isinstance(leaf, jax.Array):
        return leaf
    _checks.unmasked(f"an array of {name}=", leaf)
    array = np.asarray(leaf)
    numeric = any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.number, jnp.bool_))
    if not numeric or foreign(array):
        usual = {"f": "float32", "c": "complex64", "i": "int32", "u": "uint32"}
        raise DTypeError(
            f"{name}= must be arrays of numbers",
            got=f"dtype {array.dtype}",
            expected="floating-point, complex, integer or boolean, in a dtype of JAX",
            step=f"pass x.astype(np.{usual[array.dtype.kind]})" if numeric else "give each class a number",
        )
    return array


def _stream(name: str, data: Any, batch: int | None) -> Stream:
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | tuple | Mapping | Set):
        raise OptionError(
            f"{name}= must be arrays or batches",
            got=_checks.shown(data),
            expected="a tuple or dictionary of arrays with one row per example, or an iterable of such batches",
            step=f"write {name}=(x, y)",
        )
    if batch is not None:
        raise OptionError(
            f"batch= does not apply to an iterable of batches ({name}=)",
            got=f"batch={batch}",
            expected="no batch=",
            step="leave out batch=, or pass arrays with one row per example",
        )
    return Stream(name, data)
