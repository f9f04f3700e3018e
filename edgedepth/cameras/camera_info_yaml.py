"""The YAML that ROS's camera_calibration writes, without a YAML package."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["parse_camera_info"]

_LINE = re.compile(r"^(\s*)([A-Za-z_][A-Za-z0-9_]*)\s*:\s*(.*)$")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


def parse_camera_info(text: str) -> dict[str, Any]:
    """The fields as strings, numbers, lists of numbers, and dicts of those.

    >>> parse_camera_info("image_width: 640\\ncamera_matrix:\\n  rows: 3\\n  data: [1, 2.5]")
    {'image_width': 640, 'camera_matrix': {'rows': 3, 'data': [1, 2.5]}}

    Raises:
        ValueError: a line that is none of these, with its number.
    """
    found: dict[str, Any] = {}
    outer: dict[str, Any] = found
    for number, line in _joined(text):
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number} is not understood: {line.strip()[:40]!r}")
        indent, name, value = match.groups()
        if not indent:
            outer = found
        elif outer is found:
            raise ValueError(f"line {number} is indented under nothing")
        if value:
            if _depth(value):
                raise ValueError(f"line {number} opens a bracket that isn't closed, or closes one too many")
            outer[name] = _value(value)
        else:
            outer = found[name] = {}
    return found


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers; lists in brackets on one line, and the dashes of block lists put into brackets."""
    lines: list[tuple[int, str]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).rstrip()
        if not line or line.startswith(("---", "...")):
            continue
        last = lines[-1][1] if lines else ""
        item = line.lstrip()
        if item.startswith("- ") and (last.endswith(":") or last.endswith(",]")):
            opened = last[:-1] if last.endswith("]") else f"{last} ["
            lines[-1] = (lines[-1][0], f"{opened}{item[2:]},]")
        elif _depth(last) > 0:
            lines[-1] = (lines[-1][0], f"{last} {item}")
        else:
            lines.append((number, line))
    return lines


def _value(text: str) -> Any:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item) for item in _items(text)]
    if text.startswith("{") and text.endswith("}"):
        pairs = [item.partition(":") for item in _items(text)]
        return {name.strip(): _value(value) for name, _, value in pairs}
    return _scalar(text)


def _items(text: str) -> list[str]:
    """What stands between the commas of a list or mapping in brackets, but not of those within it."""
    items = [""]
    for character in text[1:-1]:
        if character == "," and _depth(items[-1]) == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def _depth(text: str) -> int:
    """Brackets that are open at the end."""
    return sum(text.count(opening) for opening in "[{") - sum(text.count(closing) for closing in "]}")


def _scalar(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")
