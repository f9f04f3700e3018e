"""Rendered scenes as a data set: `synthetic:N`, which were never trained on."""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.core.errors import DataSetError
from edgedepth.datasets.base import Sample, make_sample
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene

__all__ = ["SyntheticSet"]

_PREFIX = "seed-"

_MAX_DEPTH_M = 80.0
"""KITTI's limit: beyond it there are hills and the ends of streets, at depths that nobody acts upon."""


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """Scenes from a seed on, rendered when they are loaded.

    Args:
        count: how many.
        first_seed: of them: HELD_OUT_SEED to evaluate, CALIBRATION_SEED to calibrate.
    """

    count: int
    first_seed: int = HELD_OUT_SEED

    @property
    def name(self) -> str:
        """As of DataSet: "synthetic:500"."""
        return f"synthetic:{self.count}"

    @property
    def metric(self) -> bool:
        """As of DataSet."""
        return True

    @property
    def max_depth_m(self) -> float:
        """As of DataSet: 80 m."""
        return _MAX_DEPTH_M

    @property
    def sample_names(self) -> tuple[str, ...]:
        """As of DataSet: "seed-1000000", ..."""
        return tuple(f"{_PREFIX}{self.first_seed + index}" for index in range(self.count))

    def load(self, sample_name: str) -> Sample:
        """As of DataSet."""
        seed = sample_name.removeprefix(_PREFIX)
        index = int(seed) - self.first_seed if seed.isdecimal() and seed != sample_name else -1
        if not 0 <= index < self.count:
            raise DataSetError(
                f"{self.name} has no sample {sample_name!r}; its {self.count} samples begin with "
                f"'{_PREFIX}{self.first_seed}'",
                remedy="take a name from the set's sample_names",
            )
        scene = render_scene(int(seed))
        return make_sample(
            sample_name,
            image=scene.image,
            depth_m=scene.depth_m,
            focal_px=scene.focal_px,
            mask=scene.object_mask,
        )
