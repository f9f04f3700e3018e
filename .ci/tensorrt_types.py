"""Check edgedepth/trt/tensorrt_api.py against NVIDIA's API as `tensorrt-stubs` describes it.

    python .ci/tensorrt_types.py

The stubs ask for TensorRT itself, which PyPI doesn't have, and hold a few lines that are no Python. So they go into a
folder of their own, without what they ask for, and those lines are replaced by signatures that take anything.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

STUBS = "tensorrt-stubs==10.13.0.35.1"
CHECKED = "edgedepth/trt/tensorrt_api.py"


def repair(path: Path) -> None:
    """Replace every signature that doesn't parse."""
    lines = path.read_text(encoding="utf-8").split("\n")
    while (bad := first_error(lines)) is not None:
        while not (name := re.match(r"\s*def \w+", lines[bad])):
            bad -= 1
        lines[bad] = f"{name[0]}(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:"
    path.write_text("\n".join(lines), encoding="utf-8")


def first_error(lines: list[str]) -> int | None:
    """The index of the first line that doesn't parse."""
    try:
        ast.parse("\n".join(lines))
    except SyntaxError as error:
        return (error.lineno or 1) - 1
    return None


def main() -> int:
    """Install, repair, check; mypy's exit code, for what it says of our file."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, STUBS]
        subprocess.run(pip, check=True)
        repair(Path(folder, "tensorrt_bindings", "tensorrt.pyi"))
        # The stubs say that nothing returns None, which is what the adapter looks for: "unreachable" is wrong here.
        mypy = ["mypy", "--no-warn-unreachable", "--cache-dir", f"{folder}/cache", CHECKED]
        done = subprocess.run(
            [sys.executable, "-m", *mypy],
            env=os.environ | {"MYPYPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    ours = [line for line in done.stdout.splitlines() if line.startswith(CHECKED)]
    checked = "checked 1 source file" in done.stdout
    print("\n".join(ours) or (f"{CHECKED} agrees with {STUBS}" if checked else done.stdout + done.stderr))
    return 1 if ours or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
