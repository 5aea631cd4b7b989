"""`python -m benchmarks.speed._target_rates_program JOBS`: compile layers by a method for a target; print counts."""

from __future__ import annotations

import json
import sys

from benchmarks.speed.methods import Case, entry
from equikit.plans import compiled_cost

if __name__ == "__main__":
    for layer, batch, width, target, method in json.loads(sys.argv[1]):
        found = entry(Case(layer, batch, width), method, "forward", 0)
        print(json.dumps(compiled_cost(found.function, *found.arguments, target=target).as_dict()), flush=True)
