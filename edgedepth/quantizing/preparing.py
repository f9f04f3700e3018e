"""Everything that INT8 needs before the first mixture is measured: fp32, recorded inputs, calibrated stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.blocks import blocks_of, find_layers
from edgedepth.calibration.memory import available_memory, check_memory, need_of
from edgedepth.calibration.ranges import channel_peaks
from edgedepth.calibration.recording import Recording, record
from edgedepth.calibration.sets import CalibrationSet
from edgedepth.calibration.smooth import find_pairs, smooth
from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import cpu_name, versions_of
from edgedepth.core.progress import Progress
from edgedepth.core.session import OpenStage
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.to_openvino_stage import fp32_weights_of
from edgedepth.models.loading import LoadedModel
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.stages import StagePool
from edgedepth.quantizing.makers import Fp32Stage
from edgedepth.quantizing.mixtures import Mixer
from edgedepth.quantizing.options import HELD_BACK, Int8Options
from edgedepth.quantizing.running import program_over, resident_for
from edgedepth.quantizing.targets import maker_for
from edgedepth.quantizing.workspace import Workspace
from edgedepth.runtimes.base import SessionOptions, backend_named

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Frames", "Prepared", "prepare", "workspace_for"]

_TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "coremltools")
_CPU = SessionOptions(device="cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is there once everything is calibrated.

    Args:
        fp32: the ONNX bundle that INT8 is made of and measured against.
        frames: of the calibration set.
        recording: what fp32 was fed and gave, on all of them.
        mixer: makes and measures mixtures.
        workspace: where it all lies.
    """

    fp32: Bundle
    frames: Frames
    recording: Recording
    mixer: Mixer
    workspace: Workspace


def workspace_for(
    loaded: LoadedModel, target: str, calibration: CalibrationSet, *, options: ExportOptions, int8: Int8Options
) -> Workspace:
    """The workspace of one INT8 export; every budget of it has the same."""
    return Workspace(
        {
            "weights": loaded.spec.weights_sha256,
            "model": loaded.spec.name,
            "target": target,
            "calibration": calibration.fingerprint,
            "tile_batch": options.tile_batch,
            "opset": options.opset,
            "coreml": asdict(options.coreml),
            "int8": [int8.method, int8.smooth, int8.decoder, int8.weights_only, int8.activations],
            "versions": versions_of((*_TOOLS, "edgedepth")),
            "cpu": cpu_name(),
        }
    )


def prepare(
    loaded: LoadedModel,
    target: str,
    calibration: CalibrationSet,
    *,
    workspace: Workspace,
    options: ExportOptions,
    int8: Int8Options,
    progress: Progress,
) -> Prepared:
    """Export fp32, record, smooth, calibrate: each only as far as an earlier run hasn't.

    Raises:
        UnsupportedError: too little memory.
        QuantizationError: activations that aren't finite.
        ExportFailedError, OutputError: as their names say.
    """
    plain = replace(options, engine=None, coreml=CoreMlOptions())  # what is another target's
    from edgedepth.models.stages import stage_modules  # imports torch

    fp32 = workspace.bundle("fp32", lambda path: exporter_for("onnx").export(loaded, plain, path, progress=progress))
    sources = {name: fp32.file(artefact.path) for name, artefact in fp32.manifest.artefacts.items()}
    modules = stage_modules(loaded, folded=target == "openvino")
    if target == "openvino":
        sources["decoder"] = _folded(modules["decoder"], fp32, workspace, options)
    tiles = {"patch_encoder": options.tile_batch}
    check_memory({name: need_of(path, batch=tiles.get(name, 1)) for name, path in sources.items()}, available_memory())
    frames = Frames(*calibration.split(HELD_BACK))
    recording = _record(fp32, frames, workspace, progress)
    calibrating = recording.only(frames.calibrating)
    if int8.smooth is not None:
        sources = _smoothed(sources, calibrating, int8.smooth, workspace, progress=progress)
    stages = _stages(fp32, sources, modules, options, decoder=int8.decoder)
    maker = maker_for(target, loaded, stages, calibrating, options=options, int8=int8, folder=workspace.folder)
    maker.prepare(progress)
    calls = {name: len(recording.only([0]).calls(name)) for name in stages}
    mixer = Mixer(fp32.manifest, stages, maker, workspace, calls)
    return Prepared(fp32=fp32, frames=frames, recording=recording, mixer=mixer, workspace=workspace)


class Frames:
    """The frames of a set in the order in which they are recorded: those that calibrate, then those held back."""

    def __init__(self, calibrating: CalibrationSet, held_back: CalibrationSet) -> None:
        self._parts = (calibrating, held_back)
        self.calibrating = range(len(calibrating))
        self.held_back = range(len(calibrating), len(calibrating) + len(held_back))

    def __len__(self) -> int:
        return len(self.calibrating) + len(self.held_back)

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        for part in self._parts:
            yield from part.frames()

    def frame(self, number: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        first = len(self.calibrating)
        return self._parts[0].frame(number) if number < first else self._parts[1].frame(number - first)


def _record(fp32: Bundle, frames: Frames, workspace: Workspace, progress: Progress) -> Recording:
    backend = backend_named("onnx")

    def program(open_stage: OpenStage) -> CanonicalProgram:
        pool = stack.enter_context(StagePool(open_stage, resident=resident_for(fp32.manifest)))
        return program_over(fp32.manifest, pool)

    with ExitStack() as stack:
        return record(
            iter(frames),
            len(frames),
            open_stage=lambda stage: backend.open(fp32, stage, _CPU),
            open_program=program,
            folder=workspace.folder / "recording",
            progress=progress,
        )


def _smoothed(
    sources: Mapping[str, Path], recording: Recording, alpha: float, workspace: Workspace, *, progress: Progress
) -> dict[str, Path]:
    found = {}
    for name, source in sources.items():
        pairs = [pair.activation for pair in find_pairs(source)]
        if not pairs:
            found[name] = source
            continue
        state = workspace.folder / f"peaks-{name}.npz"
        peaks = channel_peaks(source, pairs, recording, name, state=state, progress=progress)
        path = workspace.empty(f"smoothed/{name}") / source.name
        smooth(source, path, peaks, alpha=alpha)
        found[name] = path
    return found


def _folded(module: nn.Module, fp32: Bundle, workspace: Workspace, options: ExportOptions) -> Path:
    """The decoder as OpenVINO's bundles have it: its layers folded."""
    from edgedepth.exporters.to_onnx_stage import export_stage

    path = workspace.empty("folded") / "decoder.onnx"
    export_stage(module, fp32.manifest.artefacts["decoder"].stage, path, precision="fp32", opset=options.opset)
    return path


def _stages(
    fp32: Bundle,
    sources: Mapping[str, Path],
    modules: Mapping[str, nn.Module],
    options: ExportOptions,
    *,
    decoder: bool,
) -> dict[str, Fp32Stage]:
    stages = {}
    for name, path in sources.items():
        fp32_weights = fp32_weights_of(modules[name])
        layers = find_layers(path, name, convolutions=decoder, fp32_weights=fp32_weights)
        stages[name] = Fp32Stage(
            spec=fp32.manifest.artefacts[name].stage,
            path=path,
            blocks=blocks_of(layers),
            opset=options.opset,
            fp32_weights=fp32_weights,
            module=modules[name],
        )
    return stages
