"""Training is what a plain loop does, and leaves the given model alone."""

import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import rich.console
from flax import nnx
from small_training import KEY, Affine, both, data, numbers, signed, squared, trained

import equikit as ek
from equikit._progress import tell
from equikit.train import fit


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


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_of_text_are_for_terminals(terminal):
    written = io.StringIO()
    tell("continues in /tmp/[a]", rich.console.Console(file=written, force_terminal=terminal))
    assert written.getvalue() == "continues in /tmp/[a]\n" * terminal


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
