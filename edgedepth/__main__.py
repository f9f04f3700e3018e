"""python -m edgedepth, and the program edgedepth."""

from typing import NoReturn

from edgedepth.cli import main
from edgedepth.core.daemons import leave

__all__ = ["run"]


def run() -> NoReturn:
    """Run the command that the process was started with, and end the process."""
    leave(main())


if __name__ == "__main__":
    run()
