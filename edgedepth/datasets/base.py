"""What a data set is to whoever measures on it: named samples, each a picture with its true depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import DataSetError, SampleError

__all__ = ["DataSet", "FrameSet", "Mask", "Sample", "make_sample", "unique_frames"]

Frame = TypeVar("Frame")

Mask = npt.NDArray[np.bool_]
"""(H, W) bool."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A picture and its true depth.

    Args:
        name: unique in its set: a relative path without suffix, or "seed-1000003".
        image: (H, W, 3) uint8, RGB.
        depth_m: (H, W) float32 in metres along the optical axis; finite everywhere, and > 0 where valid.
        valid: (H, W) bool: where the truth is known and the set's protocol counts it.
        focal_px: horizontal focal length in pixels of the picture; None where the set doesn't say.
        mask: (H, W) bool, the foreground whose outline is a depth edge; None where the set has none.
    """

    name: str
    image: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    valid: Mask
    focal_px: float | None
    mask: Mask | None = None


class DataSet(Protocol):
    """Samples that are loaded one by one, by name."""

    @property
    def name(self) -> str:
        """What tables call it: "nyuv2", "synthetic:500"."""
        ...

    @property
    def metric(self) -> bool:
        """Whether depths are metres. False: known up to a scale, so predictions have to be aligned first."""
        ...

    @property
    def max_depth_m(self) -> float | None:
        """The farthest depth that the set's protocol scores; predictions are cut to it. None: there is no limit."""
        ...

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names of all samples, in the set's own order, without a duplicate. Cheap: nothing is decoded."""
        ...

    def load(self, sample_name: str) -> Sample:
        """Read one sample.

        Raises:
            SampleError: this sample can't be used. The others may be: the caller counts and names the skip.
            DataSetError: there is no sample of this name.
            MissingExtraError: a package that reads its files isn't installed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet(Generic[Frame]):
    """A data set of files: each name stands for what a reader needs to find its sample.

    Args:
        name: as of DataSet.
        frames: what `read` needs, by sample name.
        read: makes the sample of a name and its frame; raises SampleError.
        metric: as of DataSet.
        max_depth_m: as of DataSet.
    """

    name: str
    frames: Mapping[str, Frame]
    read: Callable[[str, Frame], Sample]
    metric: bool = True
    max_depth_m: float | None = None

    @property
    def sample_names(self) -> tuple[str, ...]:
        """As of DataSet."""
        return tuple(self.frames)

    def load(self, sample_name: str) -> Sample:
        """As of DataSet."""
        if sample_name not in self.frames:
            raise DataSetError(
                f"{self.name} has no sample {sample_name!r}; its {len(self.frames)} samples begin with "
                f"{next(iter(self.frames))!r}",
                remedy="take a name from the set's sample_names",
            )
        return self.read(sample_name, self.frames[sample_name])


def unique_frames(found: Iterable[tuple[str, Frame]], *, source: str, expected: str) -> dict[str, Frame]:
    """Frames by name, in the order in which they were found.

    Args:
        found: names and frames.
        source: the folder or the list that they come from, for messages.
        expected: what was looked for, for messages.

    Raises:
        DataSetError: a name comes twice, or nothing was found.
    """
    frames: dict[str, Frame] = {}
    for name, frame in found:
        if name in frames:
            raise DataSetError(
                f"{source} has {name!r} twice; names have to be unique", remedy="take one of the two out of the set"
            )
        frames[name] = frame
    if not frames:
        raise DataSetError(
            f"{source} holds no samples; looked for were {expected}",
            remedy="check the folder against docs/how-to/data-sets.md",
        )
    return frames


def make_sample(
    name: str,
    *,
    image: npt.NDArray[np.uint8],
    depth_m: npt.NDArray[np.floating[Any]],
    focal_px: float | None,
    counted: Mask | None = None,
    mask: Mask | None = None,
) -> Sample:
    """Check what was read and make a sample of it.

    Depth that is NaN, infinite, zero or negative is unknown: it becomes 0 and is not valid.

    Args:
        name: of the sample.
        image: (H, W, 3) uint8, RGB.
        depth_m: (H, W), metres, of any floating dtype.
        focal_px: horizontal, in pixels of the picture, or None.
        counted: (H, W) bool, the pixels that the set's protocol or its own mask counts; None: all.
        mask: (H, W) bool, foreground, or None.

    Raises:
        SampleError: sizes differ, no pixel is valid, or the focal length is none.
    """
    for what, values in (("depth map", depth_m), ("mask of counted pixels", counted), ("mask", mask)):
        if values is not None and values.shape != image.shape[:2]:
            raise SampleError(
                f"{name}: the picture is {_size(image)} pixels and the {what} {_size(values)}; they have to be equal",
                remedy="resample the depth map to the picture, by nearest neighbour, or take the sample out",
            )
    if focal_px is not None and not (math.isfinite(focal_px) and focal_px > 0):
        raise SampleError(
            f"{name}: the focal length is {focal_px}; allowed are finite pixels above 0",
            remedy="mend the set's calibration file",
        )
    with np.errstate(over="ignore"):  # a depth beyond float32 becomes infinite: unknown
        depth = depth_m.astype(np.float32)
    known = np.isfinite(depth) & (depth > 0)
    valid = known if counted is None else known & counted
    if not valid.any():
        raise SampleError(
            f"{name}: no pixel has a valid depth ({np.count_nonzero(known)} of {known.size} are finite and above 0)",
            remedy="check the depth file, or take the sample out",
        )
    return Sample(
        name=name,
        image=image,
        depth_m=np.where(known, depth, np.float32(0)),
        valid=valid,
        focal_px=None if focal_px is None else float(focal_px),
        mask=mask,
    )


def _size(values: npt.NDArray[Any]) -> str:
    return f"{values.shape[1]} x {values.shape[0]}"
