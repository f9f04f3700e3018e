"""What machine this is and what is installed on it, for manifests, reports and doctor."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from edgedepth.core.optional import installed_version

__all__ = ["cpu_name", "describe_machine", "versions_of"]


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name") and (name := line.partition(":")[2].strip()):
                return name
    return platform.processor() or platform.machine() or "unknown"


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory, system and Python: what a measurement has to carry."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    described = {
        "cpu": cpu_name(),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        described["memory_gb"] = f"{memory / 1e9:.1f}"
    return described


def versions_of(distributions: Sequence[str]) -> dict[str, str]:
    """Versions of those distributions that are installed."""
    return {name: version for name in distributions if (version := installed_version(name))}
