"""One training loop for all models: minibatches, the best epoch, early stopping, checkpoints, many devices."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Float

from equikit import _checks
from equikit._errors import OptionError
from equikit._progress import progress
from equikit.train._checkpoints import Checkpoints
from equikit.train._devices import local, replicated, sharding_of
from equikit.train._fingerprint import of_optimizer, of_shapes, of_weights
from equikit.train._program import Carry, Program
from equikit.train._source import Epoch, Measure, source


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained model.

    Attributes:
        model: a copy of the given model with the parameters and the other state of the best epoch, in evaluation mode.
        losses: the measure of each epoch, on training and on validation data (NaN without validation data).
        best: the epoch of `model`: the one with the lowest measure on validation data (the highest with `mode="max"`),
            or the last one without them.
        seconds: the duration of each epoch; the first one includes compilation, and epochs before a resumption are NaN.
    """

    model: Any
    losses: Float[np.ndarray, "epochs 2"]
    best: int
    seconds: Float[np.ndarray, " epochs"]


Mode = Literal["min", "max"]


class Callback(Protocol):
    """A function that is called after each epoch with its number and its two measures."""

    def __call__(self, epoch: int, training: float, validation: float, /) -> object: ...


@dataclass(slots=True, eq=False)
class _Run:
    """The state of a training between two epochs."""

    carry: Carry
    kept: tuple[Any, Any]
    mode: Mode = "min"
    best: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def advance(self, epoch: Epoch, measure: Measure | None, key: jax.Array) -> None:
        """Train for one epoch, and keep the parameters if they are the best ones."""
        start, number = time.perf_counter(), len(self.losses)
        draw = jax.random.fold_in(key, number)
        self.carry, training = epoch(self.carry, draw, number)
        validation = float("nan") if measure is None else float(measure(self.carry, draw))
        self.losses.append((float(training), validation))
        _refuse_divergence(number, self.losses[-1][: 1 if measure is None else 2])
        best = self.losses[self.best][1]
        better = validation < best if self.mode == "min" else validation > best
        if measure is None or number == 0 or better:
            self.best, self.kept = number, self.carry[:2]
        self.seconds.append(time.perf_counter() - start)

    def ended(self, epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or the last ones have not been better."""
        done = len(self.losses)
        return done >= epochs or (patience is not None and done > self.best + patience)

    def resume(self, saved: Checkpoints) -> None:
        """Continue from the newest checkpoint, if there is one."""
        found = saved.restore((self.carry, self.kept))
        if found is not None:
            (self.carry, self.kept), self.best, self.losses = found
            self.seconds = [float("nan")] * len(self.losses)

    def save(self, saved: Checkpoints, *, last: bool) -> None:
        """Write a checkpoint if it is time."""
        record = {"best": self.best, "losses": [*self.losses]}  # a copy, since it is written while training goes on
        saved.save(len(self.losses), (self.carry, self.kept), record, last=last)


def fit(
    model: nnx.Module,
    loss: Callable[..., Any],
    train: Any,
    validation: Any = None,
    *,
    epochs: int,
    key: jax.Array,
    optimizer: optax.GradientTransformation | float = 1e-3,
    batch: int | None = None,
    augment: Callable[..., Any] | None = None,
    patience: int | None = None,
    mode: Mode = "min",
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    wrt: Any = nnx.Param,
    callback: Callback | Callable[..., object] | None = None,
) -> Fitted:
    """Train a model, and keep the parameters that are best on validation data.

    With data in memory, each epoch is one compiled program that visits the rows in a new random order; the rows that
    do not fill a batch are left out, different ones in every epoch. Other data are iterables of batches, such as
    `ek.data.Batches` or loaders of grain and PyTorch; one program is compiled for each shape of batch. The model is in
    training mode (`model.train()`) for gradients, and in evaluation mode for validation data. A progress bar appears on
    terminals if training takes more than two seconds.

    Args:
        model: a Flax module; it is not modified.
        loss: takes the model and a batch, and returns a real scalar, the mean over the batch. It may return a pair:
            the loss and a measure, which is then recorded and compared in place of the loss; write `mode="max"` if
            higher is better, as for the accuracy. A loss that has a keyword `key` gets a new key in every step.
        train: a tuple or dictionary of arrays with one row per example, such as `(x, y)`, or an iterable of batches
            that can be iterated once per epoch, such as a list. A batch has as many rows as its first array.
        validation: the same, for the choice of the best epoch; rows that do not fill a batch are used too.
        epochs: the number of passes over the training data.
        key: JAX key for the order of the rows, `augment` and `loss`.
        optimizer: an optax optimizer, also with a line search. A number is the highest learning rate of Adam, which
            falls to zero as a cosine.
        batch: the number of rows in each batch; by default all of them. Iterables have batches of their own.
        augment: takes a batch and `key=`, and returns the batch that replaces it, in training only.
        patience: stop after this number of epochs without a better measure on validation data.
        mode: whether the lowest (`"min"`) or the highest (`"max"`) measure on validation data is the best one.
        checkpoint: a folder. Training is saved there, and continues from the newest checkpoint that it finds; the
            result is the same as without the interruption. Iterables are told the epoch by their method
            `set_epoch(epoch)`, if they have one, so that their order can be the same too. A folder belongs to one
            training: data, initial weights, `key`, `batch`, `mode` and the numbers in the optimizer are compared. The
            code of `loss`, `augment` and of optax cannot be compared, nor values of an iterable that is not a list and
            has no method `digest()`, as `ek.data.Batches` has: use a new folder if you change them. With an optax
            optimizer, more `epochs` extend a finished training. With a number they raise, since its cosine would be
            another one.
        checkpoint_every: the number of epochs between checkpoints; by default a tenth of all epochs.
        devices: devices that share every batch of rows equally, also devices of other processes under
            `jax.distributed`, where each process calls with the same arguments. By default only the default device.
        wrt: which variables are trained, a filter of Flax as in `nnx.Optimizer`; complex ones by conjugated gradients.
        callback: called after every epoch with its number and its measures on training and validation data. If it has
            a keyword `model`, it also gets the model, in evaluation mode.

    Returns:
        The trained model, the measures of each epoch, and the best epoch.

    Raises:
        OptionError: if an option has no meaning, a batch is larger than the data or not divisible by the devices, the
            folder holds checkpoints of another training or a damaged one, or the loss is not finite.
        ShapeError: if arrays have different numbers of rows, or the loss does not return one number.
        DTypeError: if data do not hold numbers, or are masked, byte-swapped or of extended precision.

    Cost: a loss with its gradient for each batch, and a loss for each validation batch. Arrays stay on the device.

    Example:
        >>> import equikit as ek
        >>> x = jax.random.normal(jax.random.key(0), (256, 5, 2))
        >>> y = jnp.sum(x**2, axis=(1, 2))[:, None]
        >>> def loss(model, batch):
        ...     points, target = batch
        ...     return jnp.mean((model(points) - target) ** 2)
        >>> sets, key = ek.nn.DeepSets(2, [16], 1, rngs=nnx.Rngs(0)), jax.random.key(0)
        >>> data = (x[:192], y[:192]), (x[192:], y[192:])
        >>> fitted = ek.train.fit(sets, loss, *data, epochs=30, key=key, optimizer=1e-2, batch=32)
        >>> fitted.losses.shape, bool(fitted.losses[fitted.best, 1] < fitted.losses[0, 1])
        ((30, 2), True)
        >>> fitted.model(x[:2]).shape
        (2, 1)
    """
    if not isinstance(model, nnx.Module):
        raise OptionError(
            "model= must be a Module: fit trains modules of Flax NNX",
            got=_checks.shown(model, 60),
            expected="a Module of Flax NNX, such as a layer of ek.nn",
            step="write model=nnx.Linear(2, 1, rngs=nnx.Rngs(0)), or train a model of Equinox, Haiku or Linen with "
            "a loop around optax.apply_updates",
        )
    epochs = _checks.count("epochs", epochs, least=1, example=100)
    _checks.key(key)
    keyed = _takes_key("loss", loss, 2, optional=True)
    if augment is not None:
        _takes_key("augment", augment, 1)
    with_model = callable(callback) and _checks.takes(callback, 3, "model")
    if callback is not None and not with_model:
        _checks.function("callback", callback, example="lambda epoch, training, validation: ...", arguments=3)
    if patience is not None:
        patience = _checks.count("patience", patience, least=1, example=10)
        _checks.given("patience=", "pass validation data after the training data", validation=validation)
    if _checks.choice("mode", mode, get_args(Mode)) == "max":
        _checks.given('mode="max"', "pass validation data after the training data", validation=validation)
    data = source("train", train, batch)
    held = None if validation is None else source("validation", validation, batch)

    every = max(1, epochs // 10)
    if checkpoint_every is not None:
        _checks.given("checkpoint_every=", 'write checkpoint="folder"', checkpoint=checkpoint)
        every = _checks.count("checkpoint_every", checkpoint_every, least=1, example=10)

    graphdef, params, rest = _parts(model, wrt)
    tx, about = _optimizer(optimizer, data.steps, epochs)
    carry: Carry = jax.tree.map(jnp.asarray, (params, rest, tx.init(params)))
    if checkpoint is not None:
        about |= {
            "training data": data.about(),
            "validation data": None if held is None else held.about(),
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "mode": mode,
            "optimizer": of_optimizer(tx),
            "names or shapes of arrays": of_shapes({"model": carry[:2], "optimizer": carry[2]}),
            "initial weights": of_weights(carry[:2]),
        }
    sharded = None
    if devices is not None:
        whole, sharded = sharding_of(devices, data.size_for_devices())
        carry, data = replicated(carry, whole), data.on(whole)
        held = None if held is None else held.on(whole)
    program = Program(graphdef, wrt, loss, keyed, mode == "max", tx, augment, sharded)
    run = _Run(carry, carry[:2], mode)
    with contextlib.nullcontext() if checkpoint is None else Checkpoints(checkpoint, every, about) as saved:
        measure = None if held is None else held.measure(program)
        if callback is not None and with_model:
            callback = _with_model(
                callback, lambda: nnx.merge(graphdef, *(run.carry[:2] if devices is None else local(run.carry[:2])))
            )
        _train(run, data.epoch(program), measure, key, epochs, patience, saved, callback)
    fitted = nnx.merge(graphdef, *(run.kept if devices is None else local(run.kept)))
    fitted.eval()
    return Fitted(fitted, np.array(run.losses), run.best, np.array(run.seconds))


def _with_model(callback: Callable[..., object], model: Callable[[], Any]) -> Callback:
    """Return a callback that also passes the model, in evaluation mode."""

    def called(epoch: int, training: float, validation: float, /) -> None:
        now = model()
        now.eval()
        callback(epoch, training, validation, model=now)

    return called


def _train(
    run: _Run,
    epoch: Epoch,
    measure: Measure | None,
    key: jax.Array,
    epochs: int,
    patience: int | None,
    saved: Checkpoints | None,
    callback: Callback | None,
) -> None:
    """Train until the last epoch, or until nothing has become better for a while."""
    if saved is not None:
        run.resume(saved)
    with progress("training", epochs) as advance:
        for _ in run.losses:
            advance("")
        while not run.ended(epochs, patience):
            run.advance(epoch, measure, key)
            if saved is not None:
                run.save(saved, last=run.ended(epochs, patience))
            if callback is not None:
                callback(len(run.losses) - 1, *run.losses[-1])
            advance(f"{run.losses[-1][measure is not None]:.3g}")


def _takes_key(name: str, function: object, arguments: int, *, optional: bool = False) -> bool:
    """Return whether a function takes a key, or raise `OptionError` if it cannot be called."""
    if callable(function):
        if _checks.takes(function, arguments, "key"):
            return True
        if optional and _checks.takes(function, arguments):
            return False
    given = "model, batch" if arguments == 2 else "batch"
    raise OptionError(
        f"{name}= must be a function of {given.replace(', ', ' and ')}{'' if optional else ' and key='}",
        got=_checks.shown(function),
        expected=f"{name}({given}){f' or {name}({given}, *, key)' if optional else ' with a keyword key'}",
        step="write loss=lambda model, batch: jnp.mean((model(batch[0]) - batch[1]) ** 2)"
        if optional
        else "write augment=lambda batch, *, key: batch",
    )


def _parts(model: nnx.Module, wrt: Any) -> tuple[Any, Any, Any]:
    """Return the model without arrays, the variables to train and the others, or raise `OptionError`."""
    try:
        nnx.filterlib.to_predicate(wrt)
    except (TypeError, ValueError):  # Flax cannot format some values in its own error
        raise OptionError(
            "wrt= must be a filter of Flax",
            got=_checks.shown(wrt),
            expected="a class of variables, a name, a function, or a list of these",
            step="write wrt=nnx.Param",
        ) from None
    parts: Any = nnx.split(model, wrt, ...)
    has_parameters = jax.tree.leaves(nnx.state(model, nnx.Param))
    step = "write wrt=nnx.Param" if has_parameters else "pass a model with variables of class nnx.Param"
    _checks.some("variables to train", jax.tree.leaves(parts[1]), got=f"wrt={_checks.shown(wrt)}", step=step)
    found: tuple[Any, Any, Any] = parts
    return found


def _optimizer(
    given: Any, steps: int | None, epochs: int
) -> tuple[optax.GradientTransformationExtraArgs, dict[str, Any]]:
    """Return the given optax optimizer, or Adam with a learning rate that falls to zero as a cosine.

    The second value is what a checkpoint remembers of it.
    """
    if callable(getattr(given, "init", None)) and callable(getattr(given, "update", None)):
        return optax.with_extra_args_support(given), {"learning rate": None, "epochs": None}
    if not isinstance(given, int | float | np.number) or isinstance(given, bool):
        raise OptionError(
            "optimizer= must be an optax optimizer or a learning rate",
            got=_checks.shown(given),
            expected="an optax.GradientTransformation, or a number > 0",
            step="write optimizer=optax.adam(1e-3)",
        )
    rate = _checks.number("optimizer", given, above=0, example=1e-3)
    if steps is None:
        raise OptionError(
            "a learning rate alone needs the number of steps",
            got=f"optimizer={rate}, and batches without a length",
            expected="an optax optimizer",
            step=f"write optimizer=optax.adam({rate})",
        )
    schedule = optax.cosine_decay_schedule(rate, max(1, steps * epochs))
    return optax.with_extra_args_support(optax.adam(schedule)), {"learning rate": rate, "epochs": epochs}


def _refuse_divergence(epoch: int, values: Sequence[float]) -> None:
    if math.isfinite(values[0]) and not math.isfinite(values[-1]):
        raise OptionError(
            f"the measure on validation data is not finite in epoch {epoch}",
            got=f"measures {values}",
            expected="finite numbers, in the validation data too",
            step="look for NaN in the validation data; if there is none, lower the learning rate",
        )
    if not all(map(math.isfinite, values)):
        raise OptionError(
            f"training diverged in epoch {epoch}",
            got=f"measures {values}",
            expected="finite numbers, in the data too",
            step="lower the learning rate, or clip: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-4))",
        )
