"""The focal length from EXIF tags. Literals are worked out by hand: the 35 mm frame's diagonal is 43.26661531 mm."""

from __future__ import annotations

import pytest

from edgedepth.exif import focal_from_exif, focal_px_from_35mm

FOCAL, PIXEL_X, PIXEL_Y, ZOOM, F35 = 0x920A, 0xA002, 0xA003, 0xA404, 0xA405


@pytest.mark.parametrize(
    ("focal_35mm", "size", "focal_px"),
    [
        (36, (3600, 2400), 3600.0),  # the film's own shape: 36 mm is as wide as the film
        (35, (3000, 2000), 2916.666667),  # 3000 / 36 = 83.3333 px a mm
        (35, (2000, 3000), 2916.666667),  # a diagonal knows no portrait
        (35, (3264, 2448), 3300.466168),  # 4:3: diagonal 4080; 35 * 4080 / 43.26661531
        (26, (4032, 3024), 3028.663071),  # diagonal 5040
    ],
)
def test_the_diagonal_rule(focal_35mm: float, size: tuple[int, int], focal_px: float) -> None:
    assert focal_px_from_35mm(focal_35mm, *size) == pytest.approx(focal_px, abs=1e-6)


def test_the_source_is_told() -> None:
    focal = focal_from_exif({F35: 35}, width=3000, height=2000, turned=False)
    assert focal.focal_px == pytest.approx(2916.666667, abs=1e-6)
    assert focal.source == "EXIF FocalLengthIn35mmFilm = 35 mm"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, "no EXIF data"),
        ({ZOOM: 1.0}, "no FocalLengthIn35mmFilm"),
        ({FOCAL: 4.15}, "EXIF has FocalLength = 4.15 mm, but no FocalLengthIn35mmFilm"),
        ({FOCAL: b"junk"}, "no FocalLengthIn35mmFilm"),
        ({FOCAL: 4.15, F35: 0}, "0, which means unknown"),
        ({F35: 0.5}, "0.5, which is no focal length"),
        ({F35: 65535}, "65535, which is no focal length"),
        ({F35: -35}, "-35, which is no focal length"),
        ({F35: float("nan")}, "nan, which is no focal length"),
        ({F35: "35"}, "'35', which is no focal length"),
        ({F35: (35, 35)}, "(35, 35), which is no focal length"),
        ({F35: b"\x00" * 1000}, "which is no focal length"),
    ],
)
def test_no_focal_length_has_its_reason(tags: dict[int, object], reason: str) -> None:
    focal = focal_from_exif(tags, width=4000, height=3000, turned=False)
    assert focal.focal_px is None
    assert reason in focal.source
    assert len(focal.source) < 150


@pytest.mark.parametrize(
    ("taken", "shown", "turned", "cropped"),
    [
        ((4000, 3000), (4000, 3000), False, False),
        ((4000, 3000), (1000, 750), False, False),  # resized
        ((4000, 3000), (8000, 6000), False, False),
        ((4000, 3000), (133, 100), False, False),  # 133.33 rounded
        ((4608, 3456), (21, 15), False, False),  # 20 x 15, a pixel of rounding
        ((4000, 3000), (4000, 2250), False, True),  # 16:9 cut out of 4:3
        ((4000, 3000), (3000, 3000), False, True),  # square
        ((4000, 3000), (2250, 3000), False, True),  # portrait cut out of landscape
        ((4000, 3000), (4000, 2900), False, True),
        ((4000, 3000), (3000, 4000), True, False),  # turned, dimensions as stored
        ((3000, 4000), (3000, 4000), True, False),  # turned, dimensions as shown
        ((4000, 3000), (3000, 3000), True, True),
        ((0, 0), (4000, 2250), False, False),  # unknown
        ((None, None), (4000, 2250), False, False),
        ((4000, b"x"), (4000, 2250), False, False),
    ],
)
def test_a_crop_voids_the_focal_length(
    taken: tuple[object, object], shown: tuple[int, int], turned: bool, cropped: bool
) -> None:
    tags = {F35: 35, PIXEL_X: taken[0], PIXEL_Y: taken[1]}
    focal = focal_from_exif(tags, width=shown[0], height=shown[1], turned=turned)
    assert (focal.focal_px is None) == cropped
    assert ("cropped" in focal.source) == cropped


@pytest.mark.parametrize(("zoom", "told"), [(0, False), (1, False), (1.97, True), ("x", False)])
def test_digital_zoom_is_told(zoom: object, told: bool) -> None:
    focal = focal_from_exif({F35: 57, ZOOM: zoom}, width=3264, height=2448, turned=False)
    assert focal.focal_px == pytest.approx(5375.044901, abs=1e-6)  # 57 * 4080 / 43.26661531
    assert ("zoom 1.97" in focal.source) == told


def test_a_picture_of_another_size_says_that_it_trusts_a_resize() -> None:
    tags = {0xA405: 35, 0xA002: 4000, 0xA003: 3000}
    resized = focal_from_exif(tags, width=2000, height=1500, turned=False)
    assert resized.source.endswith("(taken at 4000 x 3000: right only if it was resized since, and nothing cut off)")
    assert "taken at" not in focal_from_exif(tags, width=4000, height=3000, turned=False).source
    assert "taken at" not in focal_from_exif(tags, width=3000, height=4000, turned=True).source
