"""INT8 for OpenVINO: NNCF quantises each mixture anew, on the recorded inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from edgedepth.calibration.ranges import Range, collect_ranges
from edgedepth.calibration.recording import Recording
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Session
from edgedepth.core.spec import Precision
from edgedepth.exporters.to_openvino_int8 import int8_ir
from edgedepth.exporters.to_openvino_stage import onnx_to_ir
from edgedepth.quantizing.makers import Fp32Stage, peaks_of
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.openvino_session import OpenVinoSession

__all__ = ["OpenVinoMaker"]


class OpenVinoMaker:
    """See Maker.

    Args:
        stages: by name.
        recording: what the stages are fed, on the frames that calibrate.
        weights_only: INT8 weights, arithmetic as before.
        folder: for what is kept from run to run.
        about: for the IR's rt_info.
    """

    stand_in: str | None = None

    def __init__(
        self,
        stages: Mapping[str, Fp32Stage],
        recording: Recording,
        *,
        weights_only: bool,
        folder: Path,
        about: Mapping[str, str],
    ) -> None:
        self._ranges: dict[str, dict[str, Range]] = {}
        self._stages = stages
        self._recording = recording
        self._weights_only = weights_only
        self._folder = folder
        self._about = about

    def prepare(self, progress: Progress = silent) -> None:
        """See Maker. NNCF would make a scale of NaN: so activations are looked at first, and named."""
        for name, stage in self._stages.items():
            self._ranges[name] = collect_ranges(
                stage.path,
                [tensor for layer in stage.layers() for tensor in layer.inputs],
                self._recording,
                name,
                method="mean",
                state=self._folder / f"ranges-{name}.npz",
                progress=progress,
            )

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """See Maker."""
        fp32 = self._stages[stage]
        path = out / f"{stage}.xml"
        int8_ir(
            fp32.path,
            path,
            fp32.spec,
            nodes=[node for layer in fp32.layers(kept) for node in layer.nodes],
            calls=self._recording.calls(stage),
            weights_only=self._weights_only,
            fp32_weights=fp32.fp32_weights,
            about=self._about,
        )
        return path

    def make_plain(self, stage: str, precision: Precision, out: Path) -> Path:
        """See Maker."""
        fp32 = self._stages[stage]
        path = out / f"{stage}.xml"
        onnx_to_ir(fp32.path, path, fp32.spec, precision=precision, about=self._about, fp32_weights=fp32.fp32_weights)
        return path

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:
        """See Maker. NNCF finds its own, in the same way; these are what they have to be near to."""
        return {} if self._weights_only else peaks_of(self._stages[stage].layers(kept), self._ranges[stage])

    def open(self, stage: str, path: Path, precision: Precision = "int8") -> Session:
        """See Maker. Nothing is cached: these artefacts don't last."""
        return OpenVinoSession(path, self._stages[stage].spec, SessionOptions(device="cpu"), precision=precision)
