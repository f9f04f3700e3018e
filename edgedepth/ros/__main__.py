"""python -m edgedepth.ros."""

from __future__ import annotations

import sys

from edgedepth.core.daemons import leave
from edgedepth.core.errors import EdgeDepthError
from edgedepth.ros.node import main

__all__: list[str] = []

try:
    main()
except EdgeDepthError as error:
    sys.stderr.write(f"edgedepth: error: {error.problem}\n  try: {error.remedy}\n")
    leave(error.exit_code)
