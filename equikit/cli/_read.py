"""Parse the words on a command line as groups, channels and sizes."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from equikit import groups
from equikit._checks import choice
from equikit._errors import OptionError, ShapeError, SignatureError
from equikit.diagrams import HomSpace, MultilinearSpace, hom
from equikit.groups import DirectSum, Fixed, Group, Lorentz
from equikit.plans import TARGETS

NUMBER = "[0-9]{1,9}"
SIZE = "[0-9]{1,4000}"  # groups have their own limit; Python reads integers of at most 4,300 digits
PART = rf"[A-Za-z_]\w*(?:\({SIZE}(?:,{SIZE})*\))?"
BINDING = re.compile(rf"(?P<label>[^=]*)=(?P<parts>{PART}(?:\+{PART})*)")
Families = Mapping[str, type[Group] | type[Fixed] | Group]
"""Families by name, and groups that have a name."""

MADE_OF_OTHERS = {"DirectSum", "Dual", "MatrixGroup"}
"""Groups that sizes do not settle."""


def _is_family(value: Any) -> bool:
    """Whether a value is a group, or a class of groups or of plain axes that is not abstract."""
    is_class = isinstance(value, type) and issubclass(value, Group | Fixed)
    return isinstance(value, Group) or (is_class and not inspect.isabstract(value))


PUBLIC = {name: getattr(groups, name) for name in sorted(groups.__all__) if name not in MADE_OF_OTHERS}
FAMILIES: Families = {name: value for name, value in PUBLIC.items() if _is_family(value)}


def parse_space(signature: str, groups: Mapping[str, Group | Fixed], code: str) -> HomSpace:
    """Return the space of linear maps of a signature; `code` does in Python what the command does.

    Raises:
        SignatureError: if it cannot be read, or is one of multilinear maps.
    """
    space = hom(signature, groups=groups)
    if not isinstance(space, HomSpace):
        raise SignatureError(
            "the command works on linear maps",
            got=f"{signature!r}, a signature of multilinear maps",
            expected="inputs separated by +, no sym and no alt",
            step=f"make the space in Python with ek.hom, and write {code}",
        )
    return space


def refuse_linear_options(space: HomSpace | MultilinearSpace, **options: bool) -> None:
    """Raise `OptionError` if an option of linear plans is given for multilinear maps."""
    for name in [name for name, given in options.items() if given and isinstance(space, MultilinearSpace)]:
        raise OptionError(
            f"plans of multilinear maps have no --{name}",
            got=f"--{name} for {space}",
            expected="a signature of linear maps, with inputs separated by +",
            step=f"leave --{name} out",
        )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def imported(name: str) -> Families:
    """Return the families and groups that a module defines, which may be in the working directory.

    Raises:
        OptionError: if the module cannot be imported, or defines no group.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise OptionError(
            f"the module {name!r} cannot be imported",
            got=f"--import {name}: {type(error).__name__}: {error}",
            expected="a module in the working directory, or an installed one",
            step=f'see where it fails with python -c "import {name}"',
        ) from error
    found = {key: value for key, value in vars(module).items() if _is_new(value)}
    if not found:
        raise OptionError(
            f"the module {name!r} defines no group",
            got=f"--import {name}",
            expected="a family, which is a subclass of equikit.groups.Group, or a group such as C4 = MatrixGroup(...)",
            step="define one at the top level of the module, or leave --import out",
        )
    return found


def _is_new(value: Any) -> bool:
    """Whether a value in a module is a group or a family of groups that equikit does not define."""
    known = value.__module__.startswith("equikit.") if isinstance(value, type) else value is Lorentz
    return _is_family(value) and not known


