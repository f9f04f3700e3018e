"""The machine in full, as a measurement has to carry it, and how it fares now."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.environment import describe_machine
from edgedepth.machine import linux
from edgedepth.machine.commands import output_of
from edgedepth.machine.jetson_release import parse_jetson_release, parse_tegra_release
from edgedepth.machine.nvidia_smi import read_gpu_states
from edgedepth.machine.nvpmodel import parse_power_mode
from edgedepth.machine.pmset import parse_speed_limit
from edgedepth.machine.system_profiler import parse_system_profiler

__all__ = ["IDENTITY", "MachineState", "changes", "differences", "machine_facts", "machine_state"]

IDENTITY = ("soc", "module", "cpu", "cores", "gpu", "gpu_sm", "power_mode", "threads")
"""The facts that make it another machine to a stopwatch. Versions of systems and libraries don't: they are compared."""

_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
# Variables that decide how many threads the arithmetic runs on.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def machine_facts() -> dict[str, str]:
    """Processor, instructions, memory, board, GPU, power mode, system: what can be read here, by name."""
    facts = describe_machine()
    if flags := linux.cpu_flags():
        facts["cpu_flags"] = " ".join(flags)
    if threads := " ".join(f"{name}={os.environ[name]}" for name in _THREADS if os.environ.get(name)):
        facts["threads"] = threads
    facts |= _apple() if platform.system() == "Darwin" else _board()
    if gpus := read_gpu_states():
        facts["gpu"] = ", ".join(gpu.name for gpu in gpus)
        facts["gpu_sm"] = ", ".join(gpu.sm for gpu in gpus)
        facts["gpu_driver"] = gpus[0].driver
    return facts


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """In words, in which of IDENTITY's facts two machines differ; none for the same machine."""
    return [
        f"{name}: {one.get(name, 'not told')} and {other.get(name, 'not told')}"
        for name in IDENTITY
        if one.get(name) != other.get(name)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """Clocks, temperature and throttling at a moment. What the machine doesn't tell is None.

    Args:
        cpu_mhz: mean clock of the cores.
        gpu_mhz: of the first GPU.
        temperature_c: the hottest sensor.
        throttle_count: how often cores were held back by heat so far.
        throttled: in words, what holds clocks back now.
    """

    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    temperature_c: float | None = None
    throttle_count: int | None = None
    throttled: tuple[str, ...] = ()


def machine_state() -> MachineState:
    """Look now."""
    gpus = read_gpu_states()
    temperatures = [linux.hottest_c(), *(gpu.temperature_c for gpu in gpus)]
    throttled = [f"{gpu.name}: {reason}" for gpu in gpus for reason in gpu.throttled]
    if platform.system() == "Darwin":
        limit = parse_speed_limit(output_of("pmset", "-g", "therm"))
        throttled += [f"the processor is held to {limit} % of its clock"] if limit not in (None, 100) else []
    return MachineState(
        cpu_mhz=linux.cpu_clock_mhz(),
        gpu_mhz=gpus[0].clock_mhz if gpus else None,
        temperature_c=max((value for value in temperatures if value is not None), default=None),
        throttle_count=linux.throttle_count(),
        throttled=tuple(throttled),
    )


def changes(before: MachineState, after: MachineState) -> dict[str, str]:
    """What a run did to the machine, by name, in words: {"temperature_c": "41 → 63"}; empty where nothing is told."""
    told: dict[str, str] = {}
    for name in ("cpu_mhz", "gpu_mhz", "temperature_c"):
        start, end = getattr(before, name), getattr(after, name)
        if start is not None and end is not None:
            told[name] = f"{start:.0f} → {end:.0f}"
    throttled = list(dict.fromkeys((*before.throttled, *after.throttled)))
    if before.throttle_count is not None and after.throttle_count is not None:
        times = after.throttle_count - before.throttle_count
        throttled += [f"cores were held back by heat {times} times"] if times else []
    if throttled:
        told["throttled"] = "; ".join(throttled)
    return told


def _apple() -> dict[str, str]:
    facts = parse_system_profiler(output_of("system_profiler", "-detailLevel", "mini", "SPHardwareDataType"))
    return facts | {"system": f"macOS {platform.mac_ver()[0]} {platform.machine()}"}


def _board() -> dict[str, str]:
    """Of an ARM board: what it calls itself, and of a Jetson its software and power mode."""
    facts = {"soc": model} if (model := linux.device_tree_model()) else {}
    if not _TEGRA_RELEASE.is_file():
        return facts
    facts |= parse_jetson_release(output_of("jetson_release"))
    if l4t := parse_tegra_release(_TEGRA_RELEASE.read_text(errors="replace")):
        facts["l4t"] = l4t
    if mode := parse_power_mode(output_of("nvpmodel", "-q")):
        facts["power_mode"] = mode
    return facts
