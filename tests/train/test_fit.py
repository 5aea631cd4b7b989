"""Training is what a plain loop does, leaves the given model alone, and goes on after it was killed."""

import gc
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rich.console
from flax import nnx

import equikit as ek
from equikit._progress import tell
from equikit.train import fit
from equikit.train._fingerprint import differences, of_optimizer, of_weights

KEY = jax.random.key(0)


class Affine(nnx.Module):
    """A network of two numbers, with dropout and a counter of calls if asked for."""

    def __init__(self, dropout=0.0):
        self.weight, self.shift = nnx.Param(jnp.float32(0.5)), nnx.Param(jnp.float32(0.0))
        self.calls = nnx.Variable(jnp.int32(0))
        self.dropout = nnx.Dropout(dropout, rngs=nnx.Rngs(3))

    def __call__(self, x):
        self.calls.set_value(self.calls[...] + 1)
        return self.dropout(x) * self.weight[...] + self.shift[...]


def data(rows=12):
    x = np.linspace(-1, 1, rows).astype(np.float32)
    return x, 3 * x + 1


def squared(model, batch):
    x, y = batch
    return jnp.mean((model(x) - y) ** 2)


def both(model, batch):
    """The loss and the mean absolute error."""
    x, y = batch
    error = model(x) - y
    return jnp.mean(error**2), jnp.mean(jnp.abs(error))


def trained(**options):
    return fit(Affine(), squared, data(), **{"epochs": 5, "key": KEY, "optimizer": optax.sgd(0.1)} | options)


def numbers(model):
    return np.array([model.weight[...], model.shift[...]])


def test_full_batches_are_gradient_descent():
    x, y = data()
    weight, shift = 0.5, 0.0
    losses = []
    for _ in range(5):
        error = weight * x + shift - y
        losses.append(np.mean(error**2))
        weight, shift = weight - 0.2 * np.mean(error * x), shift - 0.2 * np.mean(error)
    fitted = trained()
    np.testing.assert_allclose(fitted.losses[:, 0], losses, rtol=1e-5)
    np.testing.assert_allclose(numbers(fitted.model), [weight, shift], rtol=1e-5)
    assert np.isnan(fitted.losses[:, 1]).all()
    assert fitted.best == 4
    assert fitted.seconds.shape == (5,)


def test_an_epoch_visits_each_row_at_most_once_in_an_order_of_its_own():
    """The sum of all rows that a model has seen, and the first one."""
    seen = []

    def loss(model, batch):
        jax.debug.callback(lambda rows: seen.append(np.asarray(rows).tolist()), batch, ordered=True)
        return jnp.sum(model(batch)) * 0

    fit(Affine(), loss, np.arange(10, dtype=np.float32), epochs=2, key=KEY, batch=3)
    jax.effects_barrier()
    first, second = (list(itertools.chain(*epoch)) for epoch in (seen[:3], seen[3:]))
    assert len(set(first)) == len(set(second)) == 9
    assert first != second
    assert first != sorted(first)


