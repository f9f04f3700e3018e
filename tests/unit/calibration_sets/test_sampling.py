"""Which frames are looked at, and which are taken."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.calibration.sampling import SAME_BELOW, choose_diverse, spread_numbers, thumbnail

from .pictures import Image, place


def rms(a: Image, b: Image) -> float:
    """The distance, written down once more."""
    return float(np.sqrt(np.mean((a.astype(float) / 255 - b.astype(float) / 255) ** 2)))


@given(total=st.integers(1, 5000), wanted=st.integers(1, 600), seed=st.integers(0, 2**40))
def test_one_frame_of_each_share(total: int, wanted: int, seed: int) -> None:
    numbers = spread_numbers(total, wanted, seed)
    assert len(numbers) == min(total, wanted)
    # Share k is [k * total / n, (k + 1) * total / n), its borders rounded down.
    for share, number in enumerate(numbers):
        assert share * total // len(numbers) <= number < (share + 1) * total // len(numbers)
    assert numbers == spread_numbers(total, wanted, seed)


def test_another_seed_draws_others() -> None:
    assert spread_numbers(1000, 50, 0) != spread_numbers(1000, 50, 1)


def brute_force(thumbnails: list[Image], count: int, first: int) -> list[int]:
    """Farthest-point sampling as its definition reads."""
    chosen = [first]
    while len(chosen) < count:
        far = [min(rms(candidate, thumbnails[i]) for i in chosen) for candidate in thumbnails]
        if max(far) < SAME_BELOW:
            break
        chosen.append(int(np.argmax(far)))
    return chosen


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(1, 14), count=st.integers(1, 16))
def test_it_is_farthest_point_sampling(seed: int, number: int, count: int) -> None:
    frames = [place(seed * 100 + i // 2) for i in range(number)]  # each comes twice
    thumbnails = [thumbnail(frame) for frame in frames]
    choice = choose_diverse(thumbnails, count, seed)
    assert list(choice.chosen) == brute_force(thumbnails, count, choice.chosen[0])
    alike = [
        i
        for i in range(number)
        if i not in choice.chosen and min(rms(thumbnails[i], thumbnails[j]) for j in choice.chosen) < SAME_BELOW
    ]
    assert list(choice.near_duplicates) == alike


def test_a_beginning_of_the_choice_is_the_choice_of_fewer() -> None:
    thumbnails = [thumbnail(place(seed)) for seed in range(20)]
    assert choose_diverse(thumbnails, 15, 3).chosen[:6] == choose_diverse(thumbnails, 6, 3).chosen


def test_nothing_to_choose_from() -> None:
    assert choose_diverse([], 4, 0).chosen == ()


def jpeg(image: Image, quality: int) -> Image:
    _, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("change", ["jpeg", "sensor noise", "one pixel", "a shade"])
def test_what_is_nearly_the_same_is_told(seed: int, change: str) -> None:
    frame = place(seed, (640, 480))
    changed = {
        "jpeg": lambda: jpeg(frame, 50),
        "sensor noise": lambda: np.clip(frame + np.random.default_rng(seed).normal(0, 8, frame.shape), 0, 255).astype(
            np.uint8
        ),
        "one pixel": lambda: np.roll(frame, 1, axis=1),
        "a shade": lambda: np.clip(frame.astype(int) + 3, 0, 255).astype(np.uint8),
    }[change]()
    assert not np.array_equal(frame, changed)
    assert choose_diverse([thumbnail(frame), thumbnail(changed)], 2, 0).near_duplicates


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("change", ["another place", "much darker", "turned"])
def test_what_differs_is_kept(seed: int, change: str) -> None:
    frame = place(seed)
    changed = {
        "another place": lambda: place(seed + 100),
        "much darker": lambda: frame // 3,
        "turned": lambda: np.ascontiguousarray(frame[:, ::-1]),
    }[change]()
    assert len(choose_diverse([thumbnail(frame), thumbnail(changed)], 2, 0).chosen) == 2
