"""export_int8_bundle: a model and a calibration set in, a measured INT8 bundle out, or the reason why there is none."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgedepth.calibration.budget import Answers, Budget, Figures, Mixture, Outcome, search
from edgedepth.calibration.scales import write_peaks
from edgedepth.calibration.sets import CalibrationSet, open_calibration_set
from edgedepth.core.bundle import Bundle, open_bundle, write_bundle
from edgedepth.core.environment import cpu_name, versions_of
from edgedepth.core.errors import QuantizationError, SelfTestError, UnsupportedError
from edgedepth.core.manifest import Artefact, Golden
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.store import bundle_folder, check_room
from edgedepth.core.targets import ALIASES, PRECISIONS
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.trt_engines import add_engines, builder_here
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.models.registry import DEFAULT_MODEL, model_entry
from edgedepth.programs.frames import as_rgb
from edgedepth.quantizing.options import Int8Options, check_export_options
from edgedepth.quantizing.preparing import Prepared, prepare, workspace_for
from edgedepth.quantizing.report import frontier_lines, write_report
from edgedepth.quantizing.speed import Speed, compare_speed
from edgedepth.quantizing.targets import NEEDS, require_toolchain
from edgedepth.trt.options import EngineOptions
from edgedepth.verify.selftest import run_self_test

__all__ = ["export_int8_bundle"]


def export_int8_bundle(
    model: str = DEFAULT_MODEL,
    target: str = "onnx",
    *,
    int8: Int8Options,
    options: ExportOptions | None = None,
    weights: str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Bundle:
    """Export a model in INT8.

    The calibration set's larger part calibrates; the rest, which was held back, is what the bundle is measured on,
    against the fp32 ONNX bundle. What is done is kept in the artefact store until the bundle is written: an
    interrupted export goes on where it stopped.

    Args:
        model: its name.
        target: "onnx", "openvino", "tensorrt" or "coreml".
        int8: the calibration set, the budget, and how to quantise.
        options: tile batch, opset, and what is the target's own; the precision isn't looked at.
        weights: as export_bundle takes them.
        out: the bundle's folder; None: in the artefact store.
        progress: told of each step.
        announce: told what a person has to know: a licence, what INT8 costs, where it isn't faster.

    Returns:
        The bundle. Its manifest has the calibration set's fingerprint, the figures and the speed; int8/report.json in
        it has the whole search.

    Raises:
        MissingExtraError: a toolchain isn't installed.
        CalibrationError: the set can't be used, or is for another pre-processing.
        OptionError, UnsupportedError: options that can't be met, or too little memory.
        QuantizationError: activations that aren't finite, a budget that nothing meets, or a golden frame that isn't
            reproduced; with a budget, what there is instead is announced.
        DeviceError: a provider of TensorRT that was asked for by name can't build here.
        BundleBusyError: another process is at the same export, or writes the same folder.
        WeightsError, ExportFailedError, OutputError: as export_bundle.
    """
    options = replace(options or ExportOptions(), precision="fp32")
    entry = model_entry(model)
    target = ALIASES.get(target, target)
    if entry.family != "depth-pro":
        raise UnsupportedError(
            f"INT8 of {entry.name} is not built yet; there is INT8 of Depth Pro", remedy="use --fp16 or --fp32"
        )
    int8.check(target)
    check_export_options(options, target, activations=int8.activations)
    require_toolchain(target)
    builder = builder_here(options.engine or EngineOptions()) if target == "tensorrt" else None
    calibration = open_calibration_set(int8.calib)
    calibration.require_preprocessing(entry.family)
    folder = Path(out) if out is not None else bundle_folder(entry.name, target, "int8")
    check_room(folder)
    loaded = load_model(entry.name, weights=weights, announce=announce)
    workspace = workspace_for(loaded, target, calibration, options=options, int8=int8)
    with workspace.held() as resumed:
        if resumed:
            announce(f"going on with what an earlier run left in {workspace.folder}")
        prepared = prepare(
            loaded, target, calibration, workspace=workspace, options=options, int8=int8, progress=progress
        )
        work = _Work(
            loaded=loaded,
            target=target,
            options=options,
            int8=int8,
            calibration=calibration,
            prepared=prepared,
            progress=progress,
            announce=announce,
        )
        outcome = work.search()
        if outcome.best is None:
            for line in frontier_lines(outcome, int8.budget):
                announce(line)
            raise _infeasible(int8, target, outcome)
        bundle = work.write(outcome, outcome.best, folder)
        workspace.remove()
    if builder is not None and builder.provider is not None:
        return add_engines(bundle, folder, builder, options.engine or EngineOptions(), progress=progress)
    return bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One INT8 export under way, from the point where everything is calibrated."""

    loaded: LoadedModel
    target: str
    options: ExportOptions
    int8: Int8Options
    calibration: CalibrationSet
    prepared: Prepared
    progress: Progress
    announce: Announce

    def search(self) -> Outcome:
        """The mixture that meets the budget; everything in INT8 without one."""

        def measure(kept: object) -> Figures:
            assert isinstance(kept, tuple)
            return self.prepared.mixer.measure(
                kept, self.prepared.frames.frame, self.prepared.recording, self.prepared.frames.held_back
            )

        answers = Answers(self.prepared.workspace.folder / "measured.json", measure)
        names = [block.name for block in self.prepared.mixer.blocks]
        return search(names, self.int8.budget or Budget(), answers, self.prepared.mixer.weigh, progress=self.progress)

    def write(self, outcome: Outcome, best: Mixture, folder: Path) -> Bundle:
        """Prove the mixture on the golden frame, time it, and write the bundle."""
        self._prove(best)
        mixer = self.prepared.mixer
        speed = self._time(best) if mixer.stand_in is None else None
        with write_bundle(folder) as writer:
            artefacts = {}
            for name, artefact in self.prepared.fp32.manifest.artefacts.items():
                made, path = mixer.folder(name), mixer.artefact(name, best.kept)
                shutil.copytree(made, writer.stage_folder(name), copy_function=shutil.copyfile, dirs_exist_ok=True)
                artefacts[name] = Artefact(stage=artefact.stage, path=f"{name}/{path.relative_to(made).as_posix()}")
            golden = self.prepared.fp32.manifest.golden
            shutil.copyfile(self.prepared.fp32.file(golden.path), writer.folder / golden.path)
            write_report(
                writer.folder / "int8",
                outcome,
                best,
                target=self.target,
                int8=self.int8,
                calibration=self.calibration,
                speed=speed,
            )
            write_peaks(writer.folder, {name: mixer.peaks(name, best.kept) for name in artefacts})
            tolerance = tolerance_for("int8")
            manifest = replace(
                self.prepared.fp32.manifest,
                target=self.target,
                precision="int8",
                artefacts=artefacts,
                golden=Golden(path=golden.path, max_abs_rel=tolerance.abs_rel, reason=tolerance.reason),
                files=writer.file_entries(),
                toolchain=self.prepared.fp32.manifest.toolchain | versions_of(NEEDS[self.target]),
                created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                calibration=self.calibration.fingerprint,
                parity=_finite(best, len(self.prepared.frames.held_back))
                | ({"on_device": False} if mixer.stand_in else {}),
                speed=speed.to_manifest() if speed else None,
                build=(self.options.engine or EngineOptions()).build if self.target == "tensorrt" else None,
            )
            writer.finish(manifest)
        self._tell(best, speed)
        return open_bundle(folder, check_hashes=False)

    def _prove(self, best: Mixture) -> None:
        """No bundle is written that EdgeDepth would refuse to serve."""
        for name in self.prepared.fp32.manifest.artefacts:
            self.prepared.mixer.artefact(name, best.kept)
        self.progress("golden frame", 0, 1)
        golden = self.prepared.fp32.manifest.golden
        tolerance, path = tolerance_for("int8"), self.prepared.fp32.file(golden.path)
        allowed = replace(golden, max_abs_rel=tolerance.abs_rel, reason=tolerance.reason)
        try:
            with self.prepared.mixer.program(best.kept) as program:
                run_self_test(program, allowed, path, max_lost_structure=tolerance.lost_structure)
        except SelfTestError as error:
            raise QuantizationError(
                f"INT8 breaks this model's golden frame, and would not be served: {error.problem}",
                remedy=f"{self.int8.milder(self.target)}, or --budget absrel=0.01: what is sensitive stays precise",
            ) from error

    def _time(self, best: Mixture) -> Speed:
        """INT8 beside the other precisions of this model and target, on this processor."""
        with ExitStack() as stack:
            programs = {"int8": stack.enter_context(self.prepared.mixer.program(best.kept))}
            for precision in PRECISIONS[self.target]:
                if precision == "int8":
                    continue
                self.progress(f"speed beside {precision}", 0, 1)
                try:
                    programs[precision] = stack.enter_context(self.prepared.mixer.plain(precision))
                except UnsupportedError as error:
                    self.announce(f"{precision} is not compared: {error.problem}")
            frame = as_rgb(self.prepared.frames.frame(self.prepared.frames.held_back[0]), "rgb")
            return compare_speed(programs, frame)

    def _tell(self, best: Mixture, speed: Speed | None) -> None:
        figures = best.figures
        self.announce(
            f"against fp32 on {len(self.prepared.frames.held_back)} frames that were held back: "
            f"AbsRel {figures.abs_rel:.2g}, δ1 {figures.delta1:.4f}, boundary F1 {figures.boundary_f1:.3f}, "
            f"FOV {figures.fov_deg:.2g}°; {100 * best.int8_share:.0f} % of the work in INT8, "
            f"{len(best.kept)} blocks kept"
        )
        if speed is None:
            self.announce(
                f"these figures are by {self.prepared.mixer.stand_in}; whether INT8 is faster is not known before it "
                "runs on a device: compare it with --fp16 there"
            )
            return
        times = ", ".join(f"{ratio:.2f} times as fast as {name}" for name, ratio in speed.ratios.items())
        self.announce(f"on {cpu_name()}: {times}")
        if slower := speed.slower_than:
            self.announce(
                f"INT8 is NOT faster than {' and '.join(slower)} on this device; it is smaller. For speed here, "
                f"export --{slower[0]}"
            )


def _finite(best: Mixture, frames: int) -> dict[str, float | bool]:
    """The figures as a manifest has them: JSON has no NaN."""
    figures = {name: getattr(best.figures, name) for name in ("abs_rel", "delta1", "boundary_f1", "fov_deg")}
    return {name: float(value) for name, value in figures.items() if np.isfinite(value)} | {
        "int8_share": best.int8_share,
        "frames": float(frames),
    }


def _infeasible(int8: Int8Options, target: str, outcome: Outcome) -> QuantizationError:
    nearest = outcome.nearest
    figures = nearest.figures
    reachable = Budget(
        abs_rel=figures.abs_rel,
        delta1=figures.delta1,
        boundary_f1=None if np.isnan(figures.boundary_f1) else figures.boundary_f1,
        fov_deg=figures.fov_deg,
    )
    return QuantizationError(
        f"no INT8 bundle of this model meets {int8.budget}; the nearest, with {100 * nearest.int8_share:.0f} % of the "
        f"work in INT8 and {len(nearest.kept)} blocks kept, has {reachable}",
        remedy=f"--budget {reachable.rounded()}, {int8.milder(target)}, or another precision, without a budget",
    )
