"""A device as a fleet sees it: the facts that decide which artefact fits it, and one hash over them."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass

from edgedepth.core.environment import cpu_name
from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.plain import to_plain
from edgedepth.machine import linux
from edgedepth.machine.facts import machine_facts
from edgedepth.machine.nvidia_smi import read_gpu_states
from edgedepth.runtimes.base import BACKENDS, backend_named
from edgedepth.trt import providers

__all__ = ["DeviceFacts", "Gpu", "RuntimeFacts", "device_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """An NVIDIA GPU.

    Args:
        name: as its driver tells it: an engine is built for one card, not for one SM alone.
        sm: compute capability, 87 for 8.7.
        driver: its version, in words.
    """

    name: str
    sm: int
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """A backend here.

    Args:
        version: of its runtime; None where it isn't installed.
        devices: what it can be asked for, best first; none where it doesn't run.
    """

    version: str | None
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What decides which artefact fits. Clocks, load, free memory, kernels and names of hosts don't, and aren't here.

    Args:
        system: "Linux", "Darwin", "Windows"; of a Mac with its version, which Core ML comes with.
        architecture: "x86_64", "aarch64", "arm64".
        cpu: the processor's name.
        cpu_flags: its vector extensions that choose kernels, as Linux names them.
        soc: what an ARM board calls itself; "" where there is no such name.
        l4t: NVIDIA's system on a Jetson, "36.4.3"; "" elsewhere.
        jetpack: of which it is a part; "" elsewhere, and where jetson_release isn't installed.
        gpus: NVIDIA's, in CUDA's order.
        runtimes: by backend.
    """

    system: str
    architecture: str
    cpu: str
    cpu_flags: tuple[str, ...]
    soc: str
    l4t: str
    jetpack: str
    gpus: tuple[Gpu, ...]
    runtimes: dict[str, RuntimeFacts]

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all of them: equal on devices that the same artefacts fit."""
        text = json.dumps(to_plain(self), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def device_facts() -> DeviceFacts:
    """Look at this device."""
    told = machine_facts()
    here = {name: backend_named(name).availability() for name in BACKENDS}
    system = platform.system()
    return DeviceFacts(
        system=f"{system} {platform.mac_ver()[0]}" if system == "Darwin" else system,
        architecture=platform.machine(),
        cpu=cpu_name(),
        cpu_flags=linux.cpu_flags(),
        soc=told.get("soc", ""),
        l4t=told.get("l4t", ""),
        jetpack=told.get("jetpack", ""),
        gpus=_gpus(),
        runtimes={name: RuntimeFacts(version=one.version, devices=one.devices) for name, one in here.items()},
    )


def _gpus() -> tuple[Gpu, ...]:
    """As CUDA tells them, which the tensorrt backend asks; without its bindings, as nvidia-smi does."""
    try:
        found = providers.HARDWARE().find()
    except EdgeDepthError:
        return tuple(
            Gpu(name=gpu.name, sm=int(gpu.sm.replace(".", "")), driver=gpu.driver)
            for gpu in read_gpu_states()
            if gpu.sm.replace(".", "").isdecimal()
        )
    return tuple(Gpu(name=gpu.name, sm=gpu.sm, driver=gpu.driver) for gpu in found)