def parse_groups(bindings: Sequence[str], modules: Sequence[str] = ()) -> dict[str, Group | Fixed]:
    """Read the bindings of labels.

    Args:
        bindings: texts such as `"p=S"`, `"p=S(5)"`, `"f=Fixed(3)"` and `"x=O(2)+O(1)"`.
        modules: names of modules that define more families.

    Returns:
        From label to group or plain axis.

    Raises:
        SignatureError: if a text is none of these, or a label occurs twice.
        GroupError: if a part of a sum has no size.
        OptionError: if a module cannot be imported, or defines no group.

    Example:
        >>> parse_groups(["p=S(5)", "f=Fixed(3)"])
        {'p': S(5), 'f': Fixed(3)}
    """
    bound: dict[str, Group | Fixed] = {}
    families = {**FAMILIES, **{name: family for module in modules for name, family in imported(module).items()}}
    for text in bindings:
        found = BINDING.fullmatch(_squeezed(text))
        parts = [part.rstrip(")").partition("(") for part in found["parts"].split("+")] if found else []
        unknown = [name for name, *_ in parts if name not in families]
        if found is None or unknown or not found["label"].isidentifier():
            raise SignatureError(
                "the group of a label cannot be read",
                got=f"--group {text!r}",
                expected=f"a label, =, and one of {', '.join(families)} with its size, as S(5), O(1,3) or Fixed(3)",
                step=f"correct the name, or add --import with the module that defines {unknown[0]}"
                if unknown
                else "write for example --group 'p=S(5)', in quotes because of the parentheses",
            )
        label = found["label"]
        if label in bound:
            raise SignatureError(
                f"label {label!r} is bound twice",
                got=", ".join(bindings),
                expected="one --group for each label",
                step="remove one of them",
            )
        read = [_group(text, families[name], sizes) for name, _, sizes in parts]
        bound[label] = read[0] if len(read) == 1 else DirectSum(*cast(list[Group], read))
    return bound


def _group(text: str, family: type[Group] | type[Fixed] | Group, sizes: str) -> Group | Fixed:
    numbers = tuple(map(int, sizes.split(","))) if sizes else ()
    if isinstance(family, Group):
        if not numbers:
            return family
        expected = f"{family} without a size"
    else:
        parameters = ", ".join(inspect.signature(family).parameters)
        expected = f"a size for each parameter of the group: {family.__name__}({parameters})"
        with contextlib.suppress(TypeError):
            return cast(Any, family)(*numbers)  # type: ignore[no-any-return]
    raise SignatureError(
        "the group of a label cannot be read",
        got=f"--group {text!r}",
        expected=expected,
        step="correct the sizes",
    )


def parse_channels(text: str) -> tuple[int | tuple[int, ...], int | tuple[int, ...]]:
    """Read `"16,32"`: channels of the inputs and of the outputs, with `+` between several terms.

    Raises:
        OptionError: unless there are two sides of integers.

    Example:
        >>> parse_channels("16+8,32")
        ((16, 8), 32)
    """
    sides = [side.split("+") for side in _squeezed(text).split(",")]
    if len(sides) != 2 or not all(re.fullmatch(NUMBER, word) for side in sides for word in side):
        raise OptionError(
            "the channels cannot be read",
            got=f"--channels {text!r}",
            expected="channels in, a comma, channels out; a + between several terms",
            step="write for example --channels 16,32 or --channels 16+8,32",
        )
    first, second = (tuple(map(int, side)) if len(side) > 1 else int(side[0]) for side in sides)
    return first, second


