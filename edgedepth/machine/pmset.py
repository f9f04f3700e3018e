"""pmset -g therm: by how much an Intel Mac holds its processor back. Apple silicon says nothing here."""

from __future__ import annotations

import re

__all__ = ["parse_speed_limit"]

_LIMIT = re.compile(r"CPU_Speed_Limit[ \t]*=[ \t]*(\d+)")


def parse_speed_limit(text: str) -> int | None:
    """Percent of the full clock that is allowed, the last that was told; None where none was."""
    found = _LIMIT.findall(text)
    return int(found[-1]) if found else None