def test_the_model_is_a_copy_and_keeps_its_other_state():
    model = Affine(dropout=0.5)
    before = jax.tree.leaves(nnx.state(model, nnx.Param))
    fitted = fit(model, squared, data(), epochs=3, key=KEY, batch=4)
    assert int(model.calls[...]) == 0
    assert int(fitted.model.calls[...]) == 9
    np.testing.assert_array_equal(before, jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert not model.dropout.deterministic
    assert int(fitted.model.dropout.rngs.count[...]) == 9


def held_out():
    """Other rows, whose best parameters the training passes by."""
    x, y = data()
    return x[:5], y[:5] - 3


def with_dropout(loss, **options):
    options = {"epochs": 15, "key": KEY, "batch": 4, "optimizer": optax.sgd(0.1)} | options
    return fit(Affine(dropout=0.5), loss, data(), held_out(), **options)


def test_validation_is_in_evaluation_mode_and_chooses_the_epoch():
    fitted = with_dropout(both)
    assert fitted.best == np.argmin(fitted.losses[:, 1])
    fitted.model.eval()
    np.testing.assert_allclose(fitted.losses[fitted.best, 1], both(fitted.model, held_out())[1], rtol=1e-5)
    assert 0 < fitted.best < 14


def signed(model, batch):
    """The loss, and a measure of which higher is better."""
    loss, error = both(model, batch)
    return loss, -error


def test_the_highest_measure_chooses_the_epoch_if_asked_for():
    lowest, highest = with_dropout(both), with_dropout(signed, mode="max")
    assert highest.best == np.argmax(highest.losses[:, 1]) == lowest.best
    assert 0 < highest.best < 14
    np.testing.assert_array_equal(numbers(highest.model), numbers(lowest.model))
    stopped = with_dropout(signed, mode="max", patience=3)
    assert len(stopped.losses) == stopped.best + 4


def test_patience_ends_training():
    x, y = data()
    fitted = fit(Affine(), squared, (x, y), (x, 0.5 * x), epochs=50, key=KEY, patience=3, optimizer=optax.sgd(0.1))
    assert fitted.best == 0
    assert len(fitted.losses) == 4


def test_batches_of_an_iterable_are_those_steps():
    x, y = data()
    batches = [(x[:4], y[:4]), (x[4:9], y[4:9]), (x[9:], y[9:])]
    weight, shift = 0.5, 0.0
    for _ in range(2):
        for a, b in batches:
            error = weight * a + shift - b
            weight, shift = weight - 0.2 * np.mean(error * a), shift - 0.2 * np.mean(error)
    streamed = fit(Affine(), squared, Again(batches), Again(batches), epochs=2, key=KEY, optimizer=optax.sgd(0.1))
    np.testing.assert_allclose(numbers(streamed.model), [weight, shift], rtol=1e-5)
    np.testing.assert_allclose(streamed.losses[-1, 1], np.mean((weight * x + shift - y) ** 2), rtol=1e-5)


class Again:
    """Batches that can be iterated again."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def test_keys_are_new_in_every_step_and_the_same_again():
    drawn = []

    def loss(model, batch, *, key):
        jax.debug.callback(lambda value: drawn.append(float(value)), jax.random.uniform(key), ordered=True)
        return squared(model, batch)

    for _ in range(2):
        fit(Affine(), loss, data(), epochs=2, key=KEY, batch=4)
        jax.effects_barrier()
    assert len(set(drawn)) == 6
    assert drawn[:6] == drawn[6:]


def test_augment_changes_training_batches_only():
    x, y = data()

    def shifted(batch, *, key):
        return batch[0], batch[1] + 10

    fitted = fit(Affine(), squared, (x, y), (x, y + 10), epochs=25, key=KEY, augment=shifted, optimizer=optax.sgd(0.5))
    np.testing.assert_allclose(numbers(fitted.model), [3, 11], atol=1e-3)


def test_only_chosen_variables_are_trained():
    fitted = trained(wrt=nnx.PathContains("shift"))
    assert float(fitted.model.weight[...]) == 0.5
    assert float(fitted.model.shift[...]) != 0


def test_a_number_is_a_rate_of_adam_that_falls_to_zero():
    schedule = optax.cosine_decay_schedule(0.1, 15)
    one, other = trained(optimizer=0.1, batch=4), trained(optimizer=optax.adam(schedule), batch=4)
    np.testing.assert_array_equal(numbers(one.model), numbers(other.model))


def test_a_callback_with_a_keyword_has_the_model():
    told = []

    def callback(epoch, training, validation, *, model):
        told.append(numbers(model))

    fitted = trained(callback=callback)
    assert len(told) == 5
    assert np.all(np.diff([one[0] for one in told]) > 0)
    np.testing.assert_array_equal(told[-1], numbers(fitted.model))


def test_the_callback_has_epoch_and_measures():
    told = []
    fitted = trained(callback=lambda *seen: told.append(seen))
    assert [epoch for epoch, *_ in told] == [0, 1, 2, 3, 4]
    assert [one for _, one, _ in told] == fitted.losses[:, 0].tolist()


KILLED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from test_fit import checkpointed

def kill(epoch, *_):
    if epoch == 13:
        while not any(name.isdigit() for name in os.listdir(sys.argv[2])):  # they are written in the background
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

checkpointed(sys.argv[2], callback=kill)
"""


def checkpointed(folder, **options):
    x, y = data()
    options = {"epochs": 20, "key": KEY, "batch": 4, "optimizer": 0.1, "checkpoint_every": 5} | options
    return fit(Affine(dropout=0.3), squared, (x, y), (x[:5], y[:5] - 3), checkpoint=folder, **options)


@pytest.mark.compiled
def test_a_killed_training_resumes_with_the_same_result(tmp_path):
    here = os.path.dirname(__file__)
    killed = subprocess.run([sys.executable, "-c", KILLED, here, tmp_path / "a"], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    started = []
    resumed = checkpointed(tmp_path / "a", callback=lambda epoch, *_: started.append(epoch))
    assert 0 < started[0] <= 13
    assert np.isnan(resumed.seconds[: started[0]]).all()
    whole = checkpointed(tmp_path / "b")
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    assert resumed.best == whole.best
    for one, other in zip(
        *(jax.tree.leaves(nnx.state(each.model, nnx.Param)) for each in (resumed, whole)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    again = checkpointed(tmp_path / "b", callback=lambda *_: pytest.fail("nothing is left to train"))
    np.testing.assert_array_equal(again.losses, whole.losses)


class Wide(nnx.Module):
    def __init__(self, width):
        self.layer = nnx.Linear(1, width, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return jnp.sum(self.layer(x[:, None]), axis=1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"train": (data()[0], data()[1] + 1)}, "other training data"),
        ({"validation": (data()[0], data()[1] + 1)}, "other validation data"),
        ({"model": nnx.Linear(1, 1, rngs=nnx.Rngs(1))}, "other initial weights"),
        ({"optimizer": optax.adam(1e-4)}, "other optimizer"),
        ({"key": jax.random.key(1)}, "other key"),
        ({"mode": "max", "loss": signed}, "other mode"),
    ],
)
def test_a_finished_training_is_not_another_one(change, text, tmp_path):
    """Each change kept shapes and names, so that the old losses were returned at once."""

    def run(model=None, loss=squared, train=None, **options):
        model = nnx.Linear(1, 1, rngs=nnx.Rngs(0)) if model is None else model
        rows = data() if train is None else train
        start = {"validation": data(), "epochs": 2, "key": KEY, "optimizer": optax.adam(1e-2)}

        def column(model, batch):
            return loss(lambda x: model(x[:, None])[:, 0], batch)

        return fit(model, column, rows, **start | options, checkpoint=tmp_path)

    first = run()
    with pytest.raises(ek.OptionError, match=f"checkpoint= holds another training, with .*{text}") as caught:
        run(**change)
    assert str(tmp_path) in caught.value.expected
    np.testing.assert_array_equal(run().losses, first.losses)


def test_batches_are_compared_too(tmp_path):
    def run(scale, **options):
        examples = [{"p": scale * np.ones((n, 1), np.float32)} for n in (2, 3)]
        batches = ek.data.Batches(examples, np.ones((2, 1), np.float32), batch=1, **options)

        def loss(model, batch):
            return jnp.mean((model(batch.features["p"], mask=batch.masks) - batch.targets) ** 2)

        model = ek.nn.DeepSets(1, [2], 1, rngs=nnx.Rngs(0))
        return fit(model, loss, batches, epochs=1, key=KEY, optimizer=1e-2, checkpoint=tmp_path)

    first = run(1.0)
    np.testing.assert_array_equal(run(1.0).losses, first.losses)
    for change in ({"scale": 2.0}, {"scale": 1.0, "seed": 1}):
        with pytest.raises(ek.OptionError, match="with other training data"):
            run(**change)


def test_another_width_is_refused_before_arrays_are_read(tmp_path, capfd):
    """Orbax prints hundreds of lines if it reads arrays that do not fit."""
    fit(Wide(2), squared, data(), epochs=1, key=KEY, checkpoint=tmp_path)
    with pytest.raises(ek.OptionError, match="names or shapes of arrays") as caught:
        fit(Wide(3), squared, data(), epochs=1, key=KEY, checkpoint=tmp_path)
    assert "layer.kernel.value: float32[1, 3]" in caught.value.got
    assert "layer.kernel.value: float32[1, 2]" in caught.value.expected
    del caught
    gc.collect()
    assert capfd.readouterr() == ("", "")


@pytest.mark.compiled  # XLA computes with the arrays of a checkpoint, which are committed to a device
def test_more_epochs_extend_a_training_with_an_optimizer_of_optax(tmp_path):
    trained(epochs=3, checkpoint=tmp_path)
    extended = trained(epochs=5, checkpoint=tmp_path)
    np.testing.assert_array_equal(extended.losses, trained(epochs=5).losses)
    assert np.isnan(extended.seconds).tolist() == [True] * 3 + [False] * 2


def test_a_resumed_training_says_so(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("equikit.train._checkpoints.tell", told.append)
    trained(epochs=3, checkpoint=tmp_path)
    assert told == []
    trained(epochs=5, checkpoint=tmp_path)
    assert told == [f"training: continues after epoch 2 of {tmp_path}"]


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_text_are_for_terminals(terminal):
    written = io.StringIO()
    tell("continues in /tmp/[a]", rich.console.Console(file=written, force_terminal=terminal))
    assert written.getvalue() == "continues in /tmp/[a]\n" * terminal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-2), optax.adam(1e-4)),
        (optax.sgd(optax.cosine_decay_schedule(0.1, 50)), optax.sgd(optax.cosine_decay_schedule(0.1, 60))),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1)), optax.chain(optax.clip(2.0), optax.sgd(0.1))),
        (
            optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
            optax.inject_hyperparams(optax.sgd)(learning_rate=0.2),
        ),
        (optax.MultiSteps(optax.sgd(0.1), 2), optax.MultiSteps(optax.sgd(0.1), 3)),
    ],
    ids=["rate", "schedule", "chain", "injected", "accumulated"],
)
def test_numbers_of_optimizers_are_visible(one, other):
    found = {"optimizer": of_optimizer(one)}
    assert differences(found, found) == {}
    assert list(differences(found, {"optimizer": of_optimizer(other)})) == ["optimizer"]


