"""diagnose: what is installed here, which devices there are, and what can be exported and run, or why not.

As JSON it is a device's fingerprint: what every field means stands in docs/how-to/fleet.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgedepth.core.environment import versions_of
from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.optional import is_installed, require
from edgedepth.core.plain import to_plain
from edgedepth.core.store import home
from edgedepth.exporters.base import EXPORTERS, ExportOptions, exporter_for
from edgedepth.fingerprint import DeviceFacts, device_facts
from edgedepth.machine.facts import machine_facts
from edgedepth.runtimes.base import BACKENDS, backend_named

SCHEMA_VERSION = 1

__all__ = ["SCHEMA_VERSION", "Diagnosis", "TargetDiagnosis", "diagnose"]

# Distribution, import name, and the extra that installs it.
_PACKAGES = (
    ("numpy", "numpy", ""),
    ("opencv-python", "cv2", ""),
    ("torch", "torch", "export"),
    ("onnx", "onnx", "export"),
    ("onnxscript", "onnxscript", "export"),
    ("safetensors", "safetensors", "export"),
    ("huggingface_hub", "huggingface_hub", "export"),
    ("onnxruntime", "onnxruntime", "onnx"),
    ("openvino", "openvino", "openvino"),
    ("tensorrt-rtx-cu13-bindings", "tensorrt_rtx_bindings", "tensorrt"),
    ("cuda-bindings", "cuda.bindings", "tensorrt"),
    ("coremltools", "coremltools", "coreml"),
    ("coreai-core", "coreai", "coreai"),
    ("pillow", "PIL", "cli"),
    ("rich", "rich", "cli"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetDiagnosis:
    """What can be done with one target on this machine.

    Args:
        name: of the target and its backend.
        version: of the runtime; None when it isn't installed.
        runs: whether its bundles run here.
        devices: what it can be asked for, best first.
        exports: whether bundles can be written here.
        reason: why not, and what cures it; empty when both can be done.
    """

    name: str
    version: str | None
    runs: bool
    devices: tuple[str, ...]
    exports: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The whole answer.

    Args:
        fingerprint: hex SHA-256 of `device`.
        device: the facts that decide which artefact fits.
        machine: processor, cores, memory, board, GPU, power mode, system, Python: whatever the system tells.
        store: the artefact store's folder.
        packages: versions of what is installed.
        missing: what isn't, with the extra that installs it.
        targets: one row a target.
    """

    fingerprint: str
    device: DeviceFacts
    machine: dict[str, str]
    store: str
    packages: dict[str, str]
    missing: dict[str, str]
    targets: tuple[TargetDiagnosis, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, keys in order: on an unchanged machine the same bytes each time."""
        plain = {"schema_version": SCHEMA_VERSION, **to_plain(self)}
        ordered: dict[str, Any] = json.loads(json.dumps(plain, sort_keys=True))
        return ordered


def diagnose() -> Diagnosis:
    """Look at this machine. What is missing is the answer, and no error."""
    device = device_facts()
    return Diagnosis(
        fingerprint=device.fingerprint,
        device=device,
        machine=machine_facts(),
        store=str(home()),
        packages=versions_of([name for name, _, _ in _PACKAGES]),
        missing={name: extra for name, module, extra in _PACKAGES if extra and not is_installed(module)},
        targets=(_torch(), *(_target(name) for name in EXPORTERS)),
    )


def _torch() -> TargetDiagnosis:
    there = is_installed("torch")
    cuda = there and require("torch", extra="export", purpose="to look for a GPU").cuda.is_available()
    return TargetDiagnosis(
        name="torch",
        version=versions_of(["torch"]).get("torch"),
        runs=there,
        devices=("cuda", "cpu") if cuda else ("cpu",) if there else (),
        exports=False,
        reason="it is the reference: run and compared with, never exported"
        if there
        else "torch is not installed: pip install 'edgedepth[export]'",
    )


def _target(name: str) -> TargetDiagnosis:
    reasons = []
    version: str | None = None
    devices: tuple[str, ...] = ()
    if name in BACKENDS:
        available = backend_named(name).availability()
        version, devices = available.version, available.devices
        reasons.append(available.reason)
    exports = False
    try:
        exporter = exporter_for(name)
        missing = [module for module in exporter.needs if not is_installed(module)]
        support = exporter.check(ExportOptions())
        exports = support.ok and not missing
        reasons.append("" if support.ok else f"{support.reason}: {support.remedy}")
        reasons.append(
            f"exporting needs {', '.join(missing)}: pip install 'edgedepth[{exporter.extras}]'" if missing else ""
        )
    except EdgeDepthError as error:
        reasons.append(error.problem)
    return TargetDiagnosis(
        name=name,
        version=version,
        runs=bool(devices),
        devices=devices,
        exports=exports,
        reason="; ".join(reason for reason in reasons if reason),
    )
