"""`python -m benchmarks`: see `core/command.py`."""

import sys

from benchmarks.core.command import main

if __name__ == "__main__":
    sys.exit(main())