def test_rounding_errors_do_not_make_other_weights():
    weights = {"a": np.float32([0.1, -0.2]), "b": np.int32(3), "c": np.complex64([1 + 2j])}
    found, near = of_weights(weights), of_weights(weights | {"a": np.float32([0.1000001, -0.2])})
    assert differences({"w": found}, {"w": near}) == {}
    assert differences({"w": found}, {"w": of_weights(weights | {"b": np.int32(4)})}) == {"w": ("b: [3]", "b: [4]")}
    assert differences({"w": found}, {"w": of_weights(weights | {"c": np.complex64([1 - 2j])})})


def test_checkpoints_of_another_training_are_refused(tmp_path):
    checkpointed(tmp_path, epochs=2)
    with pytest.raises(ek.OptionError, match="checkpoint= holds another training"):
        checkpointed(tmp_path, epochs=2, batch=5)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        *[
            ("record/metadata", text)
            for text in ("", "[]", "{}", '{"about": 1}', '{"about": {}, "best": 0, "losses": [1]}')
        ],
        ("arrays/_METADATA", ""),
        ("arrays/_METADATA", "[]"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_older_one_continues(part, content, tmp_path):
    whole = trained(epochs=2, checkpoint=tmp_path)
    newest = tmp_path / "2"
    (newest / part).write_text(content)  # empty, as a full disk leaves it, or of another program
    with pytest.raises(ek.OptionError, match="the newest checkpoint of checkpoint= cannot be read") as caught:
        trained(epochs=2, checkpoint=tmp_path)
    assert str(newest) in caught.value.expected
    assert caught.value.step.endswith(f"delete it: training then continues from {tmp_path / '1'}")
    shutil.rmtree(newest)
    started = []
    again = trained(epochs=2, checkpoint=tmp_path, callback=lambda epoch, *_: started.append(epoch))
    assert started == [1]
    np.testing.assert_array_equal(again.losses, whole.losses)


def test_a_damaged_checkpoint_without_an_older_one_starts_again(tmp_path):
    trained(epochs=1, checkpoint=tmp_path)
    shutil.rmtree(tmp_path / "1" / "arrays")
    with pytest.raises(ek.OptionError, match="delete it: training then starts again"):
        trained(epochs=1, checkpoint=tmp_path)
    shutil.rmtree(tmp_path / "1")
    assert not np.isnan(trained(epochs=1, checkpoint=tmp_path).seconds).any()


def test_a_folder_with_other_metadata_is_refused(tmp_path):
    trained(epochs=1, checkpoint=tmp_path)
    (tmp_path / "1" / "_CHECKPOINT_METADATA").write_text("[]")
    with pytest.raises(ek.OptionError, match="a checkpoint of checkpoint= cannot be read") as caught:
        trained(epochs=1, checkpoint=tmp_path)
    assert (caught.value.expected, caught.value.step) == (f"complete checkpoints in {tmp_path}", "pass a new folder")


def test_it_works_under_jax_numpy_and_a_model_of_equikit():
    model = ek.nn.DeepSets(2, [8], 1, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(8, 3, 2))  # float64, as NumPy makes it
    fitted = fit(model, squared, (x, np.sum(x, (1, 2))[:, None]), epochs=5, key=KEY, optimizer=1e-2)
    assert fitted.losses[-1, 0] < fitted.losses[0, 0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"epochs": 0}, ek.OptionError, "epochs= must be a whole number ≥ 1"),
        ({"batch": 0}, ek.OptionError, "batch= must be a whole number ≥ 1"),
        ({"batch": 13}, ek.OptionError, "batch= must be a whole number ≤ 12"),
        ({"patience": 3}, ek.OptionError, "patience="),
        ({"patience": 0, "validation": data()}, ek.OptionError, "patience= must be"),
        ({"key": 3}, ek.OptionError, "key="),
        ({"mode": "highest"}, ek.OptionError, "unknown value for mode="),
        ({"mode": "max"}, ek.OptionError, 'mode="max" needs validation='),
        ({"mode": "max", "validation": data()}, ek.OptionError, 'mode="max" needs a measure'),
        ({"optimizer": "adam"}, ek.OptionError, "optimizer="),
        ({"optimizer": -1}, ek.OptionError, "optimizer="),
        ({"augment": lambda batch: batch}, ek.OptionError, "augment= must be a function of batch and key="),
        ({"loss": lambda model: 0}, ek.OptionError, "loss= must be a function of model and batch"),
        ({"loss": lambda model, batch: model(batch[0])}, ek.ShapeError, "loss= does not return one real number"),
        ({"model": squared}, ek.OptionError, "model= must be"),
        ({"train": 3}, ek.OptionError, "train= must be arrays or batches"),
        ({"train": "data"}, ek.OptionError, "train= must be arrays or batches"),
        ({"train": (np.ones(3), np.ones(4))}, ek.ShapeError, "the arrays of train= have different numbers of rows"),
        ({"train": np.float32(1)}, ek.ShapeError, "the arrays of train= have different numbers of rows"),
        ({"train": np.ones((0, 2))}, ek.OptionError, "the number of rows of train="),
        ({"train": Again([data()]), "batch": 2}, ek.OptionError, "batch= does not apply to an iterable"),
        ({"train": iter([data()]), "optimizer": optax.sgd(0.1)}, ek.OptionError, "train= has no batches"),
        (
            {"train": iter([data()]), "optimizer": 0.1},
            ek.OptionError,
            "a learning rate alone needs the number of steps",
        ),
        ({"train": Again([data()]), "devices": jax.devices()}, ek.OptionError, "devices= does not apply"),
        ({"devices": jax.devices() * 5}, ek.OptionError, "5 devices cannot share a batch of 12 equally"),
        ({"devices": []}, ek.OptionError, "got:       []"),
        ({"optimizer": optax.sgd(1e30)}, ek.OptionError, "training diverged in epoch"),
        ({"wrt": 3}, ek.OptionError, "wrt= must be a filter of Flax"),
        ({"wrt": [nnx.Param, {}]}, ek.OptionError, "wrt= must be a filter of Flax"),
        ({"augment": lambda batch, *, key: None}, ek.OptionError, "next step: return the batch from augment"),
        ({"augment": lambda batch, *, key: ()}, ek.OptionError, "there are no arrays in the batch of augment="),
        ({"model": nnx.Dict()}, ek.OptionError, "next step: pass a model with variables of class nnx.Param"),
        ({"validation": (np.nan * data()[0], data()[1])}, ek.OptionError, "look for NaN in the validation data"),
    ],
)
def test_wrong_arguments_raise_errors(options, error, text):
    given = {"model": Affine(), "loss": squared, "train": data(), "epochs": 3, "key": KEY} | options
    with pytest.raises(error) as caught:
        fit(given.pop("model"), given.pop("loss"), given.pop("train"), **given)
    assert text in str(caught.value)
    assert caught.value.step


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (np.array(["a"] * 12), "give each class a number"),
        (np.array(["a"] * 12, object), "give each class a number"),
        (np.ones((12, 1), ">f4"), "x.astype(np.float32)"),
        (np.ones((12, 1), ">i8"), "x.astype(np.int32)"),
        (np.ma.masked_array(np.ones((12, 1))), "must not be a masked array"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_data_are_numbers_of_jax(column, text, several):
    x, y = data()
    for wrong in ((x, column), (column, y)):
        with pytest.raises(ek.DTypeError) as caught:
            fit(Affine(), squared, [wrong] if several else wrong, epochs=1, key=KEY)
        assert "train=" in str(caught.value)
        assert text in str(caught.value)
    with pytest.raises(ek.DTypeError, match="validation="):
        trained(validation=(x, column))


def test_complex_parameters_descend():
    layer = ek.nn.Linear("u -> u", 1, 1, u=ek.U, rngs=nnx.Rngs(0), param_dtype=jnp.complex64)
    x = np.ones((4, 2, 1), np.complex64)

    def loss(model, batch):
        return jnp.mean(jnp.abs(model(batch[0]) - batch[1]) ** 2)

    fitted = fit(layer, loss, (x, (2 + 3j) * x), epochs=10, key=KEY, optimizer=optax.sgd(0.3))
    assert fitted.losses[-1, 0] < 1e-3 * fitted.losses[0, 0]


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()),
        optax.MultiSteps(optax.sgd(0.1), 1),
    ],
    ids=["lbfgs", "plateau", "accumulated"],
)
def test_optimizers_that_look_at_the_loss_train(optimizer):
    assert trained(optimizer=optimizer, epochs=8).losses[-1, 0] < 1.0


