"""Training pictures and their truth, cut from a scene cache and varied: zoom, flip, colour.

Every batch is drawn from its own generator, so that a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedepth.training.scene_cache import SceneCache

__all__ = ["Batch", "joined", "plain_views", "tile_batch", "view_batch"]

_LEAST_FOV_DEG = 28.0
_LEAST_ZOOM = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """N training pictures.

    Args:
        image: (N, 3, S, S) float32 RGB in -1..1.
        inverse_depth: (N, 1, S, S) float32: canonical, in 1/m, of whole views; in 1/m of tiles. 0 in the sky.
        fov_deg: (N,) float32, horizontal, of the view.
    """

    image: Tensor
    inverse_depth: Tensor
    fov_deg: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(
            image=self.image.to(device),
            inverse_depth=self.inverse_depth.to(device),
            fov_deg=self.fov_deg.to(device),
        )


def joined(first: Batch, second: Batch) -> Batch:
    """The pictures of both."""
    return Batch(
        image=torch.cat((first.image, second.image)),
        inverse_depth=torch.cat((first.inverse_depth, second.inverse_depth)),
        fov_deg=torch.cat((first.fov_deg, second.fov_deg)),
    )


def plain_views(cache: SceneCache, indices: npt.NDArray[np.int64], side: int) -> Batch:
    """Whole views of chosen scenes as they are, side x side pixels, with inverse depth in 1/m (not canonical)."""
    images = [_resized(cache.images[index], side) for index in indices]
    maps = [_resized_map(cache.inverse_depth[index], side) for index in indices]
    fovs = [2 * np.degrees(np.arctan(0.5 / float(cache.focal_over_width[index]))) for index in indices]
    return _finished(images, maps, fovs, None)


def view_batch(cache: SceneCache, random: np.random.Generator, count: int, side: int, *, varied: bool = True) -> Batch:
    """Whole views, zoomed about their centre, which narrows the field of view by a known amount.

    Args:
        cache: of scenes.
        random: of this batch.
        count: N.
        side: S in pixels.
        varied: False takes scenes in order, unzoomed and unflipped, for validation.
    """
    rendered = cache.rendered
    indices = random.choice(rendered, count) if varied else rendered[:count]
    images, maps, fovs = [], [], []
    for index in indices:
        focal = float(cache.focal_over_width[index])
        zoom = 1.0
        if varied:
            widest = 0.5 / np.tan(np.radians(_LEAST_FOV_DEG) / 2)
            zoom = random.uniform(min(1.0, max(_LEAST_ZOOM, focal / widest)), 1.0)
        kept = round(cache.settings.side * zoom)
        start = (cache.settings.side - kept) // 2
        window = slice(start, start + kept)
        focal = focal * cache.settings.side / kept
        images.append(_resized(cache.images[index, window, window], side))
        maps.append(_resized_map(cache.inverse_depth[index, window, window], side) * np.float32(focal))
        fovs.append(2 * np.degrees(np.arctan(0.5 / focal)))
    return _finished(images, maps, fovs, random if varied else None)


def tile_batch(cache: SceneCache, random: np.random.Generator, count: int, tile: int) -> Batch:
    """Tiles as the patch encoder sees them: cut anywhere out of views at full and at half scale.

    Args:
        cache: of scenes, whose side is the model's input size.
        random: of this batch.
        count: N.
        tile: S in pixels.
    """
    images, maps = [], []
    for index in random.choice(cache.rendered, count):
        kept = tile * int(random.choice((1, 2)))
        top, left = random.integers(0, cache.settings.side - kept + 1, 2)
        window = slice(top, top + kept), slice(left, left + kept)
        images.append(_resized(cache.images[index][window], tile))
        maps.append(_resized_map(cache.inverse_depth[index][window], tile))
    return _finished(images, maps, [0.0] * count, random)


def _resized(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    # Bilinear as the model's own pyramid, which doesn't antialias either.
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _resized_map(inverse_depth: npt.NDArray[np.float16], side: int) -> npt.NDArray[np.float32]:
    # Nearest: a depth between two objects is nobody's. Exact: the other one is half a pixel off the picture.
    whole = np.ascontiguousarray(inverse_depth, np.float32)
    return np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _finished(
    images: list[npt.NDArray[np.uint8]],
    maps: list[npt.NDArray[np.float32]],
    fovs: list[float],
    random: np.random.Generator | None,
) -> Batch:
    if random is not None:
        flipped = random.random(len(images)) < 0.5
        images = [image[:, ::-1] if flip else image for image, flip in zip(images, flipped, strict=True)]
        maps = [map_[:, ::-1] if flip else map_ for map_, flip in zip(maps, flipped, strict=True)]
        images = [_recolored(image, random) for image in images]
    image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))
    return Batch(
        image=image.mul_(2 / 255).sub_(1),
        inverse_depth=torch.from_numpy(np.stack(maps)[:, None]),
        fov_deg=torch.tensor(fovs, dtype=torch.float32),
    )


def _recolored(image: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Gain a channel, contrast curve and saturation, as tables and a matrix on bytes: the batches' main cost."""
    gain = random.uniform(0.8, 1.2) * random.uniform(0.92, 1.08, 3)
    curve = random.uniform(0.75, 1.35)
    levels = np.clip(np.linspace(0, 1, 256)[:, None] * gain, 0, 1) ** curve
    table = np.round(levels * 255).astype(np.uint8)[None]
    saturation = random.uniform(0.3, 1.3)
    mixing = saturation * np.eye(3) + (1 - saturation) / 3
    curved = cv2.LUT(np.ascontiguousarray(image), table)
    return np.asarray(cv2.transform(curved, mixing), np.uint8)
