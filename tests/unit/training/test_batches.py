"""Batches cut from a scene cache: what zoom, flip and colour change, and what they don't."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from edgedepth.training.batches import AnyScenes, Batch, DeviceScenes, tile_batch, view_batch
from edgedepth.training.cuts import Cuts, choose_tiles, choose_views
from edgedepth.training.mini_tasks import ViewsAndTiles
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache

from .ray_truth import nearest, rays, stage

SIDE = 64


def focal_of(fov_deg: float) -> float:
    """In widths of the picture."""
    return 0.5 / math.tan(math.radians(fov_deg) / 2)


def cache_of(fovs_deg: list[float], side: int = SIDE) -> SceneCache:
    """Pictures that brighten to the right, whose inverse depth is 1 + their number + column / 1024."""
    n = len(fovs_deg)
    ramp = np.linspace(40, 200, side)
    image = np.broadcast_to(ramp.astype(np.uint8)[None, None, :, None], (n, side, side, 3))
    inverse = 1.0 + np.arange(n)[:, None, None] + np.broadcast_to(np.arange(side) / 1024, (n, side, side))
    return SceneCache(
        settings=CacheSettings(first_seed=0, count=n, side=side),
        images=np.ascontiguousarray(image),
        inverse_depth=inverse.astype(np.float16),
        focal_over_width=np.array([focal_of(fov) if fov else 0.0 for fov in fovs_deg], np.float32),
    )


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def metric(batch: Batch) -> npt.NDArray[np.float64]:
    """(N, S, S) inverse depth in 1/m of whole views, from their canonical one."""
    focal = np.array([focal_of(float(fov)) for fov in batch.fov_deg])
    return batch.inverse_depth[:, 0].numpy() / focal[:, None, None]


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("image", "inverse_depth", "fov_deg"))


# --- whole views


def test_unvaried_views_are_the_cache_s_first() -> None:
    cache = cache_of([50, 0, 70, 90])
    batch = view_batch(cache, drawn(0), 2, SIDE, varied=False)
    assert batch.image.shape == (2, 3, SIDE, SIDE)
    assert batch.inverse_depth.shape == (2, 1, SIDE, SIDE)
    assert batch.image.dtype == batch.inverse_depth.dtype == batch.fov_deg.dtype == torch.float32
    # The second scene is not rendered yet.
    assert batch.fov_deg.tolist() == pytest.approx([50, 70], rel=1e-6)  # float32
    for place, index in enumerate((0, 2)):
        expected = cache.images[index].astype(np.float64).transpose(2, 0, 1) / 127.5 - 1
        np.testing.assert_allclose(batch.image[place], expected, atol=1e-6)  # float32
        np.testing.assert_allclose(metric(batch)[place], cache.inverse_depth[index], rtol=1e-6)


def test_depth_edges_lie_on_the_picture_s() -> None:
    """Where the picture crosses half its step is where depth jumps, and not half a pixel beside it."""
    side, edge = 128, 50
    cache = cache_of([60], side)
    cache.images[:] = np.where(np.arange(side) < edge, 0, 200)[None, None, :, None]
    cache.inverse_depth[:] = np.where(np.arange(side) < edge, 1.0, 2.0)[None, None, :]
    offsets = []
    for seed in range(30):
        batch = view_batch(cache, drawn(seed), 8, side)
        rows = batch.image[:, 1, side // 2].numpy() + 1
        jumps = np.diff(metric(batch)[:, side // 2], axis=1)
        for row, jump in zip(rows, jumps, strict=True):
            if not row.any():
                continue  # zoomed past the edge
            step = row / row.max()
            mirrored = step[0] > step[-1]
            steps = 1 - step if mirrored else step
            crossing = np.interp(0.5, steps, np.arange(side) + 0.5)
            depth_edge = float(np.argmax(np.abs(jump))) + 1.0
            offsets.append((depth_edge - crossing) * (-1 if mirrored else 1))
    assert len(offsets) > 100
    # Nearest neighbours scatter by half a pixel around the truth; their mean is on it.
    assert abs(float(np.mean(offsets))) < 0.15


def test_only_rendered_scenes_are_drawn() -> None:
    batch = view_batch(cache_of([0, 60, 0, 60, 0]), drawn(1), 40, 16)
    numbers = np.floor(metric(batch).mean((1, 2))).astype(int) - 1
    assert set(numbers) == {1, 3}


@pytest.mark.parametrize(("fov_deg", "narrowest_zoom"), [(95, 0.6), (60, 0.6), (35, None), (30, None), (28, 1.0)])
def test_zoom_narrows_the_field_of_view_by_the_share_of_the_picture_that_is_kept(
    fov_deg: float, narrowest_zoom: float | None
) -> None:
    """tan(fov'/2) = zoom tan(fov/2), for a zoom of whole pixels that never leaves less than 28 degrees."""
    batch = view_batch(cache_of([fov_deg]), drawn(2), 200, SIDE)
    tangents = np.tan(np.radians(batch.fov_deg.double().numpy()) / 2)
    kept = tangents / math.tan(math.radians(fov_deg) / 2) * SIDE
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-3)  # float32 degrees
    least = narrowest_zoom or math.tan(math.radians(14)) / math.tan(math.radians(fov_deg / 2))
    assert round(least * SIDE) == round(kept.min())
    assert round(kept.max()) == SIDE
    # The columns that are left say the same: a column is 1/1024 of inverse depth.
    columns = np.ptp(metric(batch), axis=(1, 2)) * 1024
    # A nearest neighbour misses no more than a column at either end.
    assert (np.abs(columns - (np.round(kept) - 1)) <= 1 + 0.02).all()


