"""Which Jetson, with which software: jetson_release of jetson-stats, and the files that L4T itself brings."""

from __future__ import annotations

import re

__all__ = ["parse_jetson_release", "parse_tegra_release"]

_FIELDS = {"Model": "soc", "Module": "module", "L4T": "l4t", "CUDA": "cuda", "cuDNN": "cudnn", "TensorRT": "tensorrt"}
_LINE = re.compile(r"^[ \t]*-?[ \t]*([A-Za-z0-9]+):[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_JETPACK = re.compile(r"Jetpack[ \t]*:?[ \t]*(\d[\w.]*)", re.IGNORECASE)
_POWER_MODE = re.compile(r"NV Power Mode\[(\d+)\]:[ \t]*(\S+)")
_TEGRA_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def parse_jetson_release(text: str) -> dict[str, str]:
    """Facts by our names: soc, module, jetpack, l4t, power_mode, cuda, cudnn, tensorrt. What isn't told is left out."""
    text = _COLOUR.sub("", text)
    told = {name: value for name, value in _LINE.findall(text) if value.lower() not in ("missing", "not installed")}
    facts = {ours: told[theirs] for theirs, ours in _FIELDS.items() if theirs in told}
    if jetpack := _JETPACK.search(text):
        facts["jetpack"] = jetpack.group(1)
    if mode := _POWER_MODE.search(text):
        facts["power_mode"] = f"{mode.group(2)} ({mode.group(1)})"
    return facts


def parse_tegra_release(text: str) -> str | None:
    """The L4T version in /etc/nv_tegra_release, "36.4.3"; None where it isn't one."""
    found = _TEGRA_RELEASE.search(text)
    return f"{found.group(1)}.{found.group(2)}" if found else None
