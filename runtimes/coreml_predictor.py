"""Core ML itself, through coremltools, on a Mac. Written from its documentation: no line of it has run on a Mac yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import BundleTamperedError, DeviceError
from edgedepth.core.mlpackage import declared_stage, function_description, image_inputs
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_devices import compute_units_for, in_words, refuse_elsewhere

__all__ = ["CoreMlPredictor"]


class CoreMlPredictor:
    """One function of a package, compiled and loaded by Core ML; see Predictor.

    coremltools takes numpy arrays and gives new ones: its Python interface has no output buffers to reuse.

    Raises:
        DeviceError: this is no Mac, or Core ML doesn't load the package on these compute units.
        BundleTamperedError: it doesn't load on the CPU either.
        MissingExtraError: coremltools isn't installed.
        OptionError: an unknown device.
    """

    def __init__(self, package: Path, stage: StageSpec, function: str | None, options: SessionOptions) -> None:
        refuse_elsewhere()
        units = compute_units_for(options.device)
        ct = require("coremltools", extra="coreml", purpose="to run Core ML bundles")
        try:
            self._model: Any = ct.models.MLModel(
                str(package), compute_units=getattr(ct.ComputeUnit, units), function_name=function
            )
            self._model.get_compiled_model_path()  # a model that Core ML didn't load is told of in a warning only
        except Exception as error:
            problem = f"{package} doesn't load in Core ML: {error}"
            if units == "CPU_ONLY":
                raise BundleTamperedError(problem, remedy="export it again: edgedepth export --help") from error
            raise DeviceError(
                problem, remedy="try device='cpu'; export with an older --deployment-target for an older macOS"
            ) from error
        description = function_description(self._model.get_spec(), function)
        self.device = in_words(units)
        self.stage = declared_stage(stage, description)
        self.pictures = image_inputs(description)

    def predict(
        self,
        feeds: Mapping[str, npt.NDArray[Any]],
        out: Mapping[str, npt.NDArray[Any]],  # noqa: ARG002  (MLModel.predict has no output backings)
    ) -> Mapping[str, npt.NDArray[Any]]:
        """See Predictor."""
        image = require("PIL.Image", extra="coreml", purpose="to hand pictures to Core ML") if self.pictures else None
        given = {
            name: image.fromarray(array) if image and name in self.pictures else array for name, array in feeds.items()
        }
        return {name: np.asarray(array) for name, array in self._model.predict(given).items()}
