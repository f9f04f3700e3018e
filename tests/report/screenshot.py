"""The documentation's picture of a report: by light from the top, by dark from the pictures on.

python -m tests.report.screenshot report.html docs/report.jpg
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1280, 1980
CHROMIUM = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""Tests may run as root, whom Chromium's sandbox refuses; WebGL is drawn in software."""


def screenshot(page: Path, out: Path) -> None:
    """Write a JPEG of two halves."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        halves = []
        for scheme, start in (("light", "body"), ("dark", "#pictures")):
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            seen = context.new_page()
            seen.goto(page.resolve().as_uri())
            seen.add_style_tag(
                content="html { scroll-behavior: auto !important; scroll-padding-top: 1.5rem !important }"
            )
            seen.evaluate(f"document.querySelector('{start}').scrollIntoView()")
            seen.wait_for_timeout(3000)  # the point cloud, in software
            halves.append(Image.open(io.BytesIO(seen.screenshot())).convert("RGB"))
        browser.close()
    both = Image.new("RGB", (2 * WIDTH, HEIGHT))
    for number, half in enumerate(halves):
        both.paste(half, (number * WIDTH, 0))
    both.resize((WIDTH * 4 // 3, HEIGHT * 2 // 3), Image.Resampling.LANCZOS).save(out, quality=76, optimize=True)


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]))
