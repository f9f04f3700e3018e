"""nvidia-smi: an NVIDIA GPU's name, clocks, temperature, power, throttling, and memory by process."""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.machine.commands import output_of

__all__ = ["QUERY", "GpuState", "parse_gpu_state", "parse_process_memory", "process_memory_bytes", "read_gpu_states"]

QUERY = (
    "name",
    "driver_version",
    "compute_cap",
    "clocks.sm",
    "temperature.gpu",
    "power.draw",
    "clocks_throttle_reasons.active",
)
"""What read_gpu_states() asks for, in this order."""

_FORMAT = "--format=csv,noheader,nounits"
# Bits of clocks_throttle_reasons.active, from nvml.h: those that take away clocks which were asked for.
_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal slowdown by software",
    0x40: "thermal slowdown by hardware",
    0x80: "power brake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One GPU now. What the card doesn't tell is None.

    Args:
        name: of the card.
        driver: its version.
        sm: compute capability, "9.0".
        clock_mhz: of the multiprocessors.
        temperature_c: of the die.
        power_w: that the card draws.
        throttled: in words, what holds the clocks back.
    """

    name: str
    driver: str
    sm: str
    clock_mhz: float | None
    temperature_c: float | None
    power_w: float | None
    throttled: tuple[str, ...]


def parse_gpu_state(line: str) -> GpuState | None:
    """Read one line of the query; None where it isn't one."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(QUERY):
        return None
    try:
        reasons = int(cells[6], 16)
    except ValueError:  # "[N/A]", "[Not Supported]"
        reasons = 0
    return GpuState(
        name=cells[0],
        driver=cells[1],
        sm=cells[2],
        clock_mhz=_number(cells[3]),
        temperature_c=_number(cells[4]),
        power_w=_number(cells[5]),
        throttled=tuple(words for bit, words in _REASONS.items() if reasons & bit),
    )


def read_gpu_states() -> list[GpuState]:
    """All GPUs now; none where there is no nvidia-smi, or where it answers for none (on a Jetson)."""
    lines = output_of("nvidia-smi", f"--query-gpu={','.join(QUERY)}", _FORMAT).splitlines()
    return [state for line in lines if (state := parse_gpu_state(line)) is not None]


def parse_process_memory(text: str, pid: int) -> int | None:
    """Bytes of GPU memory that a process holds, over all cards; None where it isn't listed, or the driver won't say."""
    total = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 2 and cells[0] == str(pid) and (mib := _number(cells[1])) is not None:
            total = (total or 0) + int(mib * 2**20)
    return total


def process_memory_bytes(pid: int) -> int | None:
    """parse_process_memory of what nvidia-smi says now."""
    return parse_process_memory(output_of("nvidia-smi", "--query-compute-apps=pid,used_memory", _FORMAT), pid)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
