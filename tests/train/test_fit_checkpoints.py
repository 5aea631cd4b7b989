"""Training goes on after it was killed, from checkpoints of this training only."""

import gc
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
from flax import nnx
from small_training import KEY, Affine, data, signed, squared, trained

import equikit as ek
from equikit.train import fit
from equikit.train._fingerprint import differences, of_optimizer, of_weights

KILLED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from test_fit_checkpoints import checkpointed

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
