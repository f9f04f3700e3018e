"""Core ML: bundles of target "coreml", on Apple's CPUs, GPUs and Neural Engine; elsewhere on an injected predictor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle
from edgedepth.core.declared import DeclaredSession, undeclared
from edgedepth.core.errors import BundleTamperedError, EdgeDepthError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers, receive_output
from edgedepth.core.mlpackage import package_of
from edgedepth.core.optional import installed_version
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.core.targets import exists_on
from edgedepth.runtimes.base import Availability, SessionOptions, artefact_of, refuse_options
from edgedepth.runtimes.coreml_devices import DEVICES, elsewhere

__all__ = ["CoreMlBackend", "CoreMlSession", "OpenPredictor", "Predictor", "open_core_ml"]

_EXPORT_AGAIN = "export it again: edgedepth export --help"

_log = logging.getLogger("edgedepth")


class Predictor(Protocol):
    """What computes one function of a package: Core ML itself, or an evaluator of its programs.

    Attributes:
        device: where it computes, in words.
        stage: the names, dtypes and shapes that the package declares; units are those it was asked with.
        pictures: the inputs that take (H, W, 3) uint8 RGB instead of a tensor.
    """

    device: str
    stage: StageSpec
    pictures: frozenset[str]

    def predict(
        self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, npt.NDArray[Any]]:
        """Compute every output.

        Args:
            feeds: by name, C-contiguous; they are not written to.
            out: arrays of the declared shapes and dtypes, C-contiguous. A predictor that can compute into arrays
                (MLPredictionOptions.outputBackings) fills these and returns them: nothing is copied then.

        Returns:
            By name: the arrays of `out`, or arrays of the predictor's own.
        """
        ...


class OpenPredictor(Protocol):
    """Opens a predictor."""

    def __call__(self, package: Path, stage: StageSpec, function: str | None, options: SessionOptions, /) -> Predictor:
        """Open one function of a package.

        Args:
            package: the .mlpackage.
            stage: what the manifest declares.
            function: its name in a package of several; None for a package of one.
            options: where it shall run.
        """
        ...


def open_core_ml(package: Path, stage: StageSpec, function: str | None, options: SessionOptions) -> Predictor:
    """Open a package in Core ML itself.

    Raises:
        DeviceError: this is no Mac.
    """
    from edgedepth.runtimes.coreml_predictor import CoreMlPredictor

    return CoreMlPredictor(package, stage, function, options)


class CoreMlBackend:
    """Opens stages of Core ML packages.

    Args:
        open_predictor: what computes: Core ML itself, which is on a Mac only. Verification hands in another.
    """

    name = "coreml"

    def __init__(self, open_predictor: OpenPredictor = open_core_ml) -> None:
        self._open_predictor = open_predictor

    def availability(self) -> Availability:
        """Whether this is a Mac with coremltools."""
        version = installed_version("coremltools")
        if not exists_on("coreml"):
            return Availability(version=version, devices=(), reason=str(elsewhere()))
        if version is None:
            return Availability(
                version=None, devices=(), reason="coremltools is not installed: pip install 'edgedepth[coreml]'"
            )
        return Availability(version=version, devices=DEVICES)

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> CoreMlSession:
        """Open one stage of a bundle; errors as Backend.open() says.

        Raises:
            DeviceError: this is no Mac; the line says what works here.
        """
        artefacts = bundle.manifest.artefacts
        artefact = artefact_of(bundle, stage)
        # Stages that share a package are its functions, by their own names.
        shared = sum(other.path == artefact.path for other in artefacts.values()) > 1
        package = package_of(bundle.file(artefact.path))
        return CoreMlSession(
            package, artefact.stage, options, function=stage if shared else None, open_predictor=self._open_predictor
        )


class CoreMlSession(DeclaredSession):
    """One function of a package; a Session.

    Args:
        package: the .mlpackage, a folder.
        stage: what the manifest declares; the package has to agree.
        options: the device.
        function: its name in a package of several; None for a package of one.
        open_predictor: what computes.

    Raises:
        DeviceError: this is no Mac, and Core ML itself was to compute.
        OptionError: a device or an option that Core ML doesn't take.
        BundleTamperedError: the package doesn't load, or isn't what the manifest declares.
    """

    def __init__(
        self,
        package: Path,
        stage: StageSpec,
        options: SessionOptions,
        *,
        function: str | None = None,
        open_predictor: OpenPredictor = open_core_ml,
    ) -> None:
        refuse_options(options, "coreml", "threads", "streams", "performance", "dla_core", "build_if_missing")
        super().__init__(stage)
        self._predictor: Predictor | None = open_predictor(package, stage, function, options)
        self._device = self._predictor.device
        self._pictures = self._predictor.pictures
        inputs, outputs = (
            [(spec.name, spec.dtype, spec.shape) for spec in specs]
            for specs in (self._predictor.stage.inputs, self._predictor.stage.outputs)
        )
        if found := undeclared(stage, inputs, outputs):
            raise BundleTamperedError(f"{package} has {found}", remedy=_EXPORT_AGAIN)
        _log.debug("stage %s runs on %s", stage.name, self._device)

    @property
    def device(self) -> str:
        """Where it may run: Core ML decides for each operation, among the compute units that it was given."""
        return self._device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says. Outputs are copied once, unless the predictor filled ours."""
        if self._predictor is None:
            raise closed_stage(self._stage)
        results = output_buffers(self._stage, out, check_feeds(self._stage, feeds))
        arrays = {
            name: _as_picture(array) if name in self._pictures else np.require(array, requirements=("C", "A"))
            for name, array in feeds.items()
        }
        try:
            outputs = self._predictor.predict(arrays, results)
        except EdgeDepthError:
            raise
        except Exception as error:  # coremltools raises RuntimeErrors and more
            raise StageError(
                f"stage {self._stage.name} failed in Core ML: {error}",
                remedy="try device='cpu'; if memory ran out, export with a smaller --tile-batch",
            ) from error
        for name, result in results.items():
            receive_output(self._stage, name, outputs.get(name), result, remedy=_EXPORT_AGAIN)
        return results

    @property
    def pictures(self) -> frozenset[str]:
        """The inputs that the package takes as pictures of 8 bits: what is fed to them is rounded."""
        return self._pictures

    def close(self) -> None:
        """Free the weights and buffers."""
        self._predictor = None


def _as_picture(tensor: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(1, 3, H, W) in -1..1 as the nearest (H, W, 3) uint8: what a package with picture inputs takes."""
    levels = np.clip(np.rint((tensor[0] + 1) * np.float32(127.5)), 0, 255)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1), np.uint8)
