"""Training pictures and their truth, cut from scenes on disk or on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedepth.training.cuts import Colours, Cuts, choose_tiles, choose_views
from edgedepth.training.scene_cache import CacheSettings, SceneCache

__all__ = ["AnyScenes", "Batch", "DeviceScenes", "joined", "plain_views", "tile_batch", "view_batch"]


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

    def copy_(self, other: Batch) -> None:
        """Take another batch's values, in place."""
        self.image.copy_(other.image)
        self.inverse_depth.copy_(other.inverse_depth)
        self.fov_deg.copy_(other.fov_deg)


class DeviceScenes:
    """A scene cache held on a device, where batches are cut without the processor's help.

    A small model on a GPU learns faster than processor cores can cut its pictures.

    Args:
        cache: whose rendered scenes are copied.
        device: where to.

    Attributes:
        rendered: indices of the scenes that are there; more after `refresh`.
    """

    def __init__(self, cache: SceneCache, device: torch.device) -> None:
        self.settings: CacheSettings = cache.settings
        self.rendered: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._cache = cache
        self._images = torch.empty(cache.images.shape, dtype=torch.uint8, device=device)
        self._inverse_depth = torch.empty(cache.inverse_depth.shape, dtype=torch.float16, device=device)
        self.refresh()

    @property
    def focal_over_width(self) -> npt.NDArray[np.float32]:
        """(N,) of all scenes."""
        return self._cache.focal_over_width

    def refresh(self) -> None:
        """Copy what was rendered since."""
        there = self._cache.rendered
        for index in np.setdiff1d(there, self.rendered, assume_unique=True):
            self._images[index] = torch.from_numpy(np.array(self._cache.images[index]))
            self._inverse_depth[index] = torch.from_numpy(np.array(self._cache.inverse_depth[index]))
        self.rendered = there

    @staticmethod
    def bytes_of(settings: CacheSettings) -> int:
        """What a cache takes on a device: 3 bytes of picture and 2 of inverse depth a pixel."""
        return settings.count * settings.side**2 * (3 + 2)

    @torch.no_grad()
    def cut(self, cuts: Cuts, side: int) -> Batch:
        """The windows as pictures of side x side pixels: as `tile_batch` and `view_batch` cut them from disk."""
        device = self._images.device
        index, top, left, kept, flipped = (
            _sent(part, device)[:, None] for part in (cuts.index, cuts.top, cuts.left, cuts.kept, cuts.flipped)
        )
        pixel = torch.arange(side, device=device)[None].expand(len(kept), -1)
        rows = _Taps.at(pixel, side, kept, top)
        columns = _Taps.at(torch.where(flipped, pixel.flip(1), pixel), side, kept, left)
        scene = index[:, :, None]
        upper, lower = (
            torch.lerp(
                self._images[scene, row[:, :, None], columns.first[:, None]].float(),
                self._images[scene, row[:, :, None], columns.second[:, None]].float(),
                columns.share[:, None, :, None],
            )
            for row in (rows.first, rows.second)
        )
        image = torch.lerp(upper, lower, rows.share[:, :, None, None]).div_(255)
        if cuts.colours is not None:
            image = _recoloured(image, cuts.colours)
        inverse_depth = self._inverse_depth[scene, rows.nearest[:, :, None], columns.nearest[:, None]].float()
        if cuts.focal_over_width is not None:
            inverse_depth *= _sent(cuts.focal_over_width, device)[:, None, None]
        return Batch(
            image=image.permute(0, 3, 1, 2).mul(2).sub_(1).contiguous(),
            inverse_depth=inverse_depth[:, None],
            fov_deg=_sent(cuts.fov_deg, device),
        )


AnyScenes: TypeAlias = SceneCache | DeviceScenes


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
    return _stacked(images, maps, np.array(fovs, np.float32))


def view_batch(scenes: AnyScenes, random: np.random.Generator, count: int, side: int, *, varied: bool = True) -> Batch:
    """Whole views of side x side pixels: see `choose_views`."""
    return _cut(scenes, choose_views(scenes, random, count, varied=varied), side)


