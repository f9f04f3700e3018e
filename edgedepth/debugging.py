"""debug_bundle: where a bundle starts to differ from the reference, what usually causes that, and what cures it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.forwarding import ForwardingSession
from edgedepth.core.optional import is_installed
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.session import Array, Session
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.core.tolerances import Tolerance, looser, tolerance_for
from edgedepth.exporters.base import DEFAULT_OPSET
from edgedepth.models.loading import LoadedModel
from edgedepth.programs.frames import Color
from edgedepth.references import (
    UNREACHABLE,
    Candidate,
    Reference,
    bundle_reference,
    eager_reference,
    open_candidate,
)
from edgedepth.runtimes.ort_taps import OnnxTaps
from edgedepth.verify.agreement import PictureParity, compare_picture
from edgedepth.verify.blame import InnerError, block_ends, common_tensors, first_bad, inner_errors
from edgedepth.verify.causes import Cause, cause_inside, cause_of_frozen, cause_of_input, cause_of_scale
from edgedepth.verify.debug_report import DebugReport, Link
from edgedepth.verify.parity import ParityReport, verify_parity
from edgedepth.verify.pictures import FramePicture, PictureSource
from edgedepth.verify.shadow import StageScore

__all__ = ["debug_bundle"]

_PASSED_OVER = {"int8": ("LayerNormalization",)}
"""Whose outputs differ on purpose: smoothing moves factors out of them and into the weights that follow."""


def debug_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    frames: Sequence[object],
    *,
    color: Color = "bgr",
    weights: str | Path | None = None,
    against: str | os.PathLike[str] | Bundle | None = None,
    device: str = "auto",
    progress: Progress = silent,
    announce: Announce = unheard,
) -> DebugReport:
    """Find the first stage, and in it the first block, whose error leaves the tolerance, and what usually causes it.

    The chain is: what the host makes of the picture, each stage on the reference's own inputs, the host's own way from
    there to metres, and the whole. A stage of ONNX is looked into: its inner tensors against those of the same stage in
    fp32, on the inputs of its worst call. A stage of another target is named, and no more.

    Args:
        bundle: its folder.
        frames: two or more real pictures, as infer() takes them, or sources (picture_sources.py).
        color: order of the frames' channels.
        weights: the checkpoint that the bundle was exported from; None: as export finds it.
        against: an fp32 ONNX bundle of the model to compare with instead of the reference; needs no torch.
        device: where the bundle runs.
        progress: told of each step.
        announce: told what a person has to know.

    Raises:
        MissingExtraError, WeightsError: the reference can't be loaded; `against` needs none.
        OptionError: fewer than two different pictures.
        FrameError, BundleError, DeviceError: as their names say.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, trusted_key=trusted_key_of_environment())
    tolerance = tolerance_for(opened.manifest.precision)
    sources: list[PictureSource] = [_source(frame, number, color) for number, frame in enumerate(frames, 1)]
    with ExitStack() as stack:
        candidate = open_candidate(opened, device, stack, announce)
        other: Bundle | None = None
        if against is None:
            reference = _eager(candidate, weights, announce)
        else:
            other = (
                against
                if isinstance(against, Bundle)
                else open_bundle(against, trusted_key=trusted_key_of_environment())
            )
            reference = bundle_reference(candidate, other, device, stack, announce)
            tolerance = looser(tolerance, tolerance_for(other.manifest.precision))
        look = _Look(candidate, reference, other, tolerance, announce)
        return look.at(sources, progress)


def _eager(candidate: Candidate, weights: str | Path | None, announce: Announce) -> Reference:
    try:
        return eager_reference(candidate, weights, announce)
    except UNREACHABLE as error:
        raise type(error)(
            error.problem, remedy=f"{error.remedy}; or --against BUNDLE, an fp32 ONNX bundle of the model"
        ) from error


