"""powermetrics: power, clocks and thermal pressure of a Mac. It runs as root only."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["SAMPLERS", "Powermetrics", "parse_powermetrics"]

SAMPLERS = "cpu_power,gpu_power,thermal"

_POWER = re.compile(r"^(CPU|GPU|ANE|Combined) Power(?: \([^)]*\))?:[ \t]*(\d+(?:\.\d+)?) mW", re.MULTILINE)
_INTEL = re.compile(r"^Intel energy model derived package power[^:]*:[ \t]*(\d+(?:\.\d+)?)W", re.MULTILINE)
_CLOCK = re.compile(r"^(\w+-Cluster|GPU) HW active frequency:[ \t]*(\d+) MHz", re.MULTILINE)
_PRESSURE = re.compile(r"^Current pressure level:[ \t]*(\w+)", re.MULTILINE)
_DIE = re.compile(r"^CPU die temperature:[ \t]*(\d+(?:\.\d+)?) C", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Powermetrics:
    """One sample. What it doesn't tell is None or left out.

    Args:
        parts_mw: milliwatts of "CPU", "GPU" and "ANE".
        total_mw: of all three, or of an Intel processor's package.
        clocks_mhz: while active, by "E-Cluster", "P0-Cluster", "GPU".
        pressure: "Nominal", "Moderate", "Heavy": from the second on, clocks are held back.
        die_c: the processor's temperature; Intel only.
    """

    parts_mw: dict[str, float]
    total_mw: float | None
    clocks_mhz: dict[str, int]
    pressure: str | None
    die_c: float | None


def parse_powermetrics(text: str) -> Powermetrics:
    """Read the text of one sample, of Apple silicon or of an Intel processor."""
    powers: dict[str, float] = {}
    for part, milliwatts in _POWER.findall(text):
        powers.setdefault(part, float(milliwatts))  # the GPU's comes twice, and the first belongs to the sum
    combined = powers.pop("Combined", None)
    intel, pressure, die = _INTEL.search(text), _PRESSURE.search(text), _DIE.search(text)
    total = float(intel.group(1)) * 1e3 if intel else combined
    return Powermetrics(
        parts_mw=powers,
        total_mw=sum(powers.values()) if total is None and powers else total,
        clocks_mhz={name: int(mhz) for name, mhz in _CLOCK.findall(text)},
        pressure=pressure.group(1) if pressure else None,
        die_c=float(die.group(1)) if die else None,
    )
