"""python -m edgedepth."""

import sys

from edgedepth.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