def parse_index(text: str | None) -> tuple[int, ...] | None:
    """Read the numbers of diagrams, `2` or `0,1,6`.

    Raises:
        OptionError: if they are not whole numbers.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"-?[0-9]{1,30}", word) for word in words):
        raise OptionError(
            "the numbers of the diagrams cannot be read",
            got=f"--index {text}",
            expected="whole numbers, separated by commas",
            step="write for example --index 0,1,6",
        )
    return tuple(map(int, words))


def parse_sizes(text: str | None, space: HomSpace | MultilinearSpace) -> dict[str, int] | None:
    """Read `"8"`, a size for all free labels, or `"a=8,b=4"`.

    Returns:
        The size of every label of the space; `None` without a text.

    Raises:
        OptionError: if the text is neither, or names a label twice.
        ShapeError: if a free label has no size, or a size contradicts the space.

    Example:
        >>> from equikit import S, hom
        >>> parse_sizes("8", hom("p -> p", p=S))
        {'p': 8}
    """
    if text is None:
        return None
    squeezed = _squeezed(text)
    if re.fullmatch(NUMBER, squeezed):
        return _sizes(text, int(squeezed), space)
    found = [re.fullmatch(rf"([^=]+)=({NUMBER})", part) for part in squeezed.split(",")]
    pairs = [(cast(str, match[1]), int(match[2])) for match in found if match is not None]
    if len(dict(pairs)) != len(found):
        raise OptionError(
            "the sizes cannot be read",
            got=f"--n {text!r}",
            expected="one number for every free label, or a number for each",
            step="write for example --n 8 or --n a=8,b=4",
        )
    return _sizes(text, dict(pairs), space)


def _sizes(text: str, n: int | dict[str, int], space: HomSpace | MultilinearSpace) -> dict[str, int]:
    """Return the size of every label; errors name the option of the command instead of the Python argument."""
    try:
        return space.sizes(n)
    except ShapeError as error:
        free = [label for label, size in space.signature.sizes.items() if size is None]
        step = f"write --n {','.join(f'{label}=4' for label in free)}" if free else "leave --n out"
        raise ShapeError(error.problem, got=f"--n {text!r}", expected=error.expected, step=step) from None


def needed_sizes(text: str | None, space: HomSpace | MultilinearSpace, what: str) -> dict[str, int]:
    """Return the size of every label; `what` is a plural noun that needs them.

    Raises:
        OptionError: if a label is free and there is no text; otherwise as `parse_sizes`.
    """
    free = [label for label, size in space.signature.sizes.items() if size is None]
    sizes = parse_sizes(text, space)
    if sizes is None and free:
        raise OptionError(
            f"{what} need a size for every label",
            got=f"{free[0]}={space.signature.groups[free[0]]}, which is free",
            expected="a size",
            step=f"add --n 4, or write --group '{free[0]}={space.signature.groups[free[0]]}(4)'",
        )
    return space.sizes() if sizes is None else sizes


def parse_targets(text: str) -> tuple[str, ...]:
    """Read the names of devices, `h100` or `h100,v5e,cpu`.

    Raises:
        OptionError: if there is no such device.

    Example:
        >>> parse_targets("h100, v5e")
        ('h100', 'v5e')
    """
    known = [*TARGETS]
    return tuple(choice("--target", word.strip(), known, code="{} {}") for word in text.split(","))


def batch_for(batch: int | None, devices: int) -> int:
    """Return the entries of the batch: without `--batch` one for each device.

    Raises:
        ShapeError: if they cannot be divided over the devices.

    Example:
        >>> batch_for(None, 8), batch_for(32, 8)
        (8, 32)
    """
    found = devices if batch is None else batch
    if found % devices:
        raise ShapeError(
            f"a batch of {found} cannot be divided over {devices} devices",
            got=f"--batch {found} with --devices {devices}",
            expected=f"a multiple of {devices}",
            step=f"write --batch {-(-found // devices) * devices}",
        )
    return found


def refuse_for_targets(target: str | None, **options: bool) -> None:
    """Raise `OptionError` if an option does not belong to compiled programs, or is for them alone."""
    for name in [name for name, given in options.items() if given]:
        alone = name in ("gradient", "devices")
        if alone == (target is None):
            raise OptionError(
                f"--{name} is for programs that are compiled" if alone else f"--{name} shows what is not compiled",
                got=f"--{name} without --target" if alone else f"--{name} with --target {target}",
                expected="--target" if alone else f"one of --{name} and --target",
                step="add --target cpu" if alone else f"leave --{name} out",
            )


def refuse_for_code(**options: bool) -> None:
    """Raise `OptionError` if an option is given that the program of `--code` does not show."""
    for name in [name for name, given in options.items() if given]:
        raise OptionError(
            f"--code shows nothing of --{name}",
            got=f"--{name} with --code",
            expected=f"one of --{name} and --code",
            step=f"leave --{name} out",
        )
