"""How a stream behaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgedepth.core.errors import OptionError

__all__ = ["FOV_FRAMES", "Drop", "StreamOptions"]

FOV_FRAMES = 5
"""Of how many first predictions a stream's field of view is the median, unless told otherwise."""

Drop = Literal["oldest", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The options of EdgeDepth.stream() that are about the stream and not about a frame.

    Raises:
        OptionError: a value that isn't allowed.
    """

    drop: Drop | None = None
    fov_frames: int = FOV_FRAMES
    max_age_s: float | None = None
    reconnect_s: float = 10.0
    restarts: int = 1
    skip: int = 0

    def __post_init__(self) -> None:
        """Refuse what isn't allowed."""
        if self.drop is not None and self.drop not in get_args(Drop):
            raise OptionError(f"drop is {self.drop!r}; allowed are 'oldest' and 'none'", remedy="or leave it out")
        for name in ("fov_frames", "restarts", "skip"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise OptionError(f"{name} is {value!r}; allowed are whole numbers from 0 on", remedy="or leave it out")
        for name in ("max_age_s", "reconnect_s"):
            value = getattr(self, name)
            if value is None and name == "max_age_s":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise OptionError(f"{name} is {value!r}; allowed are seconds from 0 on", remedy="or leave it out")
