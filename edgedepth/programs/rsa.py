"""RSA: a frame's relative depth, and the scale and shift that a caption tells, make metres.

Source: RSA (arXiv 2410.02924) and its published code: depth = 1 / (scale * relative + shift), clamped. The text is read
once a caption; a frame costs the network of relative depth alone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from edgedepth.core.errors import FrameError, OptionError, UnsupportedError, UnusableOutputError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, RelativeSpec
from edgedepth.programs.clip_tokens import tokenize
from edgedepth.programs.guidance import NOTHING, Guidance
from edgedepth.programs.metric import check_focal_px, fov_deg_from_focal
from edgedepth.programs.prediction import Prediction, ScaleShift
from edgedepth.programs.relative import predict_relative
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["PROOF_CAPTION", "ProofProgram", "RsaProgram", "metric_depth", "proof_guidance"]

PROOF_CAPTION = "An image with two chairs, a table and a lamp."
"""What golden frames and parity are run with."""

_CACHED = 1024


class RsaProgram:
    """Runs relative_depth and, for captions, text_encoder and scale_shift.

    Not thread-safe: captions are cached. One program a thread.

    Args:
        spec: a model of the family "rsa" or "relative"; the latter has no text stages, and is given its scale.
        pool: its stages; the program doesn't close it.

    Raises:
        UnsupportedError: a spec without what its family needs.
    """

    def __init__(self, spec: ModelSpec, pool: StagePool) -> None:
        if spec.relative is None:
            raise UnsupportedError(f"{spec.name} says nothing of its relative depth", remedy="export it again")
        self.spec = spec
        self._pool = pool
        self._limits: RelativeSpec = spec.relative
        self._reads_captions = any(stage.name == "text_encoder" for stage in spec.stages)
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def predict(self, rgb: Array, *, focal_px: float | None = None, guidance: Guidance = NOTHING) -> Prediction:
        """Depth of one frame.

        Args:
            rgb: (H, W, 3) float32, RGB in 0..1, as as_rgb() gives it; not written to.
            focal_px: in pixels of this frame; the depth doesn't depend on it, points in space do.
            guidance: captions, or scale and shift; or that relative depth is wanted.

        Raises:
            FrameError: rgb is not in that form.
            OptionError: nothing tells the scale, captions for a model that reads none, or an impossible focal length.
            UnusableOutputError: the network's output is unusable.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.float32:
            raise FrameError(
                f"predict() got {rgb.dtype} {rgb.shape}, allowed is float32 (H, W, 3)", remedy="pass as_rgb(frame)"
            )
        width = rgb.shape[1]
        focal = float("nan") if focal_px is None else check_focal_px(focal_px, width)
        kind = self._kind(guidance)
        watch = Stopwatch()
        loaded_ms = self._pool.load_ms
        scale_shift = None
        if kind == "metric":
            with watch("caption"):
                scale_shift = self._scale_shift(guidance)
        relative = predict_relative(rgb, self.spec, self._pool, watch)
        with watch("postprocess"):
            if scale_shift is None:
                inverse, depth = relative, _reciprocal(relative)
            else:
                inverse, depth, clamped = metric_depth(relative, scale_shift.scale, scale_shift.shift, self._limits)
                scale_shift = replace(scale_shift, clamped=clamped)
        return Prediction(
            inverse_depth=inverse,
            depth=depth,
            focal_px=focal,
            fov_deg=float("nan") if focal_px is None else fov_deg_from_focal(focal, width),
            focal_source="unknown" if focal_px is None else "given",
            canonical_inverse_depth=relative,
            timings_ms=watch.ms | {"load": self._pool.load_ms - loaded_ms},
            kind="metric" if kind == "metric" else "relative_inverse",
            scale_shift=scale_shift,
        )

    def read_caption(self, caption: str) -> tuple[float, float]:
        """Scale and shift that a caption tells, both positive; the second time it is a look-up.

        Raises:
            OptionError: not a caption.
            UnusableOutputError: they come out infinite, zero or NaN.
        """
        if caption in self._known:
            self._known.move_to_end(caption)
            return self._known[caption]
        features = self.text_features(caption)
        head = self.spec.stage("scale_shift")
        found = run_stage(self._pool.session(head.name), head, {"text_features": features})
        scale, shift = found["scale"].item(), found["shift"].item()
        if not (0 < scale < float("inf") and 0 < shift < float("inf")):
            raise UnusableOutputError(
                f"the caption {caption[:60]!r} gives scale {scale:g} and shift {shift:g}; both have to be positive",
                remedy="try another caption, or pin them: scale_shift=(scale, shift)",
            )
        self._known[caption] = scale, shift
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return scale, shift

    def text_features(self, caption: str) -> Array:
        """(1, F) float32: what the text encoder makes of a caption; not kept.

        Raises:
            OptionError: not a caption, or a model that reads none.
        """
        self._refuse_unread()
        text = self.spec.stage("text_encoder")
        context = int(text.inputs[0].shape[1])
        ids = tokenize(caption, context).ids
        return run_stage(self._pool.session(text.name), text, {"tokens": ids})["text_features"]

    def _refuse_unread(self) -> None:
        if not self._reads_captions:
            raise OptionError(
                f"{self.spec.name} reads no captions: it gives relative depth",
                remedy="use an RSA model, or pass scale_shift=(scale, shift)",
            )

    def _kind(self, guidance: Guidance) -> str:
        """What this frame shall become; refuses guidance that this model can't follow."""
        if guidance.captions:
            self._refuse_unread()
        told = bool(guidance.captions) or guidance.scale_shift is not None
        kind = guidance.kind or ("metric" if told else self.spec.kind)
        if kind == "metric" and not told:
            raise OptionError(
                f"{self.spec.name} takes its scale from words, and there are none",
                remedy='pass caption="An office with two desks", detections=[("desk", 2)], or scale_shift=(scale, '
                "shift); kind='relative_inverse' gives depth without a scale",
            )
        return kind

    def _scale_shift(self, guidance: Guidance) -> ScaleShift:
        if guidance.scale_shift is not None:
            scale, shift = guidance.scale_shift
            return ScaleShift(scale=scale, shift=shift, source="given")
        found = np.array([self.read_caption(caption) for caption in guidance.captions])
        scale, shift = np.median(found, axis=0).tolist()
        low, high = found.min(axis=0).tolist(), found.max(axis=0).tolist()
        return ScaleShift(
            scale=scale,
            shift=shift,
            source="captions",
            captions=guidance.captions,
            scale_range=(low[0], high[0]),
            shift_range=(low[1], high[1]),
        )


