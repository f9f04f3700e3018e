"""INT8 for Core ML: weights alone, in packages that are converted once, or activations too, converted each time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedepth.calibration.blocks import Layer
from edgedepth.calibration.ranges import Range, collect_ranges
from edgedepth.calibration.recording import Recording
from edgedepth.core.mlpackage import PACKAGE_FILE, package_of
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Session
from edgedepth.core.spec import ModelSpec, Precision
from edgedepth.core.targets import exists_on
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.coreml_metadata import package_metadata
from edgedepth.off_device import open_off_device
from edgedepth.quantizing.makers import Fp32Stage, peaks_of
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_session import CoreMlSession, open_core_ml

__all__ = ["CoreMlMaker"]

_OPERATIONS = "operations.json"
_STEPS = 127  # of a symmetric int8


class CoreMlMaker:
    """See Maker. Where Core ML isn't, the packages are evaluated.

    Args:
        stages: by name.
        spec: the model.
        recording: what the stages are fed, on the frames that calibrate.
        activations: INT8 inputs of the layers, and not their weights alone.
        options: of the export: Core ML's own count.
        folder: for what is kept from run to run.
    """

    def __init__(
        self,
        stages: Mapping[str, Fp32Stage],
        spec: ModelSpec,
        recording: Recording,
        *,
        activations: bool,
        options: ExportOptions,
        folder: Path,
    ) -> None:
        self._ranges: dict[str, dict[str, Range]] = {}
        self._stages = stages
        self._recording = recording
        self._activations = activations
        self._options = options.coreml
        self._metadata = package_metadata(spec, options)
        self._folder = folder
        self._open = open_core_ml if exists_on("coreml") else open_off_device
        self.stand_in = None if exists_on("coreml") else "edgedepth's evaluator of Core ML programs, off-device"

    def prepare(self, progress: Progress = silent) -> None:
        """See Maker. Converting takes longest; for weights alone it is done once."""
        for number, (name, stage) in enumerate(self._stages.items()):
            if self._activations:
                self._ranges[name] = collect_ranges(
                    stage.path,
                    [tensor for layer in stage.layers() for tensor in layer.inputs],
                    self._recording,
                    name,
                    method="minmax",
                    state=self._folder / f"ranges-{name}.npz",
                    progress=progress,
                )
            elif not (folder := self._folder / f"coreml-{name}").is_dir():
                progress(f"converting {name}", number, len(self._stages))
                work = folder.with_suffix(".new")
                shutil.rmtree(work, ignore_errors=True)
                self._convert(name, stage.layers(), work)
                work.rename(folder)

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """See Maker."""
        from edgedepth.exporters.to_coreml_int8 import round_weights

        path = out / f"{stage}{PACKAGE_FILE}"
        layers = self._stages[stage].layers(kept)
        with ExitStack() as stack:
            converted = self._folder / f"coreml-{stage}"
            if self._activations:
                converted = Path(stack.enter_context(TemporaryDirectory(dir=self._folder, prefix="coreml-")))
                self._convert(stage, layers, converted)
            operations = json.loads((converted / _OPERATIONS).read_text(encoding="utf-8"))
            round_weights(
                package_of(converted / path.relative_to(out)),
                package_of(path),
                self._stages[stage].spec,
                operations=[name for layer in layers for name in operations[layer.name]],
                options=self._options,
                metadata=self._metadata,
            )
        return path

    def make_plain(self, stage: str, precision: Precision, out: Path) -> Path:
        """See Maker."""
        from edgedepth.exporters.to_coreml_stage import export_stage

        fp32 = self._stages[stage]
        path = out / f"{stage}{PACKAGE_FILE}"
        export_stage(
            fp32.module,
            fp32.spec,
            package_of(path),
            precision=precision,
            options=self._options,
            metadata=self._metadata,
        )
        return path

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:
        """See Maker."""
        return peaks_of(self._stages[stage].layers(kept), self._ranges[stage]) if self._activations else {}

    def open(self, stage: str, path: Path, precision: Precision = "int8") -> Session:  # noqa: ARG002  (the package tells)
        """See Maker."""
        return CoreMlSession(package_of(path), self._stages[stage].spec, SessionOptions(), open_predictor=self._open)

    def _convert(self, stage: str, layers: Sequence[Layer], folder: Path) -> None:
        """The package at fp16, and which of its operations have the weights of which layer, in a folder."""
        from edgedepth.exporters.to_coreml_int8 import export_with_operations, with_int8_inputs

        fp32 = self._stages[stage]
        module = fp32.module
        if self._activations:
            peaks = {layer.name: max(peaks_of([layer], self._ranges[stage]).values()) for layer in layers}
            module = with_int8_inputs(module, {name: peak / _STEPS for name, peak in peaks.items()})
        folder.mkdir(exist_ok=True)
        operations = export_with_operations(
            module,
            fp32.spec,
            package_of(folder / f"{stage}{PACKAGE_FILE}"),
            layers=[layer.name for layer in layers],
            options=self._options,
            metadata=self._metadata,
        )
        (folder / _OPERATIONS).write_text(json.dumps(operations), encoding="utf-8")
