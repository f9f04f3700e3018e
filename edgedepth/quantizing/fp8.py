"""export_fp8_bundle: a model and a calibration set in, a measured FP8 bundle for TensorRT out."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from edgedepth.calibration.blocks import find_layers
from edgedepth.calibration.budget import Figures
from edgedepth.calibration.fp8 import peaks_of, quantize_fp8
from edgedepth.calibration.memory import available_memory, check_memory, need_of
from edgedepth.calibration.ranges import collect_ranges
from edgedepth.calibration.recording import Recording, record
from edgedepth.calibration.sets import open_calibration_set
from edgedepth.core.bundle import Bundle, open_bundle, write_bundle
from edgedepth.core.environment import cpu_name, versions_of
from edgedepth.core.errors import QuantizationError, SelfTestError, UnsupportedError
from edgedepth.core.manifest import Artefact, Golden
from edgedepth.core.optional import require
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.session import OpenStage, Session
from edgedepth.core.store import bundle_folder, check_room
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.trt_engines import add_engines, builder_here, refuse_findings, without_dla
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.models.registry import DEFAULT_MODEL, model_entry
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.stages import StagePool
from edgedepth.quantizing.figures import measure_figures
from edgedepth.quantizing.options import HELD_BACK, check_export_options
from edgedepth.quantizing.preparing import Frames
from edgedepth.quantizing.running import program_over, resident_for
from edgedepth.quantizing.workspace import Workspace
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.trt.building import target_sms
from edgedepth.trt.options import EngineOptions
from edgedepth.verify.selftest import run_self_test

__all__ = ["export_fp8_bundle", "open_emulated"]

_NEEDS = ("torch", "onnx", "onnxscript", "onnxruntime", "ml_dtypes")
_CPU = SessionOptions(device="cpu")


def export_fp8_bundle(
    model: str = DEFAULT_MODEL,
    *,
    calib: Path,
    options: ExportOptions | None = None,
    weights: str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Bundle:
    """Export a model for TensorRT with the encoders' linear layers in FP8 and the rest as at fp16.

    A quarter of the calibration set is held back; on it the graphs are measured in ONNX Runtime, against fp32.

    Args:
        model: its name.
        calib: the calibration set's folder, as INT8 takes it.
        options: tile batch and how engines are built; the precision isn't looked at.
        weights: as export_bundle takes them.
        out: the bundle's folder; None: in the artefact store.
        progress: told of each step.
        announce: told what a person has to know: a licence, what FP8 costs.

    Returns:
        The bundle: the kit, with engines where they could be built.

    Raises:
        UnsupportedError: a GPU, or an SM that was asked for, without FP8 arithmetic; other options that can't be met.
        CalibrationError: the set can't be used, or is for another pre-processing.
        QuantizationError: activations that aren't finite, or a golden frame that isn't reproduced.
        MissingExtraError, WeightsError, ExportFailedError, OutputError, BundleBusyError: as export_bundle.
    """
    options = replace(options or ExportOptions(), precision="fp16")
    entry = model_entry(model)
    if entry.family != "depth-pro":
        raise UnsupportedError(
            f"FP8 of {entry.name} is not built yet; there is FP8 of Depth Pro", remedy="use --fp16 or --fp32"
        )
    support = exporter_for("tensorrt").check(options)
    if not support.ok:
        raise UnsupportedError(support.reason, remedy=support.remedy)
    check_export_options(options, "tensorrt")
    engine = options.engine or EngineOptions()
    builder = builder_here(engine)
    if builder.provider is not None:
        target_sms(builder.gpu, engine, "fp8")  # refused before minutes of work
    for module in _NEEDS:
        require(module, extra="int8", purpose="to export in FP8")
    calibration = open_calibration_set(calib)
    calibration.require_preprocessing(entry.family)
    folder = Path(out) if out is not None else bundle_folder(entry.name, "tensorrt", "fp8")
    check_room(folder)
    loaded = load_model(entry.name, weights=weights, announce=announce)
    key = {
        "precision": "fp8",
        "weights": loaded.spec.weights_sha256,
        "model": loaded.spec.name,
        "calibration": calibration.fingerprint,
        "tile_batch": options.tile_batch,
        "versions": versions_of((*_NEEDS, "edgedepth")),
        "cpu": cpu_name(),
    }
    workspace = Workspace(key)
    with workspace.held():
        frames = Frames(*calibration.split(HELD_BACK))
        onnx = replace(options, engine=None)
        fp32 = _onnx_bundle(loaded, replace(onnx, precision="fp32"), workspace, progress)
        fp16 = _onnx_bundle(loaded, replace(onnx, precision="fp16"), workspace, progress)
        _check_memory(fp32, options.tile_batch)
        recording = _record(fp32, frames, workspace, progress)
        graphs = _quantise(fp32, fp16, recording.only(frames.calibrating), workspace, progress)
        progress("FP8 on the frames held back", 0, 1)
        tolerance = tolerance_for("fp8")
        golden = Golden(path=fp16.manifest.golden.path, max_abs_rel=tolerance.abs_rel, reason=tolerance.reason)
        with StagePool(open_emulated(fp16, graphs.__getitem__), resident=resident_for(fp16.manifest)) as pool:
            program = program_over(fp16.manifest, pool)
            _prove(program, golden, fp16.file(golden.path))
            figures = measure_figures(program, frames.frame, recording, frames.held_back)
        kit = _write(fp16, graphs, golden, folder, engine, fingerprint=calibration.fingerprint, figures=figures)
        announce(
            f"against fp32 on {len(frames.held_back)} frames that were held back, in ONNX Runtime: "
            f"AbsRel {figures.abs_rel:.2g}, δ1 {figures.delta1:.4f}, boundary F1 {figures.boundary_f1:.3f}, "
            f"FOV {figures.fov_deg:.2g}°"
        )
        workspace.remove()
    return kit if builder.provider is None else add_engines(kit, folder, builder, engine, progress=progress)


def open_emulated(bundle: Bundle, path: Callable[[str], Path]) -> OpenStage:
    """Opens FP8 graphs in ONNX Runtime on the CPU.

    Args:
        bundle: whose stages they are.
        path: of a stage's graph.
    """

    def open_stage(stage: str) -> Session:
        # This pass moves quantisation past transpositions and loses FP8's type by it (ONNX Runtime 1.32: 89 % off).
        without = ("QDQPropagationTransformer",)
        return OrtSession(path(stage), bundle.manifest.artefacts[stage].stage, _CPU, without=without)

    return open_stage


def _onnx_bundle(loaded: LoadedModel, options: ExportOptions, workspace: Workspace, progress: Progress) -> Bundle:
    exporter = exporter_for("onnx")
    return workspace.bundle(options.precision, lambda path: exporter.export(loaded, options, path, progress=progress))


def _check_memory(fp32: Bundle, tile_batch: int) -> None:
    batches = {"patch_encoder": tile_batch}
    artefacts = fp32.manifest.artefacts.items()
    needs = {name: need_of(fp32.file(artefact.path), batch=batches.get(name, 1)) for name, artefact in artefacts}
    check_memory(needs, available_memory())


def _record(fp32: Bundle, frames: Frames, workspace: Workspace, progress: Progress) -> Recording:
    def open_stage(stage: str) -> Session:
        artefact = fp32.manifest.artefacts[stage]
        return OrtSession(fp32.file(artefact.path), artefact.stage, _CPU)

    def program(opened: OpenStage) -> CanonicalProgram:
        pool = stack.enter_context(StagePool(opened, resident=resident_for(fp32.manifest)))
        return program_over(fp32.manifest, pool)

    with ExitStack() as stack:
        return record(
            iter(frames),
            len(frames),
            open_stage=open_stage,
            open_program=program,
            folder=workspace.folder / "recording",
            progress=progress,
        )


def _quantise(
    fp32: Bundle, fp16: Bundle, recording: Recording, workspace: Workspace, progress: Progress
) -> dict[str, Path]:
    """The fp16 stages in FP8, by name: ranges are those of fp32, layers are known by the names that both have."""
    graphs = {}
    for name, artefact in fp16.manifest.artefacts.items():
        source = fp32.file(fp32.manifest.artefacts[name].path)
        layers = find_layers(source, name)
        ranges = collect_ranges(
            source,
            [tensor for layer in layers for tensor in layer.inputs],
            recording,
            name,
            method="minmax",  # FP8 has an exponent: an outlier costs the other values next to nothing
            state=workspace.folder / f"ranges-{name}.npz",
            progress=progress,
        )
        graphs[name] = workspace.empty(f"fp8/{name}") / f"{name}.onnx"
        for file in fp16.file(artefact.path).parent.iterdir():
            shutil.copyfile(file, graphs[name].parent / file.name)
        quantize_fp8(graphs[name], find_layers(graphs[name], name), peaks_of(layers, ranges))
        refuse_findings(graphs[name])
    return graphs


def _prove(program: CanonicalProgram, golden: Golden, path: Path) -> None:
    """No bundle is written that EdgeDepth would refuse to serve."""
    try:
        run_self_test(program, golden, path, max_lost_structure=tolerance_for("fp8").lost_structure)
    except SelfTestError as error:
        raise QuantizationError(
            f"FP8 breaks this model's golden frame, and would not be served: {error.problem}",
            remedy="use --fp16, or --int8 --budget absrel=0.01, which keeps what is sensitive in high precision",
        ) from error


def _write(
    fp16: Bundle,
    graphs: dict[str, Path],
    golden: Golden,
    folder: Path,
    engine: EngineOptions,
    *,
    fingerprint: str,
    figures: Figures,
) -> Bundle:
    """The kit."""
    measured = {name: getattr(figures, name) for name in ("abs_rel", "delta1", "boundary_f1", "fov_deg")}
    with write_bundle(folder) as writer:
        artefacts = {}
        for name, path in graphs.items():
            stage_folder = writer.stage_folder(name)
            for file in path.parent.iterdir():
                shutil.copyfile(file, stage_folder / file.name)
            artefacts[name] = Artefact(stage=fp16.manifest.artefacts[name].stage, path=f"{name}/{path.name}")
        shutil.copyfile(fp16.file(golden.path), writer.folder / golden.path)
        manifest = replace(
            fp16.manifest,
            target="tensorrt",
            precision="fp8",
            artefacts=artefacts,
            golden=golden,
            files=writer.file_entries(),
            created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            calibration=fingerprint,
            parity={name: float(value) for name, value in measured.items() if math.isfinite(value)},
            build=without_dla(engine.build),
        )
        writer.finish(manifest)
    return open_bundle(folder, check_hashes=False)