class ProofProgram:
    """A program as golden frames and parity run it: with a fixed caption, or a fixed scale where none is read."""

    def __init__(self, program: RsaProgram) -> None:
        self._program = program
        self.guidance = proof_guidance(program.spec)

    def predict(self, rgb: Array, /) -> Prediction:
        """Metric depth of an (H, W, 3) float32 RGB frame in 0..1."""
        return self._program.predict(rgb, guidance=self.guidance)


def proof_guidance(spec: ModelSpec) -> Guidance:
    """What a proof says of a frame's scale: depths near 1 for a model that reads no captions."""
    assert spec.relative is not None
    if any(stage.name == "text_encoder" for stage in spec.stages):
        return Guidance(captions=(PROOF_CAPTION,))
    return Guidance(scale_shift=(1 / spec.relative.typical, 1.0))


def metric_depth(relative: Array, scale: float, shift: float, limits: RelativeSpec) -> tuple[Array, Array, int]:
    """Metres from relative inverse depth, as RSA's code makes them.

    Args:
        relative: (H, W) float32, raw.
        scale: in 1/m per unit of the network.
        shift: in 1/m.
        limits: what depths are clamped to. A negative depth becomes the smallest one, as published.

    Returns:
        Inverse depth in 1/m, not clamped; depth in m; and how many pixels were clamped. New arrays.
    """
    inverse = relative * np.float32(scale)
    inverse += np.float32(shift)
    with np.errstate(divide="ignore"):
        depth = np.reciprocal(inverse)
    outside = int(np.count_nonzero((depth < limits.min_depth_m) | (depth > limits.max_depth_m)))
    np.clip(depth, np.float32(limits.min_depth_m), np.float32(limits.max_depth_m), out=depth)
    return inverse, depth, outside


def _reciprocal(relative: Array) -> Array:
    """1 / relative where it is positive, else NaN: in no unit."""
    depth = np.full_like(relative, np.nan)
    np.divide(1, relative, out=depth, where=relative > 0)
    return depth
