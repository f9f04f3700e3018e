"""Core ML's compute units: what a user's words mean, and where Core ML is at all."""

from __future__ import annotations

import platform
import sys

from edgedepth.core.errors import DeviceError, OptionError
from edgedepth.core.targets import exists_on

__all__ = ["DEVICES", "compute_units_for", "elsewhere", "in_words", "refuse_elsewhere"]

# Core ML decides for each operation: these say where it may go. The CPU is always among them.
_UNITS = {"auto": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "npu": "CPU_AND_NE"}
DEVICES = ("npu", "gpu", "cpu")
"""What a Mac with Apple silicon can be asked for."""


def compute_units_for(device: str) -> str:
    """The name of coremltools' ComputeUnit that is meant.

    Args:
        device: "auto" (all there are), "cpu", "gpu", "npu" or "ane" (the Neural Engine).

    Raises:
        OptionError: another word.
    """
    word = device.lower()
    word = "npu" if word == "ane" else word
    if word not in _UNITS:
        raise OptionError(
            f"the coreml backend has no device {device!r}; allowed are {', '.join(_UNITS)}",
            remedy="edgedepth doctor lists the devices that are here",
        )
    return _UNITS[word]


def in_words(units: str) -> str:
    """Where a model of these compute units may run: "npu or cpu (Core ML, macOS 15.1)"."""
    places = {"ALL": "npu, gpu or cpu", "CPU_ONLY": "cpu", "CPU_AND_GPU": "gpu or cpu", "CPU_AND_NE": "npu or cpu"}
    return f"{places[units]} (Core ML, macOS {platform.mac_ver()[0]})"


def refuse_elsewhere() -> None:
    """Tell where Core ML runs, if it isn't here.

    Raises:
        DeviceError: this is no Mac.
    """
    if not exists_on("coreml"):
        raise elsewhere()


def elsewhere() -> DeviceError:
    """The line for a machine that is no Mac: where Core ML runs, and what works here."""
    return DeviceError(
        f"Core ML runs on macOS, iOS and visionOS; this is {platform.system() or sys.platform}, where its packages "
        "can be exported and verified",
        remedy="edgedepth verify BUNDLE computes the packages here, off-device; copy the bundle to a Mac to run it",
    )
