"""EdgeDepth: one call that runs any bundle, or the reference itself."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn, get_args

import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.spec import DEFAULT_TILE_BATCH, ModelSpec, Precision
from edgedepth.frame_steps import Ask, FrameSteps
from edgedepth.programs.frames import Color, check_color
from edgedepth.programs.guidance import Kind, guidance_of
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.reuse import ReusePolicy, reuse_policy
from edgedepth.programs.rsa import RsaProgram
from edgedepth.programs.stages import Resident, StagePool
from edgedepth.proof import is_proven, prove, tell_parity
from edgedepth.result import DepthResult
from edgedepth.runner import Program, Runner, check_timeout
from edgedepth.runtimes.base import SessionOptions
from edgedepth.sources import Source, open_source
from edgedepth.stream_steps import StreamSteps
from edgedepth.streams.options import FOV_FRAMES, Drop, StreamOptions
from edgedepth.streams.sources import open_frames
from edgedepth.streams.stream import DepthStream
from edgedepth.tuning import tuned_tile_batch

__all__ = ["EdgeDepth", "SelfTest"]

SelfTest = Literal["first-use", "always", "never"]

log = logging.getLogger("edgedepth")


class EdgeDepth:
    """A depth model, opened on a device.

    Args:
        model: a bundle's folder, a model's name, or a pack of bundles, of which the one runs that fits this machine
            (`edgedepth inspect` tells which). None: the newest fitting bundle of the artefact store
            (EDGEDEPTH_HOME), whatever its model; the log says which. Or a Source: stages that somebody else opens,
            for which backend, device, precision, weights and threads have no effect.
        backend: "onnx", "openvino", "coreml" (on a Mac), or "torch" for the eager reference itself (slow, needs the
            `export` extra). "auto": what the bundle was exported for.
            Of a pack: the bundles for that backend alone.
        device: "auto", "cpu", "cuda", "cuda:1"; on openvino "auto", "cpu", "gpu", "gpu:1", "npu"; on coreml "auto",
            "cpu", "gpu", "npu". A device asked for by name is that device or an error.
        precision: "fp32", "fp16", "bf16", "int8" or "fp8" to choose among the store's bundles; None takes any.
        weights: a checkpoint for backend="torch"; None: the cache, else a download. A bundle holds its own.
        color: order of a frame's channels: "bgr" as OpenCV reads them, or "rgb".
        tile_batch: tiles a call of the patch encoder, for bundles exported with --dynamic-batch; "auto" measures once
            which is fastest on this device. None: the bundle's.
        resident: "all" keeps every stage in memory; "one" loads them in turn for each frame: slower, and fits
            boards of 8 GB.
        threads: of the arithmetic; None leaves it to the backend.
        build_if_missing: build the TensorRT engines that the bundle lacks for this device, and keep them in the
            artefact store: minutes on a Jetson, once. tensorrt only.
        dla_core: run on this deep learning accelerator of a Jetson, and on its GPU what it can't. tensorrt only.
        trusted_key: a minisign public key, its file or its line: only a bundle that it signed is run. None: the one
            that EDGEDEPTH_TRUSTED_KEY names, else signatures aren't looked at.
        url: with backend="triton", the gRPC port of a server (Triton, OpenVINO Model Server) that holds the bundle's
            stages: "host:8001".
        timeout_s: the longest that the network may take for a frame; a backend that hangs then becomes an error.
            Stages that are opened meanwhile aren't counted, up to ten minutes.
        self_test: when to run the bundle's golden frame: on "first-use" on a device, "always", or "never".

    Raises:
        EdgeDepthError: one of its subclasses, each with what was wrong and what cures it (edgedepth.core.errors).

    Threads may share one: the network runs for one frame at a time, and callers wait for each other. EdgeDepthPool
    runs several at once. Processes open their own: it is neither pickled nor used after a fork.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Source | None = None,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: Precision | None = None,
        weights: str | Path | None = None,
        color: Color = "bgr",
        tile_batch: int | Literal["auto"] | None = None,
        resident: Resident = "all",
        threads: int | None = None,
        build_if_missing: bool = False,
        dla_core: int | None = None,
        trusted_key: str | os.PathLike[str] | None = None,
        url: str | None = None,
        timeout_s: float | None = None,
        self_test: SelfTest = "first-use",
    ) -> None:
        check_color(color)
        check_timeout(timeout_s)
        if self_test not in get_args(SelfTest):
            raise OptionError(
                f"self_test is {self_test!r}; allowed are {', '.join(get_args(SelfTest))}", remedy="or leave it out"
            )
        self.color: Color = color
        options = SessionOptions(
            device=device,
            threads=threads,
            build_if_missing=build_if_missing,
            dla_core=dla_core,
            least_memory=resident == "one",
        )
        source = (
            model
            if isinstance(model, Source)
            else open_source(
                model,
                backend=backend,
                precision=precision,
                weights=weights,
                options=options,
                trusted_key=None if trusted_key is None else os.fspath(trusted_key),
                url=url,
            )
        )
        _check_fit(source, tile_batch, resident)
        self.spec: ModelSpec = source.spec
        self.backend = source.backend
        self._runtime = source.runtime
        self.bundle: Bundle | None = source.bundle
        self._runner = Runner(lambda: StagePool(source.open_stage, resident=resident), timeout_s=timeout_s)
        try:
            # Opened now, so that a missing device or a broken artefact shows here and not in the control loop.
            self.device = self._pool.session(source.first_stage).device
            log.info("%s on %s, %s", self.spec.name, self.backend, self.device)
            if self.bundle is not None and not self.spec.trained:
                log.warning("%s has UNTRAINED weights: its depth means nothing", self.spec.name)
            if self.bundle is not None:
                tell_parity(self.bundle)
            if tile_batch == "auto":
                tile_batch = self._tuned_tile_batch(threads)
            batch = tile_batch if tile_batch is not None else source.tile_batch or DEFAULT_TILE_BATCH
            self._runner.start(lambda pool: open_program(self.spec, pool, layout=source.layout, tile_batch=batch))
            self._prove(self_test, batch, options)
        except BaseException:
            self._pool.close()
            raise
        self._steps = FrameSteps(
            self._runner,
            self.spec,
            backend=self.backend,
            device=self.device,
            color=color,
            precision="fp32" if self.bundle is None else self.bundle.manifest.precision,
        )

    def infer(
        self,
        frame: object,
        *,
        focal_px: float | None = None,
        caption: str | Sequence[str] | None = None,
        detections: Sequence[tuple[str, int]] | None = None,
        scale_shift: tuple[float, float] | None = None,
        kind: Kind | None = None,
        camera: Intrinsics | None = None,
        undistort: bool = False,
        reuse: float | ReusePolicy | None = None,
    ) -> DepthResult:
        """Metric depth of one frame.

        Args:
            frame: (H, W, 3) uint8 in `color` order; also (H, W), (H, W, 1), (H, W, 4), float in 0..1. 16 to 8192
                pixels a side. It is never written to. Also such an array of another library through DLPack; on
                tensorrt it may lie in the GPU's memory (DLPack or `__cuda_array_interface__`), rows with a pitch.
            focal_px: the camera's focal length in pixels of this frame. Then the field of view is not predicted,
                and its stage is neither run nor loaded. None: predicted.
            caption: for RSA models: what the picture shows, which tells its scale; of several captions the median
                counts, and the result tells how far they are apart. A caption is read once and then known.
            detections: for RSA models instead of a caption: (class, count) pairs, [("chair", 2), ("desk", 1)].
            scale_shift: for models of relative depth: depth = 1 / (scale * relative + shift), pinned.
            kind: "relative_inverse" asks an RSA model for its relative depth, without a scale.
            camera: in place of focal_px, the whole camera; points in space then use it. Of another size, it is
                scaled to the frame.
            undistort: take the camera's distortion out of the frame first; depth and camera are then of the
                undistorted frame.
            reuse: keep the features of tiles that haven't changed since an earlier frame by more than this, of the
                picture's range 0..1. 0 keeps only those that are equal bit by bit, and changes no bit of the depth.

        Returns:
            Depth in metres at the frame's size; of a model of relative depth that was told no scale, relative depth.

        Raises:
            FrameError: not a picture, with what was got and what is allowed.
            OptionError: a focal length that isn't a positive number; no caption for a model that needs one, or one for
                a model that reads none.
            UnusableOutputError: what the model gave can't be metres.
        """
        guidance = guidance_of(caption=caption, detections=detections, scale_shift=scale_shift, kind=kind)
        policy = None if reuse is None else reuse_policy(reuse)
        ask = Ask(focal_px=focal_px, camera=camera, undistort=undistort, guidance=guidance, reuse=policy)
        self._runner.check_open()
        return self._steps.finish(self._steps.run(self._steps.prepare(frame, ask)))

    async def ainfer(self, frame: object, **options: Any) -> DepthResult:
        """infer(), awaited: the event loop goes on meanwhile. Options and errors are those of infer()."""
        return await asyncio.to_thread(self.infer, frame, **options)

    def stream(
        self,
        source: object,
        *,
        focal_px: float | None = None,
        caption: str | Sequence[str] | None = None,
        scale_shift: tuple[float, float] | None = None,
        camera: Intrinsics | None = None,
        undistort: bool = False,
        reuse: float | ReusePolicy | None = None,
        drop: Drop | None = None,
        fov_frames: int = FOV_FRAMES,
        max_age_s: float | None = None,
        reconnect_s: float = 10.0,
        restarts: int = 1,
        skip: int = 0,
    ) -> DepthStream:
        """Depth of one frame after the other; a frame is read and prepared, and another finished, while one runs.

        >>> with model.stream("video.mp4", reuse=0.01) as results:   # doctest: +SKIP
        ...     for result in results:
        ...         print(result.stamp, result.encoded, result.depth.min())

        Args:
            source: a video file, a folder of pictures, a camera's index, a URL ("rtsp://..."), a GStreamer pipeline
                ("v4l2src ! ... ! appsink"), or anything that iterates over frames or TimedFrames.
            focal_px: as of infer(), for every frame.
            caption: likewise.
            scale_shift: likewise.
            camera: likewise.
            undistort: likewise.
            reuse: likewise.
            drop: "oldest" gives up frames that waited while newer ones came, "none" takes every frame and lets the
                source wait. None: "oldest" for cameras and URLs.
            fov_frames: where no focal length is given: from this many frames on, the field of view is the median of
                the first ones and isn't predicted any more, and until then the median so far. 0 predicts every
                frame's: its metres then breathe.
            max_age_s: frames older than this are dropped before they are run. Of cameras and URLs, and of iterables,
                whose TimedFrames tell seconds since 1970.
            reconnect_s: of live sources: how long a camera that is gone is waited for.
            restarts: how often a backend that fails or hangs is opened anew before its error is told.
            skip: frames of a video or folder to leave out at the beginning, to go on where a run was cut off.

        Raises:
            OptionError: a source that is none, or options that don't go together.
            DeviceError: a camera that doesn't open. While iterating: one that is gone.
            EdgeDepthError: while iterating, what infer() raises; the stream is then closed.
        """
        self._runner.check_open()
        guidance = guidance_of(caption=caption, scale_shift=scale_shift)
        policy = None if reuse is None else reuse_policy(reuse)
        ask = Ask(focal_px=focal_px, camera=camera, undistort=undistort, guidance=guidance, reuse=policy)
        self._steps.check(ask)
        options = StreamOptions(
            drop=drop,
            fov_frames=fov_frames,
            max_age_s=max_age_s,
            reconnect_s=reconnect_s,
            restarts=restarts,
            skip=skip,
        )
        frames = open_frames(source, color=self.color, reconnect_s=reconnect_s, skip=skip)
        return DepthStream(frames, StreamSteps(self._steps, ask, options, reopen=self.reopen), options)

    def reopen(self) -> None:
        """Close the stages and open them again, after a backend failed or hung.

        Raises:
            StageError: after close().
        """
        self._runner.reopen()

    @property
    def _pool(self) -> StagePool:
        return self._runner.pool

    @property
    def _program(self) -> Program:
        return self._runner.program

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the stages lie in a device's memory."""
        raise UnsupportedError(
            "an EdgeDepth can't be pickled: its stages lie in this process's and its device's memory",
            remedy="send the bundle's path, and open an EdgeDepth in each process",
        )

    def read_caption(self, caption: str) -> tuple[float, float]:
        """Scale and shift that a caption tells an RSA model, in 1/m; read ahead, it costs the frame a look-up.

        Raises:
            OptionError: not a caption, or a model that reads none.
            UnusableOutputError: they come out infinite, zero or NaN.
        """
        return self._runner.exclusively(lambda: self._reader().read_caption(caption))

    def caption_features(self, caption: str) -> npt.NDArray[np.float32]:
        """(F,) float32: what an RSA model's text encoder makes of a caption, which heads are fitted to.

        Raises:
            OptionError: as read_caption.
        """
        return self._runner.exclusively(lambda: self._reader().text_features(caption).reshape(-1))

    def _reader(self) -> RsaProgram:
        if not isinstance(self._program, RsaProgram):
            raise OptionError(f"{self.spec.name} reads no captions", remedy="use an RSA model")
        return self._program

    def close(self) -> None:
        """Wait for the frame that runs, and free the stages. Closing twice is fine."""
        self._runner.close()

    def __enter__(self) -> EdgeDepth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prove(self, self_test: SelfTest, tile_batch: int, options: SessionOptions) -> None:
        bundle, backend = self.bundle, self._runtime
        if bundle is None or backend is None or self_test == "never":
            return
        # Engines that are built on the device differ from build to build, and each has to prove itself.
        identity = getattr(backend, "identity", lambda *_: "")

        def runtime() -> str:
            return f"{self._runtime_words()} {identity(bundle, options)}".rstrip()

        # What a server holds may change between two frames; at least each start is proven.
        if self_test == "always" or getattr(backend, "remote", False) or not is_proven(bundle, runtime()):
            prove(
                bundle,
                runtime,
                proof_of(self._program),
                self._pool.session,
                tile_batch=tile_batch,
                known_bad=backend.availability().bad,
            )
            # The golden frame asks for every stage; a caller who knows the focal length never needs this one.
            self._pool.release("fov")

    def _tuned_tile_batch(self, threads: int | None) -> int:
        """_check_fit made sure that there are a bundle and tiles."""
        assert self.bundle is not None
        assert self.spec.tiling is not None
        runtime = f"{self._runtime_words()}, threads {threads}"
        return tuned_tile_batch(self.bundle, runtime, self._pool.session("patch_encoder"), self.spec.tiling)

    def _runtime_words(self) -> str:
        """What a finding about this bundle holds for."""
        assert self._runtime is not None
        return f"{self.backend} {self._runtime.availability().version} {self.device}"


def _check_fit(source: Source, tile_batch: int | Literal["auto"] | None, resident: Resident) -> None:
    """Refuse options that would have no effect."""
    if source.layout == "single" and tile_batch is not None:
        raise OptionError(
            "a bundle of one graph cuts its own tiles, all in one batch; tile_batch has no effect on it",
            remedy="leave tile_batch out, or export with --layout staged",
        )
    if tile_batch == "auto" and source.bundle is None:
        raise OptionError(
            "tile_batch='auto' remembers what it measured of a bundle; the torch backend runs none",
            remedy="leave tile_batch out, or run a bundle that was exported with --dynamic-batch",
        )
    if tile_batch == "auto" and source.tile_batch is not None:
        raise OptionError(
            f"tile_batch='auto' has nothing to choose: this bundle was exported for batches of {source.tile_batch}",
            remedy="leave tile_batch out, or 'edgedepth export --dynamic-batch' for any size",
        )
    if source.bundle is None and resident == "one":
        raise OptionError(
            "resident='one' frees nothing on the torch backend, which holds the whole model",
            remedy="leave it out, or run a bundle: edgedepth export --help",
        )
