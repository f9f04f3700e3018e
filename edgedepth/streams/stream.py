"""DepthStream: results of a source, one after the other."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from edgedepth.core.errors import OptionError
from edgedepth.core.heap import give_back
from edgedepth.result import DepthResult
from edgedepth.streams.options import StreamOptions
from edgedepth.streams.pipeline import Pipeline
from edgedepth.streams.sources import FrameSource

__all__ = ["DepthStream", "StreamStats", "ThreeSteps"]

log = logging.getLogger("edgedepth")

_PATIENCE_S = 5.0
"""For a source that is read and doesn't come back: a network camera may take half a minute."""


_GIVEN_BACK_EVERY = 200
"""Results after which memory that is free goes back to the system."""


class ThreeSteps(Protocol):
    """What is done to a frame: see edgedepth.stream_steps. Each runs in a thread of its own.

    Attributes:
        restarts: how often the backend was opened anew.
        too_old: frames that were dropped for their age.
    """

    restarts: int
    too_old: int

    def prepare(self, frame: Any, /) -> Any:
        """Bring a frame into the network's form."""
        ...

    def run(self, prepared: Any, /) -> Any:
        """The network."""
        ...

    def finish(self, networked: Any, /) -> Any:
        """Metres."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStats:
    """What became of a stream's frames so far.

    Args:
        read: frames that the source gave.
        results: that were handed out.
        dropped: given up for newer ones.
        too_old: given up for their age.
        tiles: that were encoded.
        tiles_of: tiles in all of those frames.
        windows: of the decoder that ran, in frames for which it didn't run whole.
        missed: reads of a camera that gave no frame.
        restarts: of the backend.
        reconnects: of the camera.
        cut_short: why a video ended before its end, or "".
    """

    read: int
    results: int
    dropped: int
    too_old: int
    tiles: int
    tiles_of: int
    windows: int
    missed: int
    restarts: int
    reconnects: int
    cut_short: str


class DepthStream:
    """An iterator over results, in the order of the frames; also a context manager.

    It ends with its source. An error ends it too, after the results before it. When it is left early, close() it, or
    use `with`: the source is freed then, and the model is idle.

    Args:
        source: of the frames.
        steps: what is done to each.
        options: how the stream behaves.

    Raises:
        OptionError: an age limit for a source whose frames don't tell when they were taken.
    """

    def __init__(self, source: FrameSource, steps: ThreeSteps, options: StreamOptions) -> None:
        if options.max_age_s is not None and not source.stamped:
            raise OptionError(
                f"max_age_s is of frames that tell when they were taken; those of {source.name} don't",
                remedy="leave max_age_s out",
            )
        self.source = source
        drop = options.drop or ("oldest" if source.live else "none")
        self._steps = steps
        self._results = self._tiles = self._tiles_of = self._windows = 0
        self._pipeline = Pipeline(
            source.frames(), [steps.prepare, steps.run, steps.finish], drop_oldest=drop == "oldest"
        )

    @property
    def stats(self) -> StreamStats:
        """So far."""
        return StreamStats(
            read=self._pipeline.taken,
            results=self._results,
            dropped=self._pipeline.dropped,
            too_old=self._steps.too_old,
            tiles=self._tiles,
            tiles_of=self._tiles_of,
            windows=self._windows,
            missed=self.source.facts.missed,
            restarts=self._steps.restarts,
            reconnects=self.source.facts.reconnects,
            cut_short=self.source.facts.cut_short,
        )

    def __iter__(self) -> Iterator[DepthResult]:
        return self

    def __next__(self) -> DepthResult:
        try:
            result: DepthResult = self._pipeline.take()
        except BaseException:  # Ctrl-C as well
            self.close()
            raise
        self._results += 1
        if self._results % _GIVEN_BACK_EVERY == 0:
            give_back()
        if result.encoded is not None:
            self._tiles += result.encoded.tiles
            self._tiles_of += result.encoded.of
            self._windows += result.encoded.windows
        return result

    def for_each(self, callback: Callable[[DepthResult], object]) -> StreamStats:
        """Call something with every result. What it raises closes the stream, and is raised here."""
        with self:
            for result in self:
                callback(result)
        return self.stats

    def close(self) -> None:
        """Stop: frames on their way are given up; waits some seconds for the network's last call. Twice is fine."""
        self._pipeline.stop()
        if not self._pipeline.join(_PATIENCE_S):
            log.warning("%s or the model is still busy, and is left to itself", self.source.name)

    def __enter__(self) -> DepthStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        """A stream that nobody holds any more stops reading its source."""
        with contextlib.suppress(AttributeError):  # __init__ refused
            self._pipeline.stop()