def test_zoom_is_about_the_middle() -> None:
    batch = view_batch(cache_of([90]), drawn(3), 100, SIDE)
    middle = (metric(batch)[:, 0, [0, -1]].mean(1) - 1) * 1024
    # Odd cuts, and nearest neighbours, are half a column off each.
    assert np.abs(middle - (SIDE - 1) / 2).max() <= 1 + 0.02


def test_the_canonical_inverse_depth_is_scaled_by_the_zoomed_focal_length() -> None:
    """C = (f / w) / depth: at the middle pixel depth stays, so C grows as the tangent shrinks."""
    whole = view_batch(cache_of([80]), drawn(0), 1, 65, varied=False)
    zoomed = view_batch(cache_of([80]), drawn(4), 50, 65)
    at_middle = zoomed.inverse_depth[:, 0, 32, 32].double().numpy()
    tangents = np.tan(np.radians(zoomed.fov_deg.double().numpy()) / 2)
    expected = float(whole.inverse_depth[0, 0, 32, 32]) * math.tan(math.radians(40)) / tangents
    # The middle is a column off at most, and a column is 1/1024 of about 1.
    np.testing.assert_allclose(at_middle, expected, rtol=1.1 / 1024)


def test_a_zoomed_view_is_what_a_camera_of_that_field_of_view_sees(tmp_path: Path) -> None:
    """Of a rendered room, by rays that are traced again at the batch's field of view."""
    seed, side = 10, 128
    cache = build_scene_cache(tmp_path, CacheSettings(first_seed=seed, count=1, side=side))
    shapes = [stage(seed, width=side, height=side, squash=squash) for squash in (4 / 3, 1.0, 3 / 2, 16 / 9, 3 / 4)]
    staged = next(s for s in shapes if np.array_equal(s.scene.image, cache.images[0]))
    squash = staged.camera.focal_y_px / staged.camera.focal_x_px
    batch = view_batch(cache, drawn(5), 6, side)
    assert batch.fov_deg.min() < 0.8 * staged.scene.fov_deg
    for fov_deg, seen in zip(batch.fov_deg.tolist(), batch.inverse_depth[:, 0].numpy(), strict=True):
        pose = staged.layout.pose
        depth, _ = nearest(staged.layout.solids, pose.position, rays(pose, fov_deg, side, side, squash))
        expected = focal_of(fov_deg) / depth
        off = min(np.median(np.abs(view / expected - 1)) for view in (seen, seen[:, ::-1]))
        # Nearest neighbours lie half a pixel beside the ray; a focal length that is wrong by the zoom is 20 % off.
        assert off < 0.02


def test_half_of_the_views_are_mirrored_and_keep_their_field_of_view() -> None:
    batch = view_batch(cache_of([28]), drawn(6), 200, 16)  # too narrow to be zoomed
    assert batch.fov_deg.tolist() == pytest.approx([28] * 200, rel=1e-6)
    rising = (batch.inverse_depth[:, 0, :, -1] > batch.inverse_depth[:, 0, :, 0]).all(1)
    assert 70 <= int(rising.sum()) <= 130  # four standard deviations of 7
    brighter = batch.image[:, :, :, -1].mean((1, 2)) > batch.image[:, :, :, 0].mean((1, 2))
    # A picture that is mirrored and its depth that is not would teach nonsense.
    assert torch.equal(rising, brighter)
    np.testing.assert_array_equal(metric(batch)[rising][0], metric(batch)[~rising][0][:, ::-1])


def test_colors_vary_and_depth_does_not() -> None:
    cache = cache_of([28])
    batch = view_batch(cache, drawn(7), 60, SIDE)
    assert batch.image.min() >= -1
    assert batch.image.max() <= 1
    assert batch.image.mean((2, 3)).std(0).min() > 0.05
    # Of gray pictures, a gain a channel makes tints.
    assert (batch.image.mean((2, 3)).amax(1) - batch.image.mean((2, 3)).amin(1)).max() > 0.02
    known = np.asarray(cache.inverse_depth[0, 0], np.float64)
    assert np.isin(np.round(metric(batch) * 1024).astype(int), np.round(known * 1024).astype(int)).all()


