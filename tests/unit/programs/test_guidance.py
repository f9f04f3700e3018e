"""What a caller may say of a picture's scale."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.errors import OptionError
from edgedepth.programs.guidance import NOTHING, caption_of, guidance_of, parse_detections


def test_the_published_template_in_words() -> None:
    assert caption_of([("chair", 17), ("shelf", 1)], style="words") == "An image with seventeen chairs, a shelf."
    assert (
        caption_of([("umbrella", 1), ("person", 21)], style="words") == "An image with an umbrella, twenty-one people."
    )
    assert caption_of([("bus", 105)], style="words") == "An image with one hundred and five buses."


def test_the_released_heads_style_is_digits() -> None:
    assert caption_of([("cup", 1), ("bottle", 3), ("chair", 1)]) == "An image with cup, 3 bottles, chair."
    assert guidance_of(detections=[("cup", 1), ("bottle", 3)]).captions == ("An image with cup, 3 bottles.",)


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("bench", "benches"),
        ("box", "boxes"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("shelf", "shelves"),
        ("wine glass", "wine glasses"),
        ("potted plant", "potted plants"),
        ("sheep", "sheep"),
        ("dining_table", "dining tables"),
    ],
)
def test_plurals(name: str, plural: str) -> None:
    assert caption_of([(name, 2)]) == f"An image with 2 {plural}."


def test_a_class_that_comes_twice_is_counted_together() -> None:
    assert caption_of([("chair", 1), ("desk", 1), ("chair", 1)]) == "An image with 2 chairs, desk."


@given(st.integers(0, 1000))
def test_a_seed_shuffles_and_loses_nothing(seed: int) -> None:
    detections = [(name, 1) for name in ("chair", "desk", "lamp", "shelf")]
    caption = caption_of(detections, seed=seed)
    assert caption == caption_of(detections, seed=seed)
    listed = caption.removeprefix("An image with ").removesuffix(".").split(", ")
    assert sorted(listed) == sorted(name for name, _ in detections)


@pytest.mark.parametrize(
    ("detections", "told"),
    [
        ("chair", "is a str"),
        ([], "is empty"),
        (["chair"], "pairs of class and count"),
        ([("chair", 2, 3)], "pairs of class and count"),
        ([(57, 1)], "class 57"),
        ([("", 1)], "class ''"),
        ([("!!", 1)], "names are allowed"),
        ([("chair", 0)], "counts are 1 and more"),
        ([("chair", -2)], "counts are 1 and more"),
        ([("chair", 1.5)], "counts are 1 and more"),
        ([("chair", True)], "counts are 1 and more"),
        ([("chair", 500), ("chair", 500)], "999 at most"),
    ],
)
def test_detections_that_are_none(detections: object, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        guidance_of(detections=detections)


def test_captions_one_or_several() -> None:
    assert guidance_of() == NOTHING
    assert guidance_of(caption="a room").captions == ("a room",)
    assert guidance_of(caption=["a room", "an office"]).captions == ("a room", "an office")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"caption": ""}, "empty"),
        ({"caption": []}, "0 captions"),
        ({"caption": ["room"] * 65}, "65 captions"),
        ({"caption": ["room", 3]}, "is a int"),
        ({"caption": 3}, "is a int"),
        ({"caption": "a", "detections": [("a", 1)]}, "caption and detections exclude each other"),
        ({"caption": "a", "scale_shift": (1, 1)}, "caption and scale_shift exclude each other"),
        ({"caption": "a", "kind": "relative_inverse"}, "caption would have no effect"),
        ({"kind": "depth"}, "kind is 'depth'"),
        ({"scale_shift": 3}, "two numbers"),
        ({"scale_shift": "12"}, "two numbers"),
        ({"scale_shift": (1, 2, 3)}, "two numbers"),
        ({"scale_shift": (0, 1)}, "has to be positive"),
        ({"scale_shift": (-1, 1)}, "has to be positive"),
        ({"scale_shift": (1, float("nan"))}, "finite"),
        ({"scale_shift": (float("inf"), 1)}, "finite"),
        ({"scale_shift": (True, 1)}, "finite numbers"),
    ],
)
def test_what_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        guidance_of(**given)
    assert caught.value.remedy


def test_detections_of_the_command_line() -> None:
    assert parse_detections("chair=2, desk,wine glass = 3") == [("chair", 2), ("desk", 1), ("wine glass", 3)]
    for wrong in ("chair=two", "chair=1.5", "chair="):
        with pytest.raises(OptionError, match="whole number"):
            parse_detections(wrong)
    with pytest.raises(OptionError, match="counts are 1 and more"):
        guidance_of(detections=parse_detections("chair=-2"))
