"""What an OpenVINO IR declares, compared with what it holds, before a runtime allocates for it.

The .xml tells each constant's place in the .bin beside it. Nothing but elements, attributes and text is read of the
.xml: a document type, with which a few lines unfold to gigabytes or name other files, is refused where it begins.
The format: https://docs.openvino.ai/2026/documentation/openvino-ir-format.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat

from edgedepth.core.errors import BundleTamperedError
from edgedepth.core.reading import check_plain, read_plain

__all__ = ["check_ir"]

# Bits of an element, by OpenVINO's element types; strings have none, and no graph of ours holds any.
_BITS = {"boolean": 8, "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "f8e4m3": 8, "f8e5m2": 8, "f4e2m1": 4, "nf4": 4}
_BITS |= {f"{sign}{bits}": bits for sign in "iu" for bits in (4, 8, 16, 32, 64)} | {"u1": 1}
_LIMIT = 256 << 20  # bytes of an .xml: 4,000 operations take some two million
_DEPTH = 64  # of elements within elements: bodies of loops lie some ten deep
_MOST = 1 << 62  # a size that no file has: what is multiplied of them stays small


def check_ir(path: Path) -> None:
    """Refuse a graph whose constants aren't in the .bin beside it.

    Args:
        path: of the .xml file.

    Raises:
        BundleTamperedError: it isn't an IR, or declares other constants than it holds.
    """
    try:
        _Reader(check_plain(path.with_suffix(".bin")).st_size).read(read_plain(path, limit=_LIMIT))
    except (OSError, ValueError, expat.ExpatError) as error:
        raise BundleTamperedError(
            f"{path} is not an OpenVINO IR that can be run: {getattr(error, 'strerror', None) or error}",
            remedy="export it again: edgedepth export --help",
        ) from error


class _Reader:
    """Walks through an .xml.

    Args:
        held: bytes of the .bin.
    """

    def __init__(self, held: int) -> None:
        self._held = held
        self._inside: list[tuple[str, Mapping[str, str]]] = []

    def read(self, content: bytes) -> None:
        """Raise a ValueError or an ExpatError over what is no IR."""
        parser = expat.ParserCreate(encoding="UTF-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.Parse(content, True)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._inside and name != "net":
            raise ValueError(f"it holds <{name}>, not <net>")
        if len(self._inside) == _DEPTH:
            raise ValueError(f"elements lie more than {_DEPTH} deep in each other")
        if name == "data" and self._inside and self._inside[-1][0] == "layer":
            layer = self._inside[-1][1]
            if layer.get("type", "").lower() == "const" or {"offset", "size"} <= attributes.keys():
                self._check(layer.get("name", ""), attributes)
        self._inside.append((name, attributes))

    def _end(self, _: str) -> None:
        self._inside.pop()

    def _check(self, name: str, data: Mapping[str, str]) -> None:
        kind, bits = data.get("element_type", ""), _BITS.get(data.get("element_type", ""))
        if bits is None:
            raise ValueError(f"constant {name!r} has type {kind!r}")
        shape = [_number(name, size) for size in data.get("shape", "").split(",") if size.strip()]
        offset, size = (_number(name, data.get(key, "")) for key in ("offset", "size"))
        declared = (math.prod(shape) * bits + 7) // 8
        if size != declared or offset + size > self._held:
            raise ValueError(
                f"constant {name!r} declares {declared} bytes, {size} from byte {offset} of a .bin that has "
                f"{self._held}"
            )


def _number(name: str, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _MOST):
        raise ValueError(f"constant {name!r} has the size {text!r}")
    return int(text)


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("it has a document type, which no IR of edgedepth has")
