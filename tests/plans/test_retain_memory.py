"""Keeping freed memory, in processes of its own: it holds for the whole process."""

import ctypes
import platform
import subprocess
import sys

import pytest
from helpers import assert_error

import equikit as ek
from equikit.plans import retain_memory

# A fork shares the imports; each process starts JAX on its own.
PROGRAM = """
import os, resource
import jax, jax.numpy as jnp
from equikit.plans import retain_memory
retained = os.fork() == 0
if retained:
    retain_memory()
else:
    os.wait()
x = jnp.ones(12 * 2**20)
f = jax.jit(lambda x: x + 1)
step = lambda: jax.block_until_ready(f(x))
step(), step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
"""

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")


@gnu
def test_arrays_are_not_mapped_anew_at_every_call():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    retained, usual = map(int, run.stdout.split())
    assert usual > 200_000  # twenty arrays of 48 MiB, in pages of 4 KiB
    assert retained < usual / 10


PROBLEM = "does not let a program keep freed memory"


def windows(name: None) -> object:
    """`ctypes.CDLL` of Windows, which has no library of the process."""
    raise TypeError("bad argument type for built-in operation")


def musl(name: None) -> object:
    """`ctypes.CDLL` of Alpine, whose C library cannot be told, and of macOS."""
    return object()


@pytest.mark.parametrize("library", [windows, musl])
def test_macos_windows_and_alpine_are_refused(monkeypatch, library):
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert_error(ek.OptionError, retain_memory, PROBLEM, "no mallopt", "GNU", "leave")


def test_a_c_library_that_refuses_is_reported(monkeypatch):
    refusing = type("Library", (), {"mallopt": staticmethod(lambda *setting: 0)})()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: refusing)
    assert_error(ek.OptionError, retain_memory, PROBLEM, "refused", "GNU", "leave")
