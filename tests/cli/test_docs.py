"""Every command that the documentation shows, run as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgedepth.cli import COMMANDS, build_parser

from .conftest import Cli, draw_photo, draw_video

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


def edgedepth_commands(lines: list[str]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Lines that run edgedepth, with their variables and words; what the others name has to exist."""
    makefile = (ROOT / "Makefile").read_text()
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
            yield line, variables, words


def exports_the_same_anywhere(words: list[str]) -> bool:
    """Whether it is an export of published weights into a folder: no file of the page and no store has a part in it."""
    if words[0] != "export":
        return False
    args = build_parser().parse_args(words)
    return args.out is not None and args.weights is None and args.calib is None


RunPage = Callable[[list[str]], None]


@pytest.fixture
def run_page(
    cli: Cli, exported: Callable[..., Path], traced_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunPage:
    """Runs a page's lines one after the other, in a folder with a photograph, a video and a folder of photographs.

    They run in this process: half of the time of most is importing torch. An export that several pages show runs for
    the first of them, and the others get the bundle that it made; others share the graphs that are the same.
    """
    (tmp_path / "photos").mkdir()
    draw_photo(tmp_path / "photo.jpg", f35=28)
    draw_video(tmp_path / "video.mp4")
    (tmp_path / "camera.yaml").write_text(CAMERA)
    draw_photo(tmp_path / "photos" / "one.jpg", seed=1)
    draw_photo(tmp_path / "photos" / "two.jpg", seed=2)
    monkeypatch.chdir(tmp_path)

    def run(lines: list[str]) -> None:
        for line, variables, words in edgedepth_commands(lines):
            if exports_the_same_anywhere(words):
                place = words.index("--out")
                asked = [word for number, word in enumerate(words[1:], 1) if number not in (place, place + 1)]
                shutil.copytree(exported(*asked), words[place + 1])
                continue
            with monkeypatch.context() as changed:
                for name, value in variables.items():
                    changed.setenv(name, value)
                done = cli(*words)
            assert done.code == 0, f"{line}: exit code {done.code}\n{done.err}"

    return run


@pytest.mark.parametrize(
    ("page", "lines"), commands(full_size=False), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_commands_of_a_page_run(page: str, lines: list[str], run_page: RunPage) -> None:
    run_page(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "lines"), commands(full_size=True), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_full_size_commands_of_a_page_run(page: str, lines: list[str], run_page: RunPage) -> None:
    run_page(lines)


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
