"""Which OpenVINO device is meant, and what it computes in. Pure functions over what OpenVINO reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgedepth.core.errors import DeviceError, OptionError, UnsupportedError
from edgedepth.core.spec import Precision
from edgedepth.runtimes.base import SessionOptions

__all__ = ["available_devices", "check_thread_option", "device_for", "in_words", "inference_precision"]

_KINDS = ("GPU", "CPU", "NPU")  # what "auto" tries, best first; an NPU only by its name
_DEVICE = re.compile(r"(cpu|gpu|npu)(?:[:.](\d+))?", re.IGNORECASE)
_CAPABILITIES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "int8": "INT8"}
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


def available_devices(names: Sequence[str]) -> tuple[str, ...]:
    """OpenVINO's names as ours, best first: ["CPU", "GPU.0", "GPU.1"] is ("gpu:0", "gpu:1", "cpu")."""
    ordered = [name for kind in _KINDS for name in names if name.partition(".")[0] == kind]
    return tuple(name.lower().replace(".", ":") for name in ordered)


def device_for(device: str, names: Sequence[str]) -> str:
    """OpenVINO's name of the device that is meant.

    "auto" is decided here and not by OpenVINO's AUTO, which starts on the CPU and moves to a GPU while frames are
    running: the device that was proven would not be the one that serves.

    Args:
        device: "auto" (a GPU, else the CPU), "cpu", "gpu", "gpu:1", "npu"; capitals and "GPU.1" are understood.
        names: what OpenVINO found here.

    Raises:
        OptionError: another word.
        DeviceError: a device that isn't here.
    """
    here = ", ".join(available_devices(names)) or "none"
    if device.lower() == "auto":
        chosen = [name for kind in ("GPU", "CPU") for name in names if name.partition(".")[0] == kind]
        if not chosen:
            raise DeviceError(f"OpenVINO finds neither a GPU nor a CPU here; devices are {here}", remedy=_INSTALL)
        return chosen[0]
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise OptionError(
            f"the openvino backend has no device {device!r}; allowed are auto, cpu, gpu, gpu:N and npu",
            remedy="edgedepth doctor lists the devices that are here",
        )
    kind, index = match[1].upper(), match[2]
    found = [name for name in names if name == kind or name.startswith(f"{kind}.")]
    if index is not None:
        # A single device has no number in OpenVINO's list, and is number 0.
        found = [name for name in found if name == f"{kind}.{index}" or (name == kind and index == "0")]
    if not found:
        raise DeviceError(f"device {device!r} was asked for; OpenVINO finds {here} here", remedy=_INSTALL)
    return found[0]


_INSTALL = (
    "install the device's driver (Intel's compute runtime for GPUs, the NPU driver for NPUs), or use device='cpu'"
)


def check_thread_option(device: str, options: SessionOptions) -> None:
    """Refuse a number of threads for a device that has none.

    Raises:
        OptionError: threads for a GPU or NPU.
    """
    if options.threads is not None and device != "CPU":
        raise OptionError(
            f"threads={options.threads} has no effect on {device}", remedy="leave threads out, or use device='cpu'"
        )


def inference_precision(core: Any, device: str, precision: Precision) -> str:
    """What the device shall compute in, as OpenVINO's INFERENCE_PRECISION_HINT.

    A CPU computes a bundle of fp16 in fp32, on weights of half the size: where it has no fast fp16, OpenVINO takes the
    hint f16 for bf16 on some processors (8 bits where 11 were asked for), and where it has, its kernels were slower
    than those of fp32.

    Raises:
        UnsupportedError: the device can't.
    """
    if device == "CPU" and precision == "fp16":
        precision = "fp32"
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES.get(precision) not in capabilities:
        able = [name for name in _HINTS if _CAPABILITIES[name] in capabilities]
        if device == "CPU" and "fp32" in able:
            able = ["fp32", "fp16"]
        name = core.get_property(device, "FULL_DEVICE_NAME")
        raise UnsupportedError(
            f"{name} does not compute in {precision}, which this bundle is for; it has {', '.join(able) or 'neither'}",
            remedy="export for it: edgedepth export --target openvino "
            + (" or ".join(f"--{one}" for one in able) or "and use device='cpu'"),
        )
    if precision == "int8":
        # The file says what is INT8; the hint is for the rest, and for that a device's shortest floats are right.
        return _rest_of_int8(device, capabilities)
    return _HINTS[precision]


def _rest_of_int8(device: str, capabilities: Sequence[str]) -> str:
    if device != "CPU" and "FP16" in capabilities:
        return "f16"
    return "bf16" if "BF16" in capabilities else "f32"


def in_words(core: Any, compiled: Any) -> str:
    """Where a compiled stage runs: "cpu (Intel ..., bf16)"."""
    (device,) = compiled.get_property("EXECUTION_DEVICES")
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return f"{device.lower().replace('.', ':')} ({core.get_property(device, 'FULL_DEVICE_NAME')}, {precision})"
