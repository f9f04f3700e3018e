"""Where Core ML would run each operation of a package: its own plan, counted. Has not run on a Mac yet."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.mlpackage import package_of
from edgedepth.core.optional import require
from edgedepth.core.targets import exists_on
from edgedepth.runtimes.coreml_devices import compute_units_for, refuse_elsewhere

__all__ = ["count_places", "placement", "placement_of"]

_PLACES = {"MLNeuralEngineComputeDevice": "npu", "MLGPUComputeDevice": "gpu", "MLCPUComputeDevice": "cpu"}


def placement(bundle: Bundle, device: str = "auto") -> dict[str, dict[str, int]]:
    """How many operations of each stage Core ML plans for the Neural Engine, the GPU and the CPU.

    The plan is an intention: what a device refuses at run time moves without a word.

    Args:
        bundle: for Core ML.
        device: as for a session.

    Returns:
        By stage: {"npu": 410, "cpu": 3}.

    Raises:
        UnsupportedError: a bundle for another target.
        DeviceError: this is no Mac.
        OptionError: an unknown device.
        MissingExtraError: coremltools isn't installed.
    """
    if bundle.manifest.target != "coreml":
        raise UnsupportedError(
            f"{bundle.path} is for {bundle.manifest.target}; only Core ML tells where it would run each operation",
            remedy="leave --bundle out, or name a bundle of --target coreml",
        )
    refuse_elsewhere()
    units = compute_units_for(device)
    ct = require("coremltools", extra="coreml", purpose="to ask Core ML for its plan")
    plans = require("coremltools.models.compute_plan", extra="coreml", purpose="to ask Core ML for its plan")
    artefacts = bundle.manifest.artefacts
    found: dict[str, dict[str, int]] = {}
    for path in dict.fromkeys(artefact.path for artefact in artefacts.values()):  # stages may share a package
        with tempfile.TemporaryDirectory(prefix="edgedepth-") as folder:
            compiled = Path(folder, "package.mlmodelc")
            ct.models.utils.compile_model(str(package_of(bundle.file(path))), str(compiled))
            for stage in (name for name, artefact in artefacts.items() if artefact.path == path):
                found[stage] = _of_compiled(plans, compiled, stage, getattr(ct.ComputeUnit, units))
    return {stage: found[stage] for stage in artefacts}


def placement_of(bundle: Bundle, device: str = "auto") -> dict[str, dict[str, int]] | None:
    """placement() for reports and benchmarks: None where it can't be told, for another target or on no Mac."""
    if bundle.manifest.target != "coreml" or not exists_on("coreml"):
        return None
    return placement(bundle, device)


def count_places(usages: Iterable[Any]) -> dict[str, int]:
    """Operations by the place that each usage prefers; constants have no usage (None) and don't count."""
    names = (type(usage.preferred_compute_device).__name__ for usage in usages if usage is not None)
    return dict(Counter(_PLACES.get(name, name) for name in names).most_common())


def _of_compiled(plans: Any, compiled: Path, function: str, units: Any) -> dict[str, int]:
    plan = plans.MLComputePlan.load_from_path(path=str(compiled), compute_units=units)
    functions = plan.model_structure.program.functions
    chosen = functions[function if function in functions else "main"]
    return count_places(
        plan.get_compute_device_usage_for_mlprogram_operation(operation) for operation in chosen.block.operations
    )
