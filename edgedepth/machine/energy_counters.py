"""Energy that the machine itself counts or measures: RAPL's counters, and a Jetson's INA sensors."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ina_power_w", "rapl_joules"]

_MODULE = ("VDD_IN", "POM_5V_IN")  # the rail that feeds the whole module, where there is one


def rapl_joules(root: Path = Path("/")) -> dict[str, tuple[float, float]]:
    """Joules counted so far and where the counter begins anew, by package (and DRAM, where it is counted apart).

    Linux shows the counters of Intel and AMD processors in /sys/class/powercap, since 5.10 to root alone; empty where
    there are none or they can't be read, as in virtual machines.
    """
    found = {}
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            # Sub-zones (core, uncore) are parts of their package, and would be counted twice; DRAM is beside it.
            if not name.startswith(("package", "dram")):
                continue
            counted = float((folder / "energy_uj").read_text()) / 1e6
            found[f"{folder.name} {name}"] = counted, float((folder / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError):
            continue
    return found


def ina_power_w(root: Path = Path("/")) -> float | None:
    """Watts that a Jetson draws now by its INA3221: the module's input rail, else the sum; None where there is none."""
    rails: dict[str, float] = {}
    for folder in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
        for label in sorted(folder.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            try:
                name = label.read_text().strip()
                millivolts = float((folder / f"in{channel}_input").read_text())
                milliamperes = float((folder / f"curr{channel}_input").read_text())
            except (OSError, ValueError):
                continue
            if name not in ("", "NC", "sum of shunt voltages"):
                rails[name] = millivolts * milliamperes / 1e6
    for name in _MODULE:
        if name in rails:
            return rails[name]
    return sum(rails.values()) if rails else None
