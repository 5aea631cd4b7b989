"""The command `equikit`: show spaces of equivariant maps, plans and pictures; audit functions; run the demo."""

from equikit.cli._audit import audit as audit
from equikit.cli._commands import app, main
from equikit.cli._read import parse_channels, parse_groups, parse_sizes

__all__ = ["app", "main", "parse_channels", "parse_groups", "parse_sizes"]
