"""nvpmodel -q: the power mode of a Jetson, which caps clocks and switches cores off."""

from __future__ import annotations

import re

__all__ = ["parse_power_mode"]

_MODE = re.compile(r"NV Power Mode:[ \t]*(\S+)[^\n]*\n+[ \t]*(\d+)\b")


def parse_power_mode(text: str) -> str | None:
    """The mode's name and number, "MODE_15W_6CORE (2)"; None where the text tells none."""
    found = _MODE.search(text)
    return f"{found.group(1)} ({found.group(2)})" if found else None
