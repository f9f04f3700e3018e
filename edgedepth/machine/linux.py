"""What Linux tells of its processor in /proc and /sys: instructions, clock, temperature, throttling."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_clock_mhz", "cpu_flags", "device_tree_model", "hottest_c", "throttle_count"]

# Those that decide which kernels a runtime takes; a processor has a hundred others.
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "asimd",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
)


def cpu_flags(root: Path = Path("/")) -> tuple[str, ...]:
    """Vector extensions of the processor, as the kernel names them; none where it doesn't tell."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86 and ARM
            has = set(value.split())
            return tuple(flag for flag in _FLAGS if flag in has)
    return ()


def device_tree_model(root: Path = Path("/")) -> str:
    """What an ARM board calls itself, "NVIDIA Jetson AGX Orin Developer Kit"; "" where there is no device tree."""
    return _text(root / "sys/firmware/devicetree/base/model").strip("\0\n ")


def cpu_clock_mhz(root: Path = Path("/")) -> float | None:
    """Mean clock of the cores now; None where it isn't told, as in most virtual machines."""
    clocks = [_number(path) for path in sorted(root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"))]
    known = [clock / 1e3 for clock in clocks if clock is not None]
    return sum(known) / len(known) if known else None


def hottest_c(root: Path = Path("/")) -> float | None:
    """The highest temperature of all thermal zones; None where there are none."""
    zones = [_number(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    return max((zone / 1e3 for zone in zones if zone is not None), default=None)


def throttle_count(root: Path = Path("/")) -> int | None:
    """How often the cores were held back by heat since the machine started; None where it isn't counted."""
    counts = [_number(path) for path in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