def tile_batch(scenes: AnyScenes, random: np.random.Generator, count: int, tile: int) -> Batch:
    """Tiles of tile x tile pixels: see `choose_tiles`."""
    return _cut(scenes, choose_tiles(scenes, random, count, tile), tile)


def _cut(scenes: AnyScenes, cuts: Cuts, side: int) -> Batch:
    if isinstance(scenes, DeviceScenes):
        return scenes.cut(cuts, side)
    images, maps = [], []
    for number, index in enumerate(cuts.index):
        top, left, kept = (int(part[number]) for part in (cuts.top, cuts.left, cuts.kept))
        window = slice(top, top + kept), slice(left, left + kept)
        image = _resized(scenes.images[index][window], side)
        inverse_depth = _resized_map(scenes.inverse_depth[index][window], side)
        if cuts.focal_over_width is not None:
            inverse_depth *= cuts.focal_over_width[number]
        if cuts.flipped[number]:
            image, inverse_depth = image[:, ::-1], inverse_depth[:, ::-1]
        if cuts.colours is not None:
            image = _recoloured_bytes(image, cuts.colours, number)
        images.append(image)
        maps.append(inverse_depth)
    return _stacked(images, maps, cuts.fov_deg)


def _stacked(
    images: list[npt.NDArray[np.uint8]], maps: list[npt.NDArray[np.float32]], fov_deg: npt.NDArray[np.float32]
) -> Batch:
    image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))
    return Batch(
        image=image.mul_(2 / 255).sub_(1),
        inverse_depth=torch.from_numpy(np.stack(maps)[:, None]),
        fov_deg=torch.from_numpy(fov_deg),
    )


def _resized(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    # Bilinear as the model's own pyramid, which doesn't antialias either.
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _resized_map(inverse_depth: npt.NDArray[np.float16], side: int) -> npt.NDArray[np.float32]:
    # Nearest: a depth between two objects is nobody's. Exact: the other one is half a pixel off the picture.
    whole = np.ascontiguousarray(inverse_depth, np.float32)
    return np.asarray(cv2.resize(whole, (side, side), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _recoloured_bytes(image: npt.NDArray[np.uint8], colours: Colours, number: int) -> npt.NDArray[np.uint8]:
    """Gain a channel, contrast curve and saturation, as tables and a matrix on bytes: the batches' main cost."""
    levels = np.clip(np.linspace(0, 1, 256)[:, None] * colours.gain[number], 0, 1) ** colours.curve[number]
    table = np.round(levels * 255).astype(np.uint8)[None]
    saturation = float(colours.saturation[number])
    mixing = saturation * np.eye(3) + (1 - saturation) / 3
    curved = cv2.LUT(np.ascontiguousarray(image), table)
    return np.asarray(cv2.transform(curved, mixing), np.uint8)


def _recoloured(image: Tensor, colours: Colours) -> Tensor:
    """The same of (N, S, S, 3) in 0..1."""
    gain, curve, saturation = (
        _sent(part, image.device).reshape(len(part), 1, 1, -1)
        for part in (colours.gain, colours.curve, colours.saturation)
    )
    curved = image.mul(gain).clamp_(0, 1).pow_(curve)
    return torch.lerp(curved.mean(-1, keepdim=True), curved, saturation).clamp_(0, 1)


def _sent(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A small array on a device; from pinned memory, so that a GPU's queue isn't waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """Between which rows (or columns) of a scene pixels lie, and how far; (N, S) each."""

    first: Tensor
    second: Tensor
    share: Tensor
    nearest: Tensor

    @staticmethod
    def at(pixel: Tensor, side: int, kept: Tensor, start: Tensor) -> _Taps:
        """Where pixels 0..side-1 of a window lie, which repeats its border. All of it int64, (N, S) and (N, 1)."""
        place = ((pixel + 0.5) * kept / side - 0.5).clamp(min=0).minimum(kept - 1.0)
        first = place.floor().long()
        return _Taps(
            first=start + first,
            second=start + torch.minimum(first + 1, kept - 1),
            share=place - first,
            nearest=start + (2 * pixel + 1) * kept // (2 * side),
        )
