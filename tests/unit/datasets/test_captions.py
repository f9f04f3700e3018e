"""Captions beside pictures, and rendered places that bring their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import DataSetError, OptionError, SampleError
from edgedepth.datasets.captions import open_captioned, read_captions
from edgedepth.datasets.places import PlacesSet
from edgedepth.training.scene_captions import scene_captions
from edgedepth.training.scenes import HELD_OUT_SEED, PLACES, SceneObject

from .miniatures import plain, write


def test_captions_one_a_line_and_lists_of_objects(tmp_path: Path) -> None:
    write(tmp_path / "desk.txt", "An office with two desks\n\n  A room \n")
    write(tmp_path / "desk.objects", "chair=2,desk\n")
    found = read_captions(tmp_path, "desk")
    assert found[:2] == ("An office with two desks", "  A room ")
    assert set(found[2:]) == {"An image with 2 chairs, desk.", "An image with desk, 2 chairs."}


@pytest.mark.parametrize(
    ("suffix", "content", "match"),
    [
        (".none", "a room", "has no captions"),
        (".txt", "\n \n", "nothing in them"),
        (".objects", "chair=-2", "can't be one"),
        (".objects", "chair=many", "can't be one"),
        (".objects", "=2", "can't be one"),
        (".txt", "word " * 10_000, "can't be one"),
    ],
)
def test_what_is_no_caption_is_the_sample_s_fault(suffix: str, content: str, match: str, tmp_path: Path) -> None:
    write(tmp_path / f"desk{suffix}", content)
    with pytest.raises(SampleError, match=match):
        read_captions(tmp_path, "desk")


def test_a_folder_with_captions(tmp_path: Path) -> None:
    mini = plain(tmp_path / "set")
    write(tmp_path / "words" / "desk.txt", "a desk")
    data_set = open_captioned(mini.folder, first_seed=0, captions=tmp_path / "words")
    assert data_set.captions_of("desk") == ("a desk",)
    assert data_set.samples.load("desk").depth_m.shape == mini.depth_m.shape


def test_what_has_no_captions_or_no_metres_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has no captions"):
        open_captioned("synthetic:4", first_seed=0)
    with pytest.raises(OptionError, match="captions and all"):
        open_captioned("places:4", first_seed=0, layout="plain")
    with pytest.raises(DataSetError, match="places:N needs a number"):
        open_captioned("places:x", first_seed=0)
    mini = plain(tmp_path)
    with pytest.raises(DataSetError, match="is no folder"):
        open_captioned(mini.folder, first_seed=0, captions=tmp_path / "nowhere")
    write(tmp_path / "intrinsics.json", '{"metric": false}')
    with pytest.raises(OptionError, match="up to a scale only"):
        open_captioned(mini.folder, first_seed=0)


class TestPlaces:
    def test_every_kind_of_place_in_turn(self) -> None:
        places = PlacesSet(7)
        assert places.sample_names[0] == f"room-{HELD_OUT_SEED}"
        assert [name.rpartition("-")[0] for name in places.sample_names] == [*PLACES, *PLACES[:2]]
        for name in ("room-5", f"street-{HELD_OUT_SEED}", f"room-{HELD_OUT_SEED + 10}", "room"):
            with pytest.raises(DataSetError, match="has no sample"):
                places.load(name)

    def test_scales_differ_by_place(self) -> None:
        places = PlacesSet(15)
        medians = {
            place: [self.median_m(places, name) for name in places.sample_names if place in name] for place in PLACES
        }
        median = {place: np.median(values) for place, values in medians.items()}
        assert median["table-top"] < 1.2 < median["room"] < 5 < median["street"]

    @staticmethod
    def median_m(places: PlacesSet, name: str) -> float:
        sample = places.load(name)
        return float(np.median(sample.depth_m[sample.valid]))

    def test_captions_name_the_place_and_what_is_in_view(self) -> None:
        objects = (SceneObject("chair", 2), SceneObject("lamp", 1))
        captions = scene_captions("room", objects, seed=3)
        assert captions == scene_captions("room", objects, seed=3)
        assert captions != scene_captions("room", objects, seed=4)
        assert len(captions) == 10
        assert all(caption.startswith("An image with ") for caption in captions[5:])
        assert any("two chairs" in caption for caption in captions)
        assert len(scene_captions("park", (), seed=0)) == 5  # nothing to list
