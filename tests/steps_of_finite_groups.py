"""Next steps of subgroup lattices, finite groups and LieGAN that are code, as `CALL` in `test_steps_as_code.py`."""

from typing import Any

import equikit as ek
from equikit.groups import subgroup

CALL: dict[str, tuple[Any, str, Any]] = {
    "subgroups-of-a-free-group": (
        lambda: ek.discover.subgroups(ek.S()),
        "S(4)",
        lambda code: ek.discover.subgroups(eval(code, {"S": ek.S})),
    ),
    "positions-that-are-none": (
        lambda: subgroup(ek.S(3), [0.5]),
        "group.elements()",
        {"group": ek.S(3)},
    ),
}
