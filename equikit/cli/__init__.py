"""The command `equikit`: show a space of equivariant maps, its plan and its pictures; audit a function; run the demo."""

from equikit.cli._audit import audit as audit
from equikit.cli._commands import app, main
from equikit.cli._read import parse_channels, parse_groups, parse_sizes

__all__ = ["app", "main", "parse_channels", "parse_groups", "parse_sizes"]