def test_the_sky_stays_at_zero() -> None:
    cache = cache_of([70, 70])
    cache.inverse_depth[:, :20] = 0
    batch = view_batch(cache, drawn(8), 30, 32)
    sky = (batch.inverse_depth == 0).float().mean((1, 2, 3))
    assert (sky > 0.1).all()
    # Nothing between the sky and what stands before it.
    assert batch.inverse_depth[batch.inverse_depth > 0].min() > 0.4


# --- tiles


def test_tiles_are_cut_at_full_and_half_scale_in_metres() -> None:
    cache = cache_of([60, 90])
    batch = tile_batch(cache, drawn(9), 120, 16)
    assert batch.image.shape == (120, 3, 16, 16)
    assert batch.inverse_depth.shape == (120, 1, 16, 16)
    assert (batch.fov_deg == 0).all()
    columns = (batch.inverse_depth[:, 0, 0].double() % 1) * 1024
    steps = columns.diff(dim=1).abs().mean(1).round().int().tolist()
    assert set(steps) == {1, 2}
    assert 40 <= steps.count(2) <= 80  # four standard deviations of 5.5
    # Anywhere: the outermost columns and both scenes come up, in 1/m whatever the focal length.
    assert columns.min() < 3
    assert columns.max() > SIDE - 4
    assert set(batch.inverse_depth.floor().unique().tolist()) == {1.0, 2.0}


def test_a_tile_s_picture_and_depth_are_of_one_place() -> None:
    cache = cache_of([60])
    batch = tile_batch(cache, drawn(10), 60, 16)
    # Neither gain nor curve changes which tile of two is further to the right, if they are far apart.
    where = (batch.inverse_depth[:, 0].mean((1, 2)) - 1) * 1024
    brightness = batch.image.mean((1, 2, 3))
    correlation = np.corrcoef(where.numpy(), brightness.numpy())[0, 1]
    assert correlation > 0.5
    rising = (batch.inverse_depth[:, 0, :, -1] > batch.inverse_depth[:, 0, :, 0]).all(1)
    brighter = batch.image[:, :, :, -1].mean((1, 2)) > batch.image[:, :, :, 0].mean((1, 2))
    assert torch.equal(rising, brighter)


