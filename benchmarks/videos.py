"""Synthetic videos with ground truth: what moves, and what its depth is, is known to the pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgedepth.training.scenes import HELD_OUT_SEED, render_scene

__all__ = ["VIDEOS", "VideoFrame"]

_SEED = HELD_OUT_SEED + 7
_MOVER_M = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """A frame: (H, W, 3) uint8 RGB, (H, W) metres (inf: sky), and where nothing moves in the whole video."""

    image: np.ndarray
    depth_m: np.ndarray
    static: np.ndarray
    focal_px: float


def mover(count: int, width: int, height: int) -> Iterator[VideoFrame]:
    """A camera that stands still, and a small thing at 1.5 m that moves across a part of the picture."""
    scene = render_scene(_SEED, width=width, height=height)
    side = max(8, height // 24)
    texture = np.random.default_rng(1).integers(0, 255, (side, side, 3), np.uint8)
    top = height // 2
    lefts = [width // 8 + (2 * number) % (width // 8) for number in range(count)]
    static = np.ones((height, width), bool)
    static[top : top + side, min(lefts) : max(lefts) + side] = False
    for left in lefts:
        image, depth = scene.image.copy(), scene.depth_m.copy()
        image[top : top + side, left : left + side] = texture
        depth[top : top + side, left : left + side] = _MOVER_M
        yield VideoFrame(image, depth, static, scene.focal_px)


def noise(count: int, width: int, height: int) -> Iterator[VideoFrame]:
    """The same with sensor noise of 2 in 255."""
    rng = np.random.default_rng(2)
    for frame in mover(count, width, height):
        noisy = np.rint(np.clip(frame.image + rng.normal(0, 2, frame.image.shape), 0, 255)).astype(np.uint8)
        yield VideoFrame(noisy, frame.depth_m, frame.static, frame.focal_px)


def pan(count: int, width: int, height: int) -> Iterator[VideoFrame]:
    """A camera that turns slowly: the picture shifts by a pixel a frame."""
    scene = render_scene(_SEED, width=width + count, height=height)
    nothing = np.zeros((height, width), bool)
    for left in range(count):
        columns = slice(left, left + width)
        yield VideoFrame(scene.image[:, columns], scene.depth_m[:, columns], nothing, scene.focal_px)


def scene_cut(count: int, width: int, height: int) -> Iterator[VideoFrame]:
    """Two scenes, one after the other."""
    for number in range(count):
        scene = render_scene(_SEED + (number >= count // 2), width=width, height=height)
        yield VideoFrame(scene.image, scene.depth_m, np.zeros((height, width), bool), scene.focal_px)


VIDEOS: dict[str, Callable[[int, int, int], Iterator[VideoFrame]]] = {
    "static camera, small mover": mover,
    "the same with sensor noise": noise,
    "slow pan": pan,
    "cut": scene_cut,
}