def test_the_model_is_returned_as_it_was_measured():
    x, y = data()
    fitted = fit(Affine(dropout=0.5), squared, (x, y), (x, y), epochs=3, key=KEY, batch=4)
    np.testing.assert_allclose(squared(fitted.model, (x, y)), fitted.losses[fitted.best, 1], rtol=1e-5)


def test_a_list_is_batches_of_rows_weighted_by_their_number():
    x, y = data()
    parts = [(x[:9], y[:9]), (x[9:], y[9:])]
    fitted = fit(Affine(), squared, parts, epochs=1, key=KEY, optimizer=optax.sgd(0.0))
    whole = np.mean((0.5 * x - y) ** 2)
    np.testing.assert_allclose(fitted.losses[0, 0], whole, rtol=1e-5)


def test_measures_are_added_in_the_default_precision():
    x = np.ones(80, np.float16)  # eight equal batches: their mean is exact in float32, and their sum is not a float16

    def half(model, batch):
        return jnp.mean(model(batch)), jnp.float16(60000)

    assert fit(Affine(), half, x, x, epochs=1, key=KEY, batch=10).losses[0, 1] == 60000


def hidden_nan(model, batch):
    """A loss that is NaN, with a measure that does not show it."""
    return squared(model, batch) * jnp.nan, jnp.float32(1)


