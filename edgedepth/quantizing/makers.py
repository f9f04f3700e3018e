"""Who turns fp32 stages into stages of mixed precision: one maker a target, behind one interface."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgedepth.calibration.blocks import Block, Layer
from edgedepth.calibration.int8 import quantize_stage, restore_layers
from edgedepth.calibration.ranges import Method, Range, collect_ranges
from edgedepth.calibration.recording import Recording
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Session
from edgedepth.core.spec import Precision, StageSpec
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtSession

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Fp32Stage", "Maker", "OnnxMaker", "peaks_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp32Stage:
    """A stage before quantisation.

    Args:
        spec: what its artefact declares.
        path: the fp32 .onnx, smoothed or not.
        blocks: what of it may be INT8.
        opset: of the file.
        fp32_weights: names of the weights of convolutions that are computed in fp32 at every precision.
        module: of torch, which the file was exported from.
    """

    spec: StageSpec
    path: Path
    blocks: tuple[Block, ...]
    opset: int
    fp32_weights: frozenset[str]
    module: nn.Module

    def layers(self, kept: Collection[str] = ()) -> list[Layer]:
        """The layers of the blocks that are not in `kept`."""
        return [layer for block in self.blocks if block.name not in kept for layer in block.layers]


def peaks_of(layers: Sequence[Layer], ranges: Mapping[str, Range]) -> dict[str, float]:
    """The largest magnitude within the range of each node's input, by the node's name."""
    return {
        node: max(map(abs, ranges[tensor]))
        for layer in layers
        for node, tensor in zip(layer.nodes, layer.inputs, strict=True)
    }


class Maker(Protocol):
    """Makes a stage's artefact for one target.

    Attributes:
        stand_in: what computes here in place of the target's own runtime, in words; None: the target's own, which can
            be timed.
    """

    stand_in: str | None

    def prepare(self, progress: Progress) -> None:
        """What is done once for all mixtures: calibration."""
        ...

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """Write a stage whose blocks are INT8 but for those in `kept`, into an empty folder; returns what is opened."""
        ...

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:
        """The magnitude that each quantised node's input shall reach at most, by the node's name: what was calibrated,
        apart from what stands in the artefact. Nothing where activations aren't quantised.
        """
        ...

    def make_plain(self, stage: str, precision: Precision, out: Path) -> Path:
        """Write a stage at another precision into an empty folder, to time INT8 beside it; returns what is opened."""
        ...

    def open(self, stage: str, path: Path, precision: Precision = "int8") -> Session:
        """Open an artefact of the target on the CPU, what make() wrote or one of another precision.

        Raises:
            UnsupportedError: this processor doesn't compute in that precision.
        """
        ...


class OnnxMaker:
    """See Maker. By onnxruntime's quantizer: a stage is quantised whole once; mixtures take layers back out of that.

    Args:
        stages: by name.
        recording: what the stages are fed, on the frames that calibrate.
        method: how ranges are found.
        folder: for what is kept from run to run.
    """

    stand_in: str | None = None

    def __init__(self, stages: Mapping[str, Fp32Stage], recording: Recording, *, method: Method, folder: Path) -> None:
        self._ranges: dict[str, dict[str, Range]] = {}
        self._stages = stages
        self._recording = recording
        self._method = method
        self._folder = folder

    def prepare(self, progress: Progress = silent) -> None:
        """See Maker."""
        for name, stage in self._stages.items():
            ranges = self._ranges[name] = collect_ranges(
                stage.path,
                [tensor for layer in stage.layers() for tensor in layer.inputs],
                self._recording,
                name,
                method=self._method,
                state=self._folder / f"ranges-{name}.npz",
                progress=progress,
            )
            whole = self._whole(name)
            if not whole.parent.is_dir():
                progress(f"quantising {name}", 0, 1)
                work = whole.parent.with_suffix(".new")
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir(parents=True)
                quantize_stage(stage.path, work / whole.name, stage.layers(), ranges)
                work.rename(whole.parent)

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """See Maker."""
        from edgedepth.exporters.to_onnx_stage import check_artefact  # imports torch

        fp32 = self._stages[stage]
        path = out / f"{stage}.onnx"
        restored = [layer for block in fp32.blocks if block.name in kept for layer in block.layers]
        restore_layers(self._whole(stage), fp32.path, path, restored)
        check_artefact(path, fp32.spec, fp32.opset)
        return path

    def make_plain(self, stage: str, precision: Precision, out: Path) -> Path:
        """See Maker. At fp32 it is what is there."""
        from edgedepth.exporters.to_onnx_stage import export_stage  # imports torch

        fp32 = self._stages[stage]
        if precision == "fp32":
            return fp32.path
        path = out / f"{stage}.onnx"
        export_stage(fp32.module, fp32.spec, path, precision=precision, opset=fp32.opset)
        return path

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:
        """See Maker."""
        return peaks_of(self._stages[stage].layers(kept), self._ranges[stage])

    def open(self, stage: str, path: Path, precision: Precision = "int8") -> Session:  # noqa: ARG002  (the file tells)
        """See Maker."""
        return OrtSession(path, self._stages[stage].spec, SessionOptions(device="cpu"))

    def _whole(self, stage: str) -> Path:
        return self._folder / f"int8-{stage}" / f"{stage}.onnx"
