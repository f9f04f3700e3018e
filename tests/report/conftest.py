"""Runs and pages that the report's tests share, and the browser that looks at them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgedepth.core.runs import Run, read_run
from edgedepth.report.page import write_report

from .drawn_runs import drawn_run
from .screenshot import CHROMIUM

NO_BROWSER = "no Chromium: apt-get install chromium (make browser), or name one in EDGEDEPTH_CHROMIUM"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn run, small and with every status. Copy it before changing anything in it."""
    folder = tmp_path_factory.mktemp("drawn") / "run"
    drawn_run(folder, entries=8, pictures=2, side=160)
    return folder


@pytest.fixture(scope="session")
def drawn_page(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of it."""
    return write_report([drawn], tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def copied(drawn: Path, tmp_path: Path) -> Callable[[str], tuple[Path, Run]]:
    """Makes a copy of the drawn run to change."""

    def copy(name: str = "copy") -> tuple[Path, Run]:
        folder = tmp_path / name
        shutil.copytree(drawn, folder)
        return folder, read_run(folder)

    return copy


class Seen:
    """A page that is open, with all that it complained of.

    Args:
        page: Playwright's.
        complaints: errors, warnings of the console, requests that left the page.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(f"request: {request.url}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium that draws WebGL in software."""
    program = os.environ.get("EDGEDEPTH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(NO_BROWSER)
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("needs playwright, of the extra `dev`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Callable[..., Any]:
    """Opens a page: `with look(path, dark=True, width=390) as seen`."""

    @contextmanager
    def opened(path: Path, *, dark: bool = False, width: int = 1280, javascript: bool = True) -> Iterator[Seen]:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
        )
        seen = Seen(context.new_page())
        seen.page.goto(path.as_uri())
        yield seen
        context.close()

    return opened
