"""The command that audits a function of a module."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from equikit._errors import EquikitError, OptionError
from equikit.cli._commands import LARGEST_SEED, Groups, Imports, Json, app
from equikit.cli._read import parse_groups
from equikit.cli._values import print_json

OPTIONS = {
    r"\bchannels=False": "--no-channels",
    r"(--no-channels.*) data\[": r"\1 save data[",
    r"\bdata=\{name: (array\[.*?\]) for .*?\}": r"save \1 of each name with numpy.savez",
    r"leave data out": "leave --data out",
    r"\b(draws|confidence|channels)=([\d.]+)": r"--\1 \2",
    r"\b(draws|confidence|channels)=": r"--\1",
    r'\bat=\{"(.*?)": "(.*?)"\}': r"--at '\1=\2'",
    r"\bat=": "--at",
    r"give a dictionary with an array for each input": "save an array of each name with numpy.savez",
    r"a dictionary with the names": "FILE.npz with the names",
    r"pass a function, such as jnp\.sin": "name a function, such as numpy:sin",
    r"pass (jax\.vmap.*)": r"define batched = \1 in the module, and name it",
}
"""What the texts of an audit say in Python, as patterns, and on the command line."""


@app.command()
def audit(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:FUNCTION", help="A function or a model of a module, as in models:net.")
    ],
    signature: Annotated[
        str, typer.Option("--signature", "-s", help='Axis labels of input and output, as in "p x -> p x".')
    ],
    group: Groups = None,
    imports: Imports = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="FILE.npy with the input, or FILE.npz with an array for each input.")
    ] = None,
    channels: Annotated[int | None, typer.Option("--channels", min=1, help="Channels of random inputs.")] = None,
    no_channels: Annotated[
        bool, typer.Option("--no-channels", help="The arrays of the function have no axis of channels.")
    ] = False,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="MODULE=AXES", help='Axes of an activation, as in blocks.1="p x", for the modules.'
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Number of random group elements, at least.")] = 256,
    confidence: Annotated[float, typer.Option("--confidence", help="Confidence of the interval of the error.")] = 0.95,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of random inputs and group elements.")
    ] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report to FILE.html, in a folder that exists.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how well a function commutes with groups; the exit code is 1 if it does not.

    Example: equikit audit numpy:sin --signature "p -> p" -g "p=S(5)" --channels 2
    """
    import jax

    from equikit.auditing import audit as run

    if no_channels and channels is not None:
        raise OptionError(
            "a function without an axis of channels has no number of channels",
            got=f"--no-channels and --channels {channels}",
            expected="one of them",
            step="remove --no-channels or --channels",
        )
    given: Any = {"channels": 1 if channels is None else channels} if data is None else {"data": _loaded(data)}
    if no_channels:
        given["channels"] = False
    function, groups = _function(target), parse_groups(group or (), imports or ())
    try:
        report = run(
            function,
            signature,
            groups=groups,
            key=jax.random.key(seed),
            at=dict(_declared(text) for text in at) if at else None,
            draws=draws,
            confidence=confidence,
            **given,
        )
    except EquikitError as error:
        error.problem = _as_options(error.problem)
        error.expected, error.step = (text and _as_options(text) for text in (error.expected, error.step))
        raise
    except SystemExit as error:  # its code would look like the result of the audit
        raise OptionError(
            f"the function {target!r} ends the program",
            got=f"SystemExit: {error}",
            expected="a function that returns arrays",
            step="remove the call of sys.exit from the function",
        ) from error
    if html is not None:
        try:
            report.save(html)
        except EquikitError as error:
            error.step = "write --html report.html"
            raise
    if as_json:
        print_json(report.as_dict())
    else:
        typer.echo(_as_options(str(report)))
    if not report.passed:
        raise typer.Exit(1)


def _as_options(text: str) -> str:
    """Replace the arguments of Python in a text by the options of the command."""
    for pattern, option in OPTIONS.items():
        text = re.sub(pattern, option, text)
    return text


def _function(target: str) -> Any:
    """Return the function of `module:name`, or raise `OptionError`; the module may be in the working directory."""
    module, _, name = target.partition(":")
    if not module or not name:
        raise OptionError(
            f"the function {target!r} cannot be imported",
            got="no function after a colon" if module else "no module",
            expected="MODULE:FUNCTION, of a module in the working directory or an installed one",
            step="write for example numpy:sin",
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise OptionError(
            f"the function {target!r} cannot be imported",
            got=f"{type(error).__name__}: {error}",
            expected="MODULE:FUNCTION, of a module in the working directory or an installed one",
            step="write for example numpy:sin",
        ) from error


def _declared(text: str) -> tuple[str, str]:
    """Return the path of a module and the axes of its activation, or raise `OptionError`."""
    module, equals, axes = text.partition("=")
    if not equals:
        raise OptionError(
            "the axes of a module cannot be read",
            got=f"--at {text!r}",
            expected="a path of a module, =, and axis labels",
            step="write for example --at 'a = p x'",
        )
    return module.strip(), axes.strip()


def _loaded(path: Path) -> Any:
    """Return the array of a file of NumPy, or the arrays of an archive, or raise `OptionError`."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {name: found[name] for name in found.files} if hasattr(found, "files") else found
    except Exception as error:  # NumPy raises EOFError, BadZipFile and others
        raise OptionError(
            "the data cannot be read",
            got=f"--data {path}: {error}",
            expected="FILE.npy or FILE.npz, as numpy.save and numpy.savez write them",
            step="write the file with numpy.save",
        ) from error
    return arrays
