"""The library EMLP, where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import logging
from typing import Any


@functools.cache
def load_emlp() -> Any:
    """EMLP's module of representations; `None` where it is not installed."""
    if importlib.util.find_spec("emlp") is None:
        return None
    import emlp.groups
    import emlp.reps

    # Its progress bars multiply a time by a NumPy scalar, which Python's timedelta no longer takes: switch them off.
    solver = emlp.reps.representation
    solver.tqdm = functools.partial(solver.tqdm, disable=True)
    logging.getLogger().setLevel(logging.ERROR)
    return emlp