def _source(frame: Any, number: int, color: Color) -> PictureSource:
    return frame if hasattr(frame, "load") else FramePicture(f"picture {number}", frame, color)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a bundle."""

    candidate: Candidate
    reference: Reference
    other: Bundle | None
    tolerance: Tolerance
    announce: Announce

    def at(self, sources: Sequence[PictureSource], progress: Progress) -> DebugReport:
        scores = {name: StageScore(keep_feeds=True) for name in self.candidate.stage_names}
        report = verify_parity(
            sources,
            reference=self.reference.program,
            candidate=self.candidate.program,
            open_program=self.candidate.open_program,
            open_reference_stage=self.reference.open_stage,
            open_candidate_stage=self.candidate.sessions.session,
            stage_names=self.candidate.stage_names,
            tolerance=self.tolerance,
            scores=scores if self.reference.open_stage is not None else None,
            progress=progress,
        )
        found = DebugReport(
            bundle=str(self.candidate.bundle.path),
            reference=self.reference.name,
            where=self.candidate.where,
            precision=self.candidate.bundle.manifest.precision,
            chain=tuple(
                self._stage_link(name, score) for name, score in scores.items() if score.calls or score.failure
            ),
            failures=report.failures,
            notes=(*([self.reference.note] if self.reference.note else []), *report.notes),
        )
        worst = self._worst_source(sources, report)
        host, host_cause = self._host(worst)
        found = replace(found, chain=(*host[:1], *found.chain, *host[1:], *_whole_link(report, self.tolerance)))
        first = found.first
        if first is None:
            return found
        if first.what in scores:
            return self._inside(found, first.what, scores[first.what], progress)
        cause = host_cause or self._focal(worst)
        return replace(found, cause=cause)

    def _stage_link(self, name: str, score: StageScore) -> Link:
        good = score.max_rel <= self.tolerance.stage_max_rel and score.mean_rel <= self.tolerance.stage_mean_rel
        return Link(
            what=name,
            max_rel=score.max_rel,
            mean_rel=score.mean_rel,
            good=good and not score.failure and not score.frozen,
            told=score.failure or (f"frozen: {', '.join(score.frozen)}" if score.frozen else ""),
            nan=score.nan,
            inf=score.inf,
        )

    @staticmethod
    def _worst_source(sources: Sequence[PictureSource], report: ParityReport) -> Array:
        """The picture that is worst from end to end; the first that can be read, where none got that far."""
        skipped = {skip.name for skip in report.skipped}
        readable = [source for source in sources if source.name not in skipped]
        named = report.end_to_end.worst if report.end_to_end else ""
        return next((source for source in readable if source.name == named), readable[0]).load().rgb

    def _host(self, rgb: Array) -> tuple[list[Link], Cause | None]:
        """The host's own part: the input that it feeds, and its way to metres over the reference's stages."""
        if self.reference.loaded is None or self.reference.open_stage is None:
            return [], None  # another bundle runs the same host code
        from edgedepth.runtimes.torch_reference import INPUT_STAGES

        fed: dict[str, Array] = {}
        program = self.candidate.open_program(lambda stage: _Fed(self._reference_stage(stage), stage, fed))
        mine = program.predict(rgb)
        eager: Any = self.reference.program
        right = eager.predict(rgb)
        stage = next(name for name in INPUT_STAGES if name in fed)
        expected = eager.input_of(stage, rgb)
        cause = cause_of_input(fed[stage], expected)
        off = np.abs(fed[stage] - expected)
        size = np.abs(expected)
        picture = Link(
            what="the model's input",
            max_rel=float(off.max() / max(size.max(), 1e-9)),
            mean_rel=float(off.mean() / max(size.mean(), 1e-9)),
            good=cause is None,
        )
        parity = compare_picture("host", mine.depth, right.depth, fov_deg=mine.fov_deg, reference_fov_deg=right.fov_deg)
        metres = _depth_link("the host's way to metres", parity, tolerance_for("fp32"))
        return [picture, metres], cause

    def _reference_stage(self, stage: str) -> Session:
        assert self.reference.open_stage is not None
        return self.reference.open_stage(stage)

    def _focal(self, rgb: Array) -> Cause | None:
        mine, right = self.candidate.program.predict(rgb), self.reference.program.predict(rgb)
        parity = compare_picture(
            "focal", mine.depth, right.depth, fov_deg=mine.fov_deg, reference_fov_deg=right.fov_deg
        )
        fov_scale = 1.0
        if math.isfinite(mine.fov_deg) and math.isfinite(right.fov_deg):
            # Depth is f_px / W over canonical inverse depth, and f_px is W / 2 over tan(fov / 2).
            fov_scale = math.tan(math.radians(right.fov_deg) / 2) / math.tan(math.radians(mine.fov_deg) / 2)
        return cause_of_scale(parity.depth_scale, parity.correlation, fov_scale=fov_scale)

    def _inside(self, found: DebugReport, stage: str, score: StageScore, progress: Progress) -> DebugReport:
        """Look into the first stage that is wrong."""
        frozen = cause_of_frozen(f"output {score.frozen[0]}", "a constant") if score.frozen else None
        artefact = self.candidate.bundle.manifest.artefacts[stage]
        if not artefact.path.endswith(".onnx") or not is_installed("onnxruntime") or score.worst_feeds is None:
            target = self.candidate.bundle.manifest.target
            note = (
                f"stage {stage} can't be looked into: {artefact.path} is no ONNX graph. Export the same precision for "
                f"--target onnx and debug that: if it is right, the fault is in what {target} makes of the graph"
            )
            return replace(found, cause=frozen, notes=(*found.notes, note))
        if self.candidate.bundle.manifest.target != "onnx":
            note = "the graph was looked into with ONNX Runtime on the CPU, not with the engine that is built from it"
            found = replace(found, notes=(*found.notes, note))
        with tempfile.TemporaryDirectory(prefix="edgedepth-debug-") as folder:
            progress(f"{stage}: the same stage in fp32", 0, 3)
            right = self._reference_graph(stage, Path(folder))
            if right is None:
                return replace(found, cause=frozen)
            wrong = OnnxTaps(self.candidate.bundle.file(artefact.path))
            blocks, tensors = self._walk(wrong, right, score.worst_feeds, progress)
            bad = first_bad(tensors, self.tolerance) or first_bad(blocks, self.tolerance)
            cause = frozen
            if bad is not None:
                inside = cause_inside(bad, wrong, right, score.worst_feeds, precision=found.precision)
                cause = inside or frozen
        return replace(
            found,
            blocks=tuple(blocks),
            tensors=tuple(tensors),
            first_block=f"{stage}/{bad.node.block}" if bad else None,
            first_tensor=bad,
            cause=cause,
        )

    def _walk(
        self, wrong: OnnxTaps, right: OnnxTaps, feeds: Mapping[str, npt.NDArray[Any]], progress: Progress
    ) -> tuple[list[InnerError], list[InnerError]]:
        """First what every block hands on, then everything inside of the first block that is wrong."""
        passed_over = _PASSED_OVER.get(self.candidate.bundle.manifest.precision, ())
        nodes = common_tensors(wrong, right, passed_over=passed_over)
        progress("block by block", 1, 3)
        blocks = list(inner_errors(wrong, right, feeds, block_ends(nodes)))
        bad = first_bad(blocks, self.tolerance)
        if bad is None:
            return blocks, []
        progress(f"inside of {bad.node.block}", 2, 3)
        position = nodes.index(bad.node)
        start = next((i + 1 for i in range(position - 1, -1, -1) if nodes[i].block != bad.node.block), 0)
        return blocks, list(inner_errors(wrong, right, feeds, nodes[start : position + 1]))

    def _reference_graph(self, stage: str, folder: Path) -> OnnxTaps | None:
        """The stage in fp32 as ONNX: of the other bundle, or exported from the reference."""
        manifest = self.candidate.bundle.manifest
        if self.other is not None:
            artefact = self.other.manifest.artefacts.get(stage)
            if artefact is None or not artefact.path.endswith(".onnx"):
                self.announce(f"{self.other.path} holds no ONNX graph of {stage}: blocks can't be compared")
                return None
            return OnnxTaps(self.other.file(artefact.path))
        assert self.reference.loaded is not None
        path = folder / f"{stage}.onnx"
        opset = int(manifest.toolchain.get("onnx-opset", DEFAULT_OPSET))
        _export_fp32(self.reference.loaded, manifest.artefacts[stage].stage, path, opset)
        return OnnxTaps(path)


class _Fed(ForwardingSession):
    """Keeps the picture that a stage is fed."""

    def __init__(self, session: Session, stage: str, fed: dict[str, Array]) -> None:
        super().__init__(session)
        self._stage, self._fed = stage, fed

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Keep and run."""
        if "image" in feeds:
            self._fed[self._stage] = np.array(feeds["image"][0], np.float32)
        return self._session.run(feeds, out)


