"""The devices of a target: which packages compile for them, and whether they fit the installed JAX."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

import jax

from equikit import _checks
from equikit._errors import MissingPackageError, OptionError
from equikit.plans.targets._devices import TARGETS, Device
from equikit.plans.targets._private import cuda_devices, tpu_devices

CUDA = {"jax-cuda12-pjrt": "jax_plugins.xla_cuda12", "jax-cuda13-pjrt": "jax_plugins.xla_cuda13"}
"""Packages that compile for CUDA, and their modules."""

EXTRAS = {"tpu": "tpu", "cuda": "cuda12-local"}
"""The extra of jax that installs the compiler of a platform, without libraries that only the devices need."""


def device_of(target: object) -> Device:
    """Return the figures of a target, or raise `OptionError`, which names the nearest."""
    return TARGETS[_checks.choice("target", target, [*TARGETS], step='write target="h100"')]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _install(platform: str) -> str:
    return f'pip install "jax[{EXTRAS[platform]}]=={jax.__version__}"'


def _missing(target: str, platform: str, package: str) -> MissingPackageError:
    return MissingPackageError(
        f'target="{target}" needs a compiler that is not installed',
        got=f"no package {package}",
        expected=f"{package}, which compiles on machines without the device; the extra targets of equikit has it",
        step=_install(platform),
    )


def _other_version(package: str, version: str, wanted: str, platform: str) -> OptionError:
    return OptionError(
        f"{package} is of another version than jax",
        got=f"{package} {version}, with jax {jax.__version__} and jaxlib {metadata.version('jaxlib')}",
        expected=f"{package} {wanted}",
        step=_install(platform),
    )


def _cuda_plugin(target: str) -> str:
    """Return the module of the CUDA plugin that is installed, of the version of jaxlib."""
    found = {package: version for package in CUDA if (version := _version(package)) is not None}
    if not found:
        raise _missing(target, "cuda", "jax-cuda12-plugin")
    for package, version in found.items():
        if version == metadata.version("jaxlib"):
            return CUDA[package]
    package, version = next(iter(found.items()))
    raise _other_version(package, version, metadata.version("jaxlib"), "cuda")


def _check_libtpu(target: str) -> None:
    """Raise an error unless libtpu has a version that jax asks for, in its extra `tpu`."""
    version = _version("libtpu")
    if version is None:
        raise _missing(target, "tpu", "libtpu")
    wanted = [found[1] for line in metadata.requires("jax") or () if (found := re.match(r"libtpu==([\d.]+)", line))]
    if wanted and not f"{version}.".startswith(f"{wanted[0].rstrip('.')}."):
        raise _other_version("libtpu", version, f"{wanted[0]}*", "tpu")


def devices_for(target: str, count: int) -> list[Any]:
    """Return so many devices of a target, or raise an error that names what is missing.

    Raises:
        OptionError: for a number of devices without a topology; for a compiler of another version than JAX.
        MissingPackageError: if the compiler is not installed.
    """
    device = device_of(target)
    if device.platform == "cpu":
        return _cpu_devices(count)
    if count not in device.topologies:
        near = min(device.topologies, key=lambda size: abs(size - count))
        raise OptionError(
            f'target="{target}" has no topology of {count} devices',
            got=f"devices={count}",
            expected=", ".join(map(str, device.topologies)),
            step=f"choose {near} devices",
        )
    topology = device.topologies[count]
    if device.platform == "cuda":
        return cuda_devices(topology, _cuda_plugin(target))[:count]
    _check_libtpu(target)
    # A v4 chip is one device to JAX in this configuration, which is the usual one, and two in the default.
    options = {"chip_config_name": "megacore"} if target == "v4" else {}
    return tpu_devices(f"{target}:{topology}", options)[:count]


def _cpu_devices(count: int) -> list[Any]:
    found = jax.devices("cpu")
    if count > len(found):
        raise OptionError(
            f"this process has fewer than {count} CPU devices",
            got=f"{len(found)} of them, and devices={count}",
            expected=f"devices={len(found)} or fewer",
            step=f'call jax.config.update("jax_num_cpu_devices", {count}) before anything else in the process',
        )
    return found[:count]