class Tensor:
    """What NumPy can read, as tensors of other libraries."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


class Unsized(Again):
    """A loader that does not know its length."""

    def __len__(self):
        raise TypeError("no length")


def test_loaders_of_other_libraries_are_read():
    x, y = data()
    fitted = fit(Affine(), squared, Unsized([(Tensor(x), Tensor(y))]), epochs=5, key=KEY, optimizer=optax.sgd(0.1))
    np.testing.assert_allclose(fitted.losses, trained().losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"optimizer": 0.1}, {"optimizer": 0.2}),
        ({"optimizer": 0.1}, {"optimizer": 0.1, "epochs": 3}),
        ({"optimizer": 0.1, "validation": data()}, {"optimizer": 0.1}),
        ({"optimizer": optax.sgd(0.1)}, {"optimizer": optax.adam(0.1)}),
    ],
)
def test_a_training_with_other_options_is_another_one(first, second, tmp_path):
    trained(checkpoint=tmp_path, **{"epochs": 2} | first)
    with pytest.raises(ek.OptionError, match="checkpoint= holds another training"):
        trained(checkpoint=tmp_path, **{"epochs": 2} | second)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"wrt": nnx.BatchStat}, ek.OptionError, "variables to train"),
        ({"checkpoint_every": 2}, ek.OptionError, "checkpoint_every= needs checkpoint="),
        ({"checkpoint": __file__}, ek.OptionError, "checkpoint= is not a folder that can be written"),
        ({"checkpoint": ""}, ek.OptionError, "checkpoint= is not a folder that can be written"),
        ({"optimizer": optax.adam}, ek.OptionError, "optimizer= must be an optax optimizer or a learning rate"),
        ({"callback": 3}, ek.OptionError, "callback= must be"),
        ({"devices": 4}, ek.OptionError, "devices= must be a list"),
        ({"train": []}, ek.OptionError, "train= has no batches"),
        ({"train": ()}, ek.OptionError, "train= must be arrays or batches"),
        ({"loss": lambda model, batch: None}, ek.ShapeError, "loss= does not return one real number"),
        ({"loss": lambda model, batch: jnp.complex64(1)}, ek.ShapeError, "loss= does not return one real number"),
        (
            {"loss": lambda model, batch: jnp.sum(model(batch[0]) > 0)},
            ek.ShapeError,
            "loss= does not return one real number",
        ),
        ({"loss": lambda model, batch: ()}, ek.ShapeError, "loss= does not return one real number"),
        ({"loss": lambda model, batch: (jnp.float32(jnp.nan), jnp.float32(1))}, ek.OptionError, "training diverged"),
        ({"loss": hidden_nan, "validation": data()}, ek.OptionError, "training diverged"),
    ],
)
def test_what_would_be_silently_wrong_raises_errors(options, error, text):
    given = {"model": Affine(), "loss": squared, "train": data(), "epochs": 3, "key": KEY} | options
    with pytest.raises(error) as caught:
        fit(given.pop("model"), given.pop("loss"), given.pop("train"), **given)
    assert text in str(caught.value)