def _export_fp32(loaded: LoadedModel, stage: Any, path: Path, opset: int) -> None:
    from edgedepth.exporters.to_onnx_stage import export_stage
    from edgedepth.models.stages import stage_modules

    export_stage(stage_modules(loaded)[stage.name], stage, path, precision="fp32", opset=opset)


def _depth_link(what: str, parity: PictureParity, tolerance: Tolerance) -> Link:
    good = (
        parity.max_rel <= tolerance.max_rel
        and parity.abs_rel <= tolerance.abs_rel
        and parity.fov_deg <= tolerance.fov_deg
        and not parity.lost_structure > tolerance.lost_structure  # NaN: there was none to lose
    )
    told = f"depth scale {parity.depth_scale:.4f}, correlation {parity.correlation:.6f}"
    return Link(what=what, max_rel=parity.max_rel, mean_rel=parity.abs_rel, good=good, told=told)


def _whole_link(report: ParityReport, tolerance: Tolerance) -> list[Link]:
    whole = report.end_to_end
    if whole is None:
        return [Link(what="end to end", max_rel=math.inf, mean_rel=math.inf, good=False, told="no depth came out")]
    failed = any(failure.startswith("end to end") for failure in report.failures)
    link = _depth_link("end to end", next(p for p in report.pictures if p.name == whole.worst), tolerance)
    return [replace(link, good=not failed)]
