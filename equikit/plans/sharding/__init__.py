"""Plans on many devices."""

from equikit.plans.sharding._out_sharding import OutSharding, Result
from equikit.plans.sharding._sharding import entries, placed, result

__all__ = ["OutSharding", "Result", "entries", "placed", "result"]
