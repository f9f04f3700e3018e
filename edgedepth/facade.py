"""EdgeDepth: one call that runs any bundle, or the reference itself."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.spec import DEFAULT_TILE_BATCH, ModelSpec, Precision
from edgedepth.programs.frames import Color, as_rgb, check_color
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import Resident, StagePool
from edgedepth.proof import is_proven, prove
from edgedepth.result import DepthResult
from edgedepth.runtimes.base import SessionOptions, backend_named
from edgedepth.sources import Source, open_source

__all__ = ["EdgeDepth", "SelfTest"]

SelfTest = Literal["first-use", "always", "never"]

log = logging.getLogger("edgedepth")


class EdgeDepth:
    """A depth model, opened on a device.

    Args:
        model: a bundle's folder, or a model's name. None: the newest fitting bundle of the artefact store
            (EDGEDEPTH_HOME), whatever its model; the log says which.
        backend: "onnx", "openvino", "coreml" (on a Mac), or "torch" for the eager reference itself (slow, needs the
            `export` extra). "auto": what the bundle was exported for.
        device: "auto", "cpu", "cuda", "cuda:1"; on openvino "auto", "cpu", "gpu", "gpu:1", "npu"; on coreml "auto",
            "cpu", "gpu", "npu". A device asked for by name is that device or an error.
        precision: "fp32", "fp16", "bf16" or "int8" to choose among the store's bundles; None takes any.
        weights: a checkpoint for backend="torch"; None: the cache, else a download. A bundle holds its own.
        color: order of a frame's channels: "bgr" as OpenCV reads them, or "rgb".
        tile_batch: tiles a call of the patch encoder, for bundles exported with --dynamic-batch. None: the bundle's.
        resident: "all" keeps every stage in memory; "one" loads them in turn for each frame: slower, and fits
            boards of 8 GB.
        threads: of the arithmetic; None leaves it to the backend.
        self_test: when to run the bundle's golden frame: on "first-use" on a device, "always", or "never".

    Raises:
        EdgeDepthError: one of its subclasses, each with what was wrong and what cures it (edgedepth.core.errors).

    Not thread-safe: buffers are kept between frames. Use one EdgeDepth a thread.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: Precision | None = None,
        weights: str | Path | None = None,
        color: Color = "bgr",
        tile_batch: int | None = None,
        resident: Resident = "all",
        threads: int | None = None,
        self_test: SelfTest = "first-use",
    ) -> None:
        check_color(color)
        if self_test not in get_args(SelfTest):
            raise OptionError(
                f"self_test is {self_test!r}; allowed are {', '.join(get_args(SelfTest))}", remedy="or leave it out"
            )
        self.color: Color = color
        options = SessionOptions(device=device, threads=threads)
        source = open_source(model, backend=backend, precision=precision, weights=weights, options=options)
        _check_fit(source, tile_batch, resident)
        self.spec: ModelSpec = source.spec
        self.backend = source.backend
        self.bundle: Bundle | None = source.bundle
        if tile_batch is None:
            tile_batch = source.tile_batch or DEFAULT_TILE_BATCH
        self._pool = StagePool(source.open_stage, resident=resident)
        try:
            self._program = open_program(self.spec, self._pool, layout=source.layout, tile_batch=tile_batch)
            # Opened now, so that a missing device or a broken artefact shows here and not in the control loop.
            self.device = self._pool.session(source.first_stage).device
            log.info("%s on %s, %s", self.spec.name, self.backend, self.device)
            if self.bundle is not None and not self.spec.trained:
                log.warning("%s has UNTRAINED weights: its depth means nothing", self.spec.name)
            self._prove(self_test)
        except BaseException:
            self._pool.close()
            raise

    def infer(self, frame: object, *, focal_px: float | None = None) -> DepthResult:
        """Metric depth of one frame.

        Args:
            frame: (H, W, 3) uint8 in `color` order; also (H, W), (H, W, 1), (H, W, 4), float in 0..1. 16 to 8192
                pixels a side. It is never written to.
            focal_px: the camera's focal length in pixels of this frame. Then the field of view is not predicted,
                and its stage is neither run nor loaded. None: predicted.

        Returns:
            Depth in metres at the frame's size.

        Raises:
            FrameError: not a picture, with what was got and what is allowed.
            OptionError: a focal length that isn't a positive number.
            UnusableOutputError: what the model gave can't be metres.
        """
        rgb = as_rgb(frame, self.color)
        prediction = self._program.predict(rgb, focal_px=focal_px)
        return DepthResult(
            depth=prediction.depth,
            inverse_depth=prediction.inverse_depth,
            focal_px=prediction.focal_px,
            fov_deg=prediction.fov_deg,
            focal_source=prediction.focal_source,
            kind=self.spec.kind,
            model=self.spec.name,
            trained=self.spec.trained,
            backend=self.backend,
            device=self.device,
            timings_ms=prediction.timings_ms,
        )

    def close(self) -> None:
        """Free the stages. Closing twice is fine."""
        self._pool.close()

    def __enter__(self) -> EdgeDepth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prove(self, self_test: SelfTest) -> None:
        if self.bundle is None or self_test == "never":
            return
        version = backend_named(self.backend).availability().version
        runtime = f"{self.backend} {version} {self.device}"
        if self_test == "always" or not is_proven(self.bundle, runtime):
            prove(self.bundle, runtime, self._program)
            # The golden frame asks for every stage; a caller who knows the focal length never needs this one.
            self._pool.release("fov")


def _check_fit(source: Source, tile_batch: int | None, resident: Resident) -> None:
    """Refuse options that would have no effect."""
    if source.layout == "single" and tile_batch is not None:
        raise OptionError(
            "a bundle of one graph cuts its own tiles, all in one batch; tile_batch has no effect on it",
            remedy="leave tile_batch out, or export with --layout staged",
        )
    if source.bundle is None and resident == "one":
        raise OptionError(
            "resident='one' frees nothing on the torch backend, which holds the whole model",
            remedy="leave it out, or run a bundle: edgedepth export --help",
        )
