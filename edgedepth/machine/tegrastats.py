"""tegrastats: a Jetson's memory, loads, clocks, temperatures and power rails, one line a sample.

The fields differ from board to board and from release to release: rails with and without their unit, "GR3D_FREQ 0%",
"0%@76" and "0%@[0,0]", temperatures named in capitals and not. What a line doesn't have is None or left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["TOTAL_RAILS", "Tegrastats", "parse_tegrastats"]

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")
"""Rails that feed the whole module, as boards name them. AGX boards have none: their rails are added up."""

_RAM = re.compile(r"RAM (\d+)/(\d+)MB")
_CPU = re.compile(r"CPU \[([^\]]*)\]")
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
_GPU = re.compile(r"GR3D_FREQ (\d+)%(?:@\[?(\d+))?")
_TEMPERATURE = re.compile(r"(\w+)@(-?\d+(?:\.\d+)?)C\b")
_RAIL = re.compile(r"(?<![\w/])([A-Z][A-Za-z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?![\w%]|MB|kB)")
_NO_RAILS = {"RAM", "SWAP", "IRAM"}
_ABSENT_C = -100.0  # a sensor of a part that is switched off reads -256 °C


@dataclass(frozen=True, slots=True, kw_only=True)
class Tegrastats:
    """One line.

    Args:
        ram_used_mb: of memory that CPU and GPU share.
        ram_total_mb: of it.
        cpu_percent: the load of each core that is on.
        cpu_mhz: its clock, where the line tells it.
        gpu_percent: the load of the GPU; None where it isn't told.
        gpu_mhz: its clock.
        temperatures_c: by sensor.
        rails_mw: power now, by rail, in milliwatts.
    """

    ram_used_mb: int | None
    ram_total_mb: int | None
    cpu_percent: tuple[int, ...]
    cpu_mhz: tuple[int, ...]
    gpu_percent: int | None
    gpu_mhz: int | None
    temperatures_c: dict[str, float]
    rails_mw: dict[str, int]

    @property
    def total_mw(self) -> int | None:
        """Power of the whole module: its input rail, else the sum of all rails; None where no rail is told."""
        for name in TOTAL_RAILS:
            if name in self.rails_mw:
                return self.rails_mw[name]
        return sum(self.rails_mw.values()) if self.rails_mw else None


def parse_tegrastats(line: str) -> Tegrastats:
    """Read one line. Fields that aren't known are passed over."""
    ram = _RAM.search(line)
    cores = _CORE.findall(found.group(1)) if (found := _CPU.search(line)) else []
    gpu = _GPU.search(line)
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    rails: dict[str, int] = {}
    for name, value in _RAIL.findall(line):
        if name not in _NO_RAILS and name != "NC":  # NC: a channel that is not connected
            rails[name] = int(value)
    return Tegrastats(
        ram_used_mb=int(ram.group(1)) if ram else None,
        ram_total_mb=int(ram.group(2)) if ram else None,
        cpu_percent=tuple(int(load) for load, _ in cores),
        cpu_mhz=tuple(int(mhz) for _, mhz in cores if mhz),
        gpu_percent=int(gpu.group(1)) if gpu else None,
        gpu_mhz=int(gpu.group(2)) if gpu and gpu.group(2) else None,
        temperatures_c={name: value for name, value in temperatures.items() if value > _ABSENT_C},
        rails_mw=rails,
    )
