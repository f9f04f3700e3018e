"""Programs that tell about the machine: what they print, or nothing."""

from __future__ import annotations

import shutil
import subprocess

__all__ = ["output_of"]


def output_of(program: str, *arguments: str, timeout_s: float = 5.0) -> str:
    """What a program prints on stdout; "" where it isn't installed, fails, or takes too long.

    Args:
        program: looked up on PATH.
        arguments: of it.
        timeout_s: how long it may take.
    """
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program, and no shell)
            [path, *arguments], capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
