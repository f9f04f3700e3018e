"""Table-tops: small, near, and asked for; what other seeds render stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from edgedepth.core.errors import TrainingError
from edgedepth.training.scene_cache import CacheSettings, build_scene_cache, squash_of
from edgedepth.training.scenes import PLACES, render_scene, things_in_view


def test_things_are_at_arm_s_length() -> None:
    medians = []
    for seed in range(12):
        scene = render_scene(seed, width=48, height=36, place="table-top")
        assert scene.place == "table-top"
        medians.append(np.median(scene.depth_m))
        assert scene.depth_m.min() > 0.05
    assert 0.3 < np.median(medians) < 1.2


def test_what_is_in_view_is_told_without_a_picture() -> None:
    for place in (None, "table-top", "street"):
        scene = render_scene(7, width=96, height=96, squash=4 / 3, place=place)
        assert things_in_view(7, squash=4 / 3, place=place, side=96) == (scene.place, scene.objects)
    assert render_scene(7, width=48, height=36).place in PLACES[:4]


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"place is 'moon'; allowed are room, .*table-top"):
        render_scene(0, place="moon")


def test_a_cache_of_one_place(tmp_path: object) -> None:
    settings = CacheSettings(first_seed=3, count=2, side=32, place="table-top")
    cache = build_scene_cache(tmp_path / "tops", settings)  # type: ignore[operator]
    expected = render_scene(4, width=32, height=32, squash=squash_of(4), place="table-top")
    np.testing.assert_array_equal(cache.images[1], expected.image)
    with pytest.raises(TrainingError, match="holds other scenes"):
        build_scene_cache(tmp_path / "tops", CacheSettings(first_seed=3, count=2, side=32))  # type: ignore[operator]
