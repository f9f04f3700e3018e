"""What a stream does to its frames beyond infer(): it fixes the field of view, gives up old frames, opens a failed
backend anew."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from edgedepth.core.errors import BackendTimeoutError, EdgeDepthError, FrameError, StageError
from edgedepth.frame_steps import Ask, FrameSteps, Networked, Prepared
from edgedepth.result import DepthResult, FrameStamp
from edgedepth.streams.frames import TimedFrame
from edgedepth.streams.options import StreamOptions
from edgedepth.streams.pipeline import DROP

__all__ = ["FovMedian", "StreamSteps", "is_fault"]

log = logging.getLogger("edgedepth")


class FovMedian:
    """The field of view of a camera, from its first frames.

    Args:
        frames: how many of them; 0: every frame has its own.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._seen: list[float] = []

    @property
    def wanted(self) -> bool:
        """Whether the next frame's prediction is needed."""
        return self._frames == 0 or len(self._seen) < self._frames

    def add(self, fov_deg: float) -> None:
        """Count a frame's prediction, in degrees; NaN where none was made."""
        if self._frames and self.wanted and not math.isnan(fov_deg):
            self._seen.append(fov_deg)

    @property
    def value(self) -> float | None:
        """The median so far in degrees; None: the frame's own."""
        return statistics.median(self._seen) if self._seen else None


class StreamSteps:
    """A stream's three steps.

    Args:
        steps: a frame's.
        ask: what is asked of every frame.
        options: of the stream.
        reopen: opens the backend anew.
    """

    def __init__(self, steps: FrameSteps, ask: Ask, options: StreamOptions, *, reopen: Callable[[], None]) -> None:
        self.restarts = 0
        self.too_old = 0
        self._steps = steps
        self._ask = ask
        self._options = options
        self._reopen = reopen
        self._fov = FovMedian(options.fov_frames)
        self._size: tuple[int, int] | None = None

    def prepare(self, frame: TimedFrame) -> Prepared:
        """The first step.

        Raises:
            FrameError: as infer(), or of another size than the frames before where a focal length rests on it.
        """
        prepared = self._steps.prepare(frame.image, self._ask, FrameStamp(index=frame.index, time_s=frame.time_s))
        if self._size is not None and prepared.size != self._size:
            self._check_size(prepared, self._size)
        self._size = prepared.size
        return prepared

    def run(self, prepared: Prepared) -> Any:
        """The second step: a pair of the network's output and the field of view to use, or DROP."""
        limit, stamp = self._options.max_age_s, prepared.stamp
        if limit is not None and stamp is not None and time.time() - stamp.time_s > limit:
            self.too_old += 1
            return DROP
        want_fov = self._fov.wanted
        networked = self._run_or_restart(prepared, want_fov)
        if not prepared.focal_is_known and want_fov:
            self._fov.add(networked.fov_deg)
        return networked, self._fov.value

    def finish(self, run: tuple[Networked, float | None]) -> DepthResult:
        """The third step."""
        networked, fov_deg = run
        return self._steps.finish(networked, fov_deg=fov_deg)

    def _run_or_restart(self, prepared: Prepared, want_fov: bool) -> Networked:
        """Run; a backend's fault has it opened anew and asked again, as often as the options allow."""
        while True:
            try:
                return self._steps.run(prepared, want_fov=want_fov)
            except Exception as error:
                if not is_fault(error) or self.restarts >= self._options.restarts:
                    raise
                self.restarts += 1
                log.warning("the backend failed at frame %s and is opened anew: %s", _index(prepared), error)
                self._reopen()

    def _check_size(self, prepared: Prepared, before: tuple[int, int]) -> None:
        (old_height, old_width), (height, width) = before, prepared.size
        told = f"frame {_index(prepared)} is {width} x {height} pixels, those before were {old_width} x {old_height}"
        if prepared.focal_is_known:
            raise FrameError(
                f"{told}: the focal length that was given is of those",
                remedy="start a new stream with the focal length of this size",
            )
        log.warning("%s; its field of view is taken to be the same", told)


def is_fault(error: Exception) -> bool:
    """Whether the backend is to blame, and not the frame or the caller."""
    return isinstance(error, StageError | BackendTimeoutError) or not isinstance(error, EdgeDepthError)


def _index(prepared: Prepared) -> str:
    return "?" if prepared.stamp is None else str(prepared.stamp.index)
