"""system_profiler SPHardwareDataType: which Mac it is. Serial numbers and identifiers of the device are left out."""

from __future__ import annotations

import re

__all__ = ["parse_system_profiler"]

_FIELDS = {
    "Model Identifier": "soc",
    "Chip": "cpu",
    "Processor Name": "cpu",
    "Total Number of Cores": "cores_by_kind",
    "Memory": "memory",
}
_LINE = re.compile(r"^[ \t]*([A-Z][A-Za-z ()]*):[ \t]+(.+?)[ \t]*$", re.MULTILINE)


def parse_system_profiler(text: str) -> dict[str, str]:
    """Facts by our names: soc (the model), cpu (the chip), cores_by_kind, memory. What isn't told is left out."""
    told = dict(_LINE.findall(text))
    return {ours: told[theirs] for theirs, ours in _FIELDS.items() if theirs in told}