def test_a_tile_may_be_as_large_as_half_the_scene() -> None:
    assert tile_batch(cache_of([60]), drawn(11), 4, SIDE // 2).image.shape == (4, 3, SIDE // 2, SIDE // 2)


# --- reproducible


@pytest.mark.parametrize("cut", [view_batch, tile_batch])
def test_a_batch_is_its_generator_s_alone(cut: object) -> None:
    assert callable(cut)
    cache = cache_of([60, 70, 80])
    first = cut(cache, drawn(12), 8, 16)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert same(cut(cache, drawn(12), 8, 16), first)
    assert not same(cut(cache, drawn(13), 8, 16), first)


def test_a_batch_goes_to_a_device() -> None:
    batch = view_batch(cache_of([60]), drawn(14), 2, 16)
    assert same(batch.to(torch.device("cpu")), batch)
    assert batch.to(torch.device("meta")).image.device.type == "meta"


# --- on a device


def views(cache: SceneCache, random: np.random.Generator, count: int, side: int) -> Cuts:
    return choose_views(cache, random, count)


@pytest.mark.parametrize(("make", "choose"), [(view_batch, views), (tile_batch, choose_tiles)])
@pytest.mark.parametrize("side", [24, 32, 96])
def test_scenes_on_a_device_give_the_batches_that_those_on_disk_give(
    make: Callable[[AnyScenes, np.random.Generator, int, int], Batch],
    choose: Callable[[SceneCache, np.random.Generator, int, int], Cuts],
    side: int,
) -> None:
    """Two implementations of the same cuts: cv2 on bytes, and torch in floating point."""
    random = drawn(15)
    cache = cache_of([60, 0, 75, 90], 2 * side)
    cache.images[:] = random.integers(0, 256, cache.images.shape)
    cache.inverse_depth[:] = random.random(cache.inverse_depth.shape)
    on_disk = make(cache, drawn(16), 24, side)
    on_device = make(DeviceScenes(cache, torch.device("cpu")), drawn(16), 24, side)
    equal = (on_device.inverse_depth == on_disk.inverse_depth).flatten(1).all(1)
    # A pixel whose centre lies on the border of two of the scene's is either's: cv2's choice varies with its version.
    on_border = (2 * np.arange(side) + 1) * choose(cache, drawn(16), 24, side).kept[:, None] % (2 * side) == 0
    assert equal[~on_border.any(1)].all()
    assert int((~on_border.any(1)).sum()) >= 12
    assert torch.equal(on_device.fov_deg, on_disk.fov_deg)
    # Bytes are rounded three times on the way (resize, curve, saturation): half a level each, times the curves' slope.
    error = (on_device.image - on_disk.image).abs() * 127.5
    assert float(error.mean()) < 0.6
    assert float(error.quantile(0.999)) < 3


def test_scenes_on_a_device_say_what_they_take() -> None:
    cache = cache_of([60, 70])
    assert DeviceScenes.bytes_of(cache.settings) == cache.images.nbytes + cache.inverse_depth.nbytes == 40960


def test_refreshing_copies_what_was_rendered_since_and_nothing_else() -> None:
    cache = cache_of([60, 0, 75, 0])
    scenes = DeviceScenes(cache, torch.device("cpu"))
    assert scenes.rendered.tolist() == [0, 2]
    before = view_batch(scenes, drawn(17), 8, SIDE)
    cache.images[0] = 99  # never happens to a rendered scene, and so isn't looked for
    cache.images[3] = 7
    cache.inverse_depth[3] = 5.0
    cache.focal_over_width[3] = focal_of(80)
    # Not there before it is asked for, even though the file says so.
    assert scenes.rendered.tolist() == [0, 2]
    assert same(view_batch(scenes, drawn(17), 8, SIDE), before)
    scenes.refresh()
    assert scenes.rendered.tolist() == [0, 2, 3]
    batch = view_batch(scenes, drawn(0), 3, SIDE, varied=False)
    assert batch.fov_deg.tolist() == pytest.approx([60, 75, 80], rel=1e-6)  # float32
    assert same(batch, view_batch(scenes, drawn(0), 3, SIDE, varied=False))
    np.testing.assert_allclose(metric(batch)[2], 5.0, rtol=1e-6)
    assert batch.image[2].unique().tolist() == pytest.approx([7 / 127.5 - 1])
    assert batch.image[0].max() > 99 / 127.5 - 1  # as it was when it was copied
    scenes.refresh()
    assert scenes.rendered.tolist() == [0, 2, 3]


class Watched(np.ndarray[tuple[int, ...], np.dtype[np.generic]]):
    """An array that tells when it is read."""

    tell: Callable[[int], None] | None = None

    def __getitem__(self, index: object) -> object:  # type: ignore[override]
        if self.tell is not None:
            assert isinstance(index, (int, np.integer))
            self.tell(int(index))
        return super().__getitem__(index)  # type: ignore[call-overload]


def test_a_scene_is_not_shown_before_all_of_it_is_copied() -> None:
    """Batches are cut in one thread while another one copies scenes."""
    plain = cache_of([60, 0, 0])
    images, inverse_depth = plain.images.view(Watched), plain.inverse_depth.view(Watched)
    cache = SceneCache(
        settings=plain.settings,
        images=cast(npt.NDArray[np.uint8], images),
        inverse_depth=cast(npt.NDArray[np.float16], inverse_depth),
        focal_over_width=plain.focal_over_width,
    )
    scenes = DeviceScenes(cache, torch.device("cpu"))
    cache.focal_over_width[:] = focal_of(60)
    read, shown = list[int](), list[list[int]]()

    def tell(index: int) -> None:
        read.append(index)
        shown.append(scenes.rendered.tolist())

    images.tell = inverse_depth.tell = tell
    scenes.refresh()
    assert sorted(read) == [1, 1, 2, 2]
    # The picture and the depth of a scene are read before it is among those that are cut.
    for place, index in enumerate(read):
        assert all(index not in seen for seen in shown[: place + 1])
    images.tell = inverse_depth.tell = None
    assert scenes.rendered.tolist() == [0, 1, 2]


def test_a_batch_takes_another_s_values_in_place() -> None:
    cache = cache_of([60, 80])
    batch, other = view_batch(cache, drawn(18), 3, 16), view_batch(cache, drawn(19), 3, 16)
    places = [batch.image.data_ptr(), batch.inverse_depth.data_ptr(), batch.fov_deg.data_ptr()]
    batch.copy_(other)
    assert same(batch, other)
    assert [batch.image.data_ptr(), batch.inverse_depth.data_ptr(), batch.fov_deg.data_ptr()] == places
    both, others = (
        ViewsAndTiles(view_batch(cache, drawn(n), 2, 16), tile_batch(cache, drawn(n), 2, 16)) for n in (1, 2)
    )
    assert not same(both.tiles, others.tiles)
    both.copy_(others)
    assert same(both.views, others.views)
    assert same(both.tiles, others.tiles)
