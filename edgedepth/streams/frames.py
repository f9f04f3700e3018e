"""A frame on its way, and what happened to its source."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SourceFacts", "TimedFrame"]


@dataclass(frozen=True, slots=True, eq=False)
class TimedFrame:
    """A frame and when it was taken.

    Args:
        index: counted from 0 by the source.
        time_s: of a video its own time, else seconds since 1970.
        image: the frame, see EdgeDepth.infer.
    """

    index: int
    time_s: float
    image: object


@dataclass(slots=True)
class SourceFacts:
    """What happened to a source so far; written by the thread that reads it.

    Args:
        reconnects: how often a camera was lost and came back.
        missed: reads of a camera that gave no frame.
        cut_short: why a video ended before its end, or "".
    """

    reconnects: int = 0
    missed: int = 0
    cut_short: str = ""
