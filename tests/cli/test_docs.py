"""Every command that the documentation shows, run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgedepth.cli import COMMANDS, build_parser

from .conftest import draw_photo, draw_video

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```sh( full-size)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


CAMERA = """image_width: 192
image_height: 128
camera_matrix: {rows: 3, cols: 3, data: [150, 0, 95.5, 0, 150, 63.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0, 0, 0, 0]}
"""


def commands(*, full_size: bool) -> list[tuple[str, list[str]]]:
    """Pages with the lines of their sh blocks."""
    found = []
    for page in PAGES:
        blocks = [text for kind, text in FENCE.findall(page.read_text()) if bool(kind) == full_size]
        lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            found.append((page.relative_to(ROOT).as_posix(), lines))
    return found


RUNNER = """
import contextlib, io, json, os, sys
from edgedepth.cli import main
for line, variables, words in json.load(sys.stdin):
    said = io.StringIO()
    before = dict(os.environ)
    os.environ.update(variables)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as stopped:
            code = stopped.code
    os.environ.clear()
    os.environ.update(before)
    if code:
        raise SystemExit(f"{line}: exit code {code}\\n{said.getvalue()}")
"""


def run_page(lines: list[str], folder: Path) -> None:
    """Run a page's lines one after the other in a folder with a photograph and a folder of photographs.

    A page's commands share a process: half of the time of most is importing torch.
    """
    (folder / "photos").mkdir()
    draw_photo(folder / "photo.jpg", f35=28)
    draw_video(folder / "video.mp4")
    (folder / "camera.yaml").write_text(CAMERA)
    draw_photo(folder / "photos" / "one.jpg", seed=1)
    draw_photo(folder / "photos" / "two.jpg", seed=2)
    makefile = (ROOT / "Makefile").read_text()
    ours = []
    for line in lines:
        words = shlex.split(line)
        variables = dict(words.pop(0).split("=", 1) for word in list(words) if re.match(r"[A-Z_]+=", words[0]))
        program, *words = words
        if program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), line
        elif program == "pip":
            extras = re.findall(r"\[(.*)\]", line)
            assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras), line
        elif program == "git":
            assert words[0] == "clone", line
        elif program != "cd":
            assert program == "edgedepth", line
            ours.append((line, variables, words))
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=folder,
        env=os.environ | {"EDGEDEPTH_HOME": str(folder / "home")},
        input=json.dumps(ours),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "lines"), commands(full_size=False), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_commands_of_a_page_run(page: str, lines: list[str], tmp_path: Path) -> None:
    run_page(lines, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "lines"), commands(full_size=True), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_full_size_commands_of_a_page_run(page: str, lines: list[str], tmp_path: Path) -> None:
    run_page(lines, tmp_path)


def test_every_edgedepth_command_in_the_docs_is_understood() -> None:
    """Those in prose and in other blocks too: a flag that was renamed shows here."""
    parser = build_parser()
    checked = 0
    for page in PAGES:
        names = "|".join(COMMANDS)
        for line in re.findall(rf"(?:^|(?<=`))edgedepth (?:{names}) [^`\n]+", page.read_text(), re.MULTILINE):
            if "…" not in line and "--help" not in line:
                parser.parse_args(shlex.split(line.partition(" > ")[0], comments=True)[1:])
                checked += 1
    assert checked
