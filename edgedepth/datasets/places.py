"""Rendered scenes of every kind of place, with captions: `places:N`, to fit and to measure RSA on."""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.core.errors import DataSetError
from edgedepth.datasets.base import Sample, make_sample
from edgedepth.training.scene_captions import scene_captions
from edgedepth.training.scenes import HELD_OUT_SEED, PLACES, render_scene, things_in_view

__all__ = ["FIT_SEED", "PlacesSet"]

FIT_SEED = 400_000
"""Scenes from this seed on are what heads are fitted to; rsa-mini's own training ends before them."""

_MAX_DEPTH_M = 80.0
_WIDTH, _HEIGHT = 512, 384


@dataclass(frozen=True, slots=True)
class PlacesSet:
    """Rooms, corridors, streets, parks and table-tops in turn, rendered when they are loaded.

    Args:
        count: how many.
        first_seed: of them: HELD_OUT_SEED to evaluate, FIT_SEED to fit.
    """

    count: int
    first_seed: int = HELD_OUT_SEED

    @property
    def name(self) -> str:
        """As of DataSet: "places:500"."""
        return f"places:{self.count}"

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
        """As of DataSet: "room-1000000", "corridor-1000001", ..."""
        return tuple(f"{PLACES[i % len(PLACES)]}-{self.first_seed + i}" for i in range(self.count))

    def load(self, sample_name: str) -> Sample:
        """As of DataSet."""
        place, seed = self._find(sample_name)
        scene = render_scene(seed, width=_WIDTH, height=_HEIGHT, place=place)
        return make_sample(
            sample_name, image=scene.image, depth_m=scene.depth_m, focal_px=scene.focal_px, mask=scene.object_mask
        )

    def captions(self, sample_name: str) -> tuple[str, ...]:
        """Five natural captions of a sample, then up to five structured ones.

        Raises:
            DataSetError: there is no sample of this name.
        """
        place, seed = self._find(sample_name)
        _, objects = things_in_view(seed, squash=_WIDTH / _HEIGHT, place=place)
        return scene_captions(place, objects, seed=seed)

    def _find(self, sample_name: str) -> tuple[str, int]:
        place, _, seed = sample_name.rpartition("-")
        index = int(seed) - self.first_seed if seed.isdecimal() else -1
        if not (0 <= index < self.count and place == PLACES[index % len(PLACES)]):
            raise DataSetError(
                f"{self.name} has no sample {sample_name!r}; its {self.count} samples begin with "
                f"'{PLACES[0]}-{self.first_seed}'",
                remedy="take a name from the set's sample_names",
            )
        return place, int(seed)
