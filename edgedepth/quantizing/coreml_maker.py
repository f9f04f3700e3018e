"""INT8 for Core ML: weights alone, in packages that are converted once; each mixture rounds others of their weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from edgedepth.core.mlpackage import PACKAGE_FILE, package_of
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Session
from edgedepth.core.spec import ModelSpec, Precision
from edgedepth.core.targets import exists_on
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.coreml_metadata import package_metadata
from edgedepth.off_device import open_off_device
from edgedepth.quantizing.makers import Fp32Stage
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_session import CoreMlSession, open_core_ml

__all__ = ["CoreMlMaker"]

_OPERATIONS = "operations.json"


class CoreMlMaker:
    """See Maker. Where Core ML isn't, the packages are evaluated.

    Args:
        stages: by name.
        spec: the model.
        options: of the export: Core ML's own count.
        folder: for what is kept from run to run.
    """

    def __init__(
        self, stages: Mapping[str, Fp32Stage], spec: ModelSpec, *, options: ExportOptions, folder: Path
    ) -> None:
        self._stages = stages
        self._options = options.coreml
        self._metadata = package_metadata(spec, options)
        self._folder = folder
        self._open = open_core_ml if exists_on("coreml") else open_off_device
        self.stand_in = None if exists_on("coreml") else "edgedepth's evaluator of Core ML programs, off-device"

    def prepare(self, progress: Progress = silent) -> None:
        """See Maker. Converting takes longest, and is done once."""
        from edgedepth.exporters.to_coreml_int8 import check_toolchain, export_with_operations

        check_toolchain()
        for number, (name, stage) in enumerate(self._stages.items()):
            folder = self._converted(name)
            if folder.is_dir():
                continue
            progress(f"converting {name}", number, len(self._stages))
            work = folder.with_suffix(".new")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            operations = export_with_operations(
                stage.module,
                stage.spec,
                work / self._package(name).name,
                layers=[layer.name for layer in stage.layers()],
                options=self._options,
                metadata=self._metadata,
            )
            (work / _OPERATIONS).write_text(json.dumps(operations), encoding="utf-8")
            work.rename(folder)

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """See Maker."""
        from edgedepth.exporters.to_coreml_int8 import round_weights

        operations = json.loads((self._converted(stage) / _OPERATIONS).read_text(encoding="utf-8"))
        chosen = [name for layer in self._stages[stage].layers(kept) for name in operations[layer.name]]
        path = out / f"{stage}{PACKAGE_FILE}"
        round_weights(
            self._package(stage),
            package_of(path),
            self._stages[stage].spec,
            operations=chosen,
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

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:  # noqa: ARG002  (no activation is INT8)
        """See Maker."""
        return {}

    def open(self, stage: str, path: Path, precision: Precision = "int8") -> Session:  # noqa: ARG002  (the package tells)
        """See Maker."""
        return CoreMlSession(package_of(path), self._stages[stage].spec, SessionOptions(), open_predictor=self._open)

    def _converted(self, stage: str) -> Path:
        return self._folder / f"coreml-{stage}"

    def _package(self, stage: str) -> Path:
        return package_of(self._converted(stage) / f"{stage}{PACKAGE_FILE}")
