"""The command `equikit audit`, and the plugin of pytest."""

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import equikit as ek
from equikit.cli import app, main
from pytest_equikit import assert_equivariant  # noqa: F401  # a fixture

ROOT = Path(__file__).parents[2]


MODEL = """
class Net:
    def __call__(self, x):
        return abs(x)

net = Net()
"""


MIXING = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self):
        self.mix = nnx.Linear(3, 3, use_bias=False, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.mix(x)

net = Net()
"""


def run(*words):
    return CliRunner().invoke(app, ["audit", *words])


def test_a_function_is_audited():
    result = run("numpy:sin", "--signature", "p -> p", "-g", "p=S(5)", "--channels", "2")
    assert result.exit_code == 0
    assert result.stdout.startswith("equivariant up to rounding in float64\n")


def test_a_function_without_channels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["numpy:linalg.norm", "--signature", "p x -> ()", "-g", "p=S(5)", "-g", "x=O(3)"]
    assert run("numpy:sort", "--signature", "p -> p", "-g", "p=S(5)", "--no-channels").exit_code == 1
    np.save("x.npy", np.random.default_rng(0).normal(size=(4, 5, 3)))
    odd = ["numpy:negative", "--signature", "p x -> p x", "-g", "p=S", "-g", "x=O(3)", "--data", "x.npy"]
    assert run(*odd, "--no-channels").exit_code == 0
    failed = run("numpy:negative", "--signature", "p x -> p x", "-g", "p=S(5)", "-g", "x=O(3)", "--data", "x.npy")
    assert "next step: write --no-channels if the function takes such arrays, or save data[..., None]" in failed.stderr
    twice = run(*words, "--no-channels", "--channels", "2")
    assert "next step: remove --no-channels or --channels" in twice.stderr


def test_a_fault_is_the_exit_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "faulty_model.py").write_text(
        "class Net:\n    def __call__(self, x):\n        return abs(x)\n\nnet = Net()\n"
    )
    np.save("x.npy", np.random.default_rng(0).normal(size=(4, 5, 3, 1)))
    words = ["--signature", "p x -> p x", "-g", "p=S", "-g", "x=O(3)", "--data", "x.npy", "--json", "--html", "r.html"]
    result = run("faulty_model:net.__call__", *words)
    assert result.exit_code == 1
    value = json.loads(result.stdout)
    assert (value["passed"], value["samples"], value["kept"]["p"]) == (False, 4, "S(5)")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run("faulty_model:net", *words, "--seed", "1").exit_code == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import sys; sys.exit(1)", "cannot be imported"),
        ("import sys\ndef net(x):\n    sys.exit(1)", "ends the program"),
    ],
)
def test_a_program_that_ends_is_no_result(tmp_path, monkeypatch, text, problem):
    monkeypatch.chdir(tmp_path)
    name = f"ending_{problem[:4]}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    result = run(f"{name}:net", "-s", "p -> p", "-g", "p=S(3)")
    assert result.exit_code == 2
    assert problem in result.stderr
    assert "SystemExit: 1" in result.stderr


def test_an_exception_is_no_result(monkeypatch, capsys):
    monkeypatch.setattr("equikit.cli._audit.parse_groups", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["equikit", "audit", "numpy:sin", *BOTH])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY\x01\x00", b"no array"])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_files_without_arrays_are_no_result(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    result = run("numpy:sin", *BOTH, "--data", str(tmp_path / name))
    assert result.exit_code == 2
    assert result.stderr.startswith("equikit: the data cannot be read\n")


def test_archives_of_other_files_are_no_result(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("p.npy", b"no array")
    result = run("numpy:sin", *BOTH, "--data", str(tmp_path / "x.npz"))
    assert result.exit_code == 2
    assert result.stderr.startswith("equikit: ")


@pytest.mark.parametrize("words", [("audit", "numpy:sin", "-s", "p -> p", "-g", "p=S(3)"), ("demo",)])
def test_seeds_have_32_bits(words):
    result = CliRunner().invoke(app, [*words, "--seed", "99999999999999999999"])
    assert result.exit_code == 2
    assert "--seed" in result.stderr
    assert "4294967295" in result.stderr


@pytest.mark.parametrize("target", ["numpy", "numpy:", ":sin"])
def test_a_module_without_a_function_is_refused(target):
    result = run(target, "-s", "p -> p", "-g", "p=S(3)")
    assert result.exit_code == 2
    assert f"'{target}'" in result.stderr
    assert "MODULE:FUNCTION" in result.stderr


def test_only_groups_are_offered():
    offered = run("numpy:sin", "-s", "p -> p", "-g", "p=S5").stderr.split("one of ")[1].split(" with")[0]
    names = "A, Bistochastic, D, Fixed, GL, H, Lorentz, O, S, SO, Sp, Trivial, U, Z"
    assert offered == names


def test_advice_on_data_is_for_the_shell(tmp_path, monkeypatch):
    def step(*words, target="numpy:sin", signature="p -> p"):
        return run(target, "-s", signature, "-g", "p=S", *words).stderr.rpartition("next step: ")[2].strip()

    np.save(tmp_path / "none.npy", np.ones((0, 3, 1)))
    np.savez(tmp_path / "other.npz", a=np.ones((4, 3, 1)))
    none, other = (["--data", str(tmp_path / name)] for name in ("none.npy", "other.npz"))
    assert step(*none) == "give data with samples, or leave --data out and write --channels 1"
    assert step(*other) == "save an array of each name with numpy.savez"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model_of_two_arrays.py").write_text("def net(x):\n    b, p = x['p'].shape\n    return x['p']\n")
    np.savez(tmp_path / "two.npz", **{"p": np.ones((4, 3, 1)), "p p": np.ones((4, 3, 3, 1))})
    found = step("--data", str(tmp_path / "two.npz"), target="model_of_two_arrays:net", signature="p + p p -> p")
    assert found == "write --no-channels, and save array[..., 0] of each name with numpy.savez"


def test_a_report_advises_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixing_model.py").write_text(MIXING)
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 4, 3)).astype(np.float32))
    words = ["-s", "p x -> p x", "-g", "p=S", "-g", "x=SO(3)", "--data", "x.npy", "--no-channels", "--draws", "40"]
    report = run("mixing_model:net", *words).stdout
    assert """if mix should return "p x", write --at 'mix=p x'; or correct the signature""" in report
    assert "first broken       mix" in run("mixing_model:net", *words, "--at", "mix=p x").stdout


def test_archives_hold_several_inputs(tmp_path):
    np.savez(tmp_path / "x.npz", p=np.ones((2, 3, 1)), q=np.ones((2, 4, 1)))
    result = run("equikit:__version__", "-s", "p + q -> p", "-g", "p=S", "-g", "q=S", "--data", str(tmp_path / "x.npz"))
    assert "this cannot be called" in result.stderr


BOTH = ("--signature", "p -> p", "-g", "p=S(3)")


@pytest.mark.parametrize(
    ("words", "problem", "step"),
    [
        (("numpy:nothing", *BOTH), "the function 'numpy:nothing' cannot be imported", "write for example numpy:sin"),
        (("no_module:f", *BOTH), "the function 'no_module:f' cannot be imported", "write for example numpy:sin"),
        (("numpy:sin", *BOTH, "--at", "a"), "the axes of a module cannot be read", "write for example --at 'a = p x'"),
        (("numpy:sin", *BOTH, "--at", "a=p"), "the model has no module 'a'", "leave 'a' out of --at"),
        (("numpy", *BOTH), "the function 'numpy' cannot be imported", "write for example numpy:sin"),
        (("numpy:sin", *BOTH, "--html", "/nosuch/x.html"), "the report cannot be written", "write --html report.html"),
        (("numpy:sin", *BOTH, "--html", "x.txt"), "the report cannot be written", "write --html report.html"),
        (("numpy:sin", *BOTH, "--data", "none.npy"), "the data cannot be read", "write the file with numpy.save"),
        (("numpy:sin", "-s", "p -> p", "-g", "p=S"), "label 'p' is bound to a free group", "write --group 'p=S(4)'"),
        (
            ("numpy:sin", "-s", "größe -> größe", "-g", "größe=S"),
            "label 'größe' is bound to a free group",
            "write --group 'größe=S(4)'",
        ),
        (
            ("numpy:sin", *BOTH, "--confidence", "2"),
            "--confidence must be a number > 0 and < 1",
            "write --confidence 0.95",
        ),
        (("numpy:sin", *BOTH, "--draws", "2000000"), "--draws must be a whole number ≤ 1,000,000", "write --draws 256"),
        (("numpy:pi", *BOTH), "this cannot be called", "name a function, such as numpy:sin"),
        (
            ("numpy:sin", "-s", "x -> x", "-g", "x=O(3)", "--draws", "4", "--confidence", "0.9999"),
            "too few samples for the claimed confidence",
            "write --draws 94",
        ),
    ],
)  # fmt: skip
def test_bad_words_are_refused(words, problem, step):
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"equikit: {problem}\n")
    assert result.stderr.rstrip().endswith(f"next step: {step}")


def test_the_plugin_has_a_fixture(assert_equivariant):  # noqa: F811
    assert_equivariant(np.sin, "p -> p", p=ek.S(3), channels=1)
    assert_equivariant(np.sin, "p -> p", p=ek.S(3), channels=1, key=jax.random.key(1))
    with pytest.raises(ek.EquivarianceError):
        assert_equivariant(lambda x: x[:, ::-1], "p -> p", p=ek.S(3), channels=1)


def test_the_plugin_imports_nothing_before_it_is_used():
    code = "import sys, pytest_equikit; raise SystemExit(len({'equikit', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["entry-points"]["pytest11"] == {"equikit": "pytest_equikit"}
