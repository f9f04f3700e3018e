"""A frame's three steps: prepared, through the network, made metres. Only the middle one needs the model to itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.undistort import Undistorter
from edgedepth.core.arrays import arrays_of
from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, Precision
from edgedepth.programs.canonical import CanonicalProgram, NetworkFrame, PreparedFrame
from edgedepth.programs.frames import Color, as_rgb
from edgedepth.programs.guidance import NOTHING, Guidance
from edgedepth.programs.metric import check_positive_focal
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.reuse import ReusePolicy
from edgedepth.programs.rsa import RsaProgram
from edgedepth.result import DepthResult, FrameStamp
from edgedepth.runner import Runner

__all__ = ["Ask", "FrameSteps", "Networked", "Prepared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked of a frame, the same for every frame of a stream.

    Args:
        focal_px: the horizontal focal length in pixels of the frame.
        camera: in its place, the whole camera.
        undistort: the frame by the camera first.
        guidance: what tells relative depth its scale.
        reuse: which features of earlier frames may stay; None: none.
    """

    focal_px: float | None = None
    camera: Intrinsics | None = None
    undistort: bool = False
    guidance: Guidance = NOTHING
    reuse: ReusePolicy | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.camera is not None and not isinstance(self.camera, Intrinsics):
            raise OptionError(
                f"the camera is {self.camera!r:.60}; allowed are Intrinsics", remedy="camera=read_intrinsics(path)"
            )
        if self.focal_px is not None:
            check_positive_focal(self.focal_px)
        if self.focal_px is not None and self.camera is not None:
            raise OptionError("both focal_px and camera are given; a camera has its own", remedy="leave focal_px out")
        if self.undistort and self.camera is None:
            raise OptionError("undistort needs to know the camera's distortion", remedy="camera=read_intrinsics(path)")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A frame before the network; `frame` is as the program takes it: prepared, or (H, W, 3) RGB."""

    frame: PreparedFrame | Array
    ask: Ask
    camera: Intrinsics | None
    stamp: FrameStamp | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame in pixels."""
        return self.frame.size if isinstance(self.frame, PreparedFrame) else self.frame.shape[:2]

    @property
    def focal_is_known(self) -> bool:
        """Whether the caller told it."""
        return self.ask.focal_px is not None or self.camera is not None


@dataclass(frozen=True, slots=True, eq=False)
class Networked:
    """A frame after the network; `output` is as the program gives it, `fov_deg` NaN where it wasn't predicted."""

    output: NetworkFrame | Prediction
    prepared: Prepared

    @property
    def fov_deg(self) -> float:
        """Predicted, horizontal, in degrees."""
        return self.output.output.fov_deg if isinstance(self.output, NetworkFrame) else float("nan")


class FrameSteps:
    """The steps of an opened model. prepare() and finish() may run in any thread, beside run().

    Args:
        runner: of the model.
        spec: the model.
        backend: what runs it, for the results.
        device: where, for the results.
        color: order of the frames' channels.
        precision: of the bundle, for the results.
    """

    def __init__(
        self,
        runner: Runner,
        spec: ModelSpec,
        *,
        backend: str,
        device: str,
        color: Color,
        precision: Precision = "fp32",
    ) -> None:
        self._runner = runner
        self._spec = spec
        self._backend = backend
        self._device = device
        self._precision: Precision = precision
        self._color: Color = color
        self._undistorter: Undistorter | None = None

    def check(self, ask: Ask) -> None:
        """Refuse before the first frame what no frame of this model could be asked.

        Raises:
            OptionError: words for a model that reads none, or reuse where nothing can be kept.
        """
        guidance = ask.guidance
        told = guidance.captions or guidance.scale_shift or guidance.kind == "relative_inverse"
        if told and not isinstance(self._runner.program, RsaProgram):
            raise OptionError(
                f"{self._spec.name} gives metres by itself: caption, detections, scale_shift and kind have no "
                "effect on it",
                remedy="leave them out, or use an RSA model",
            )
        if ask.reuse is None:
            return
        if not isinstance(self._runner.program, CanonicalProgram):
            raise OptionError(
                f"{self._spec.name} sees the picture whole: there are no tiles to reuse", remedy="leave reuse out"
            )
        self._runner.program.check_reuse()

    def prepare(self, frame: object, ask: Ask, stamp: FrameStamp | None = None) -> Prepared:
        """Check a frame and bring it into the network's form.

        Raises:
            FrameError, IntrinsicsError, OptionError: as EdgeDepth.infer().
        """
        self.check(ask)
        if not isinstance(frame, np.ndarray):
            first = self._spec.stages[0].name
            frame = self._runner.exclusively(lambda: arrays_of(self._runner.pool.session(first)).fetch(frame))
        rgb = as_rgb(frame, self._color)
        height, width = rgb.shape[:2]
        camera = None if ask.camera is None else ask.camera.for_frame(width, height)
        if camera is not None and ask.undistort:
            undistort = self._undistorter_of(camera)
            rgb, camera = undistort(rgb), undistort.camera
        program = self._runner.program
        if not isinstance(program, CanonicalProgram):
            return Prepared(rgb, ask, camera, stamp)
        focal_px = ask.focal_px if camera is None else camera.fx
        return Prepared(program.prepare(rgb, focal_px=focal_px), ask, camera, stamp)

    def run(self, prepared: Prepared, *, want_fov: bool = True) -> Networked:
        """The network; callers wait for each other.

        Raises:
            EdgeDepthError: as EdgeDepth.infer().
        """
        return Networked(self._runner.exclusively(lambda: self._network(prepared, want_fov)), prepared)

    def finish(self, networked: Networked, *, fov_deg: float | None = None) -> DepthResult:
        """Metres.

        Args:
            networked: the frame.
            fov_deg: to be used in place of the predicted one.

        Raises:
            UnusableOutputError: as EdgeDepth.infer().
        """
        output, prepared = networked.output, networked.prepared
        if isinstance(output, NetworkFrame):
            program = self._runner.program
            assert isinstance(program, CanonicalProgram)
            output = program.finish(output, fov_deg=fov_deg)
        return DepthResult(
            depth=output.depth,
            inverse_depth=output.inverse_depth,
            focal_px=output.focal_px,
            fov_deg=output.fov_deg,
            focal_source=output.focal_source,
            kind=output.kind,
            model=self._spec.name,
            trained=self._spec.trained,
            backend=self._backend,
            device=self._device,
            timings_ms=output.timings_ms,
            scale_shift=output.scale_shift,
            camera=prepared.camera,
            encoded=output.encoded,
            stamp=prepared.stamp,
            precision=self._precision,
        )

    def _network(self, prepared: Prepared, want_fov: bool) -> NetworkFrame | Prediction:
        program, frame, ask = self._runner.program, prepared.frame, prepared.ask
        if isinstance(frame, PreparedFrame):
            assert isinstance(program, CanonicalProgram)
            return program.run(frame, reuse=ask.reuse, want_fov=want_fov)
        assert not isinstance(program, CanonicalProgram)
        focal_px = ask.focal_px if prepared.camera is None else prepared.camera.fx
        return program.predict(frame, focal_px=focal_px, guidance=ask.guidance)

    def _undistorter_of(self, camera: Intrinsics) -> Undistorter:
        """Its look-up tables are kept for the next frame."""
        known = self._undistorter
        if known is None or known.source != camera:
            known = self._undistorter = Undistorter(camera)
        return known
