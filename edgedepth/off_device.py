"""Proving a bundle where its runtime isn't: its packages are evaluated by our own arithmetic instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgedepth.core.errors import DeviceError
from edgedepth.core.mlpackage import named_sizes
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.core.targets import exists_on
from edgedepth.runtimes.base import Backend, SessionOptions, backend_named
from edgedepth.runtimes.coreml_session import CoreMlBackend
from edgedepth.verify.mil import load_package
from edgedepth.verify.parity import OFF_DEVICE, ON_DEVICE

__all__ = ["MilPredictor", "open_off_device", "proving_backend"]


class MilPredictor:
    """A function of a Core ML package, evaluated on this machine's CPU; see runtimes/coreml_session.py: Predictor.

    Raises:
        PackageError: the package can't be read.
    """

    device = "off-device (edgedepth's evaluator of Core ML programs, on this CPU)"

    def __init__(self, package: Path, stage: StageSpec, function: str | None) -> None:
        self._program = load_package(package)
        self._function = function or self._program.spec.default_function
        described = self._program.functions[self._function]
        self.stage = StageSpec(
            name=stage.name,
            inputs=tuple(_as_spec(feature, stage.inputs) for feature in described.inputs.values()),
            outputs=tuple(_as_spec(feature, stage.outputs) for feature in described.outputs.values()),
        )
        self.pictures = frozenset(feature.name for feature in described.inputs.values() if feature.image)

    def predict(
        self,
        feeds: Mapping[str, npt.NDArray[Any]],
        out: Mapping[str, npt.NDArray[Any]],  # noqa: ARG002  (the evaluator's results are its own)
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Predictor."""
        return self._program.run(feeds, self._function)


def open_off_device(package: Path, stage: StageSpec, function: str | None, options: SessionOptions) -> MilPredictor:
    """Open a function of a package on the evaluator.

    Raises:
        DeviceError: a device was asked for by name; the evaluator stands for none.
        PackageError: the package can't be read.
    """
    if options.device != "auto":
        raise DeviceError(
            f"device {options.device!r} was asked for; Core ML isn't on this machine, and its evaluator is no device",
            remedy="leave --device out, or verify on a Mac",
        )
    return MilPredictor(package, stage, function)


def proving_backend(target: str) -> tuple[Backend, str]:
    """The backend that bundles of a target are verified on, here, and how its results are called."""
    if target == "coreml" and not exists_on(target):
        return CoreMlBackend(open_off_device), OFF_DEVICE
    return backend_named(target), ON_DEVICE


def _as_spec(feature: Any, specs: tuple[TensorSpec, ...]) -> TensorSpec:
    spec = next((spec for spec in specs if spec.name == feature.name), None)
    shape = named_sizes(feature.shape, spec)
    return TensorSpec(name=feature.name, dtype=str(feature.dtype), shape=shape, unit=spec.unit if spec else "?")
