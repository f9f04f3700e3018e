"""A cache of scenes goes on after any interruption, never mixes scenes, and tells a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import OutputError, TrainingError
from edgedepth.training import scene_cache
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache
from edgedepth.training.scenes import HELD_OUT_SEED, Scene, render_scene

FOUR = CacheSettings(first_seed=20, count=4, side=16)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> SceneCache:
    return build_scene_cache(tmp_path_factory.mktemp("four"), FOUR)


def content(cache: SceneCache) -> tuple[bytes, bytes, bytes]:
    return cache.images.tobytes(), cache.inverse_depth.tobytes(), cache.focal_over_width.tobytes()


# --- what it holds


def test_it_holds_squashed_scenes_of_its_seeds(four: SceneCache) -> None:
    assert (four.images.shape, four.images.dtype) == ((4, 16, 16, 3), np.uint8)
    assert (four.inverse_depth.shape, four.inverse_depth.dtype) == ((4, 16, 16), np.float16)
    assert four.rendered.tolist() == [0, 1, 2, 3]
    for index in range(4):
        candidates = [
            render_scene(20 + index, width=16, height=16, squash=squash)
            for squash in (4 / 3, 1.0, 3 / 2, 16 / 9, 3 / 4)
        ]
        same = [scene for scene in candidates if np.array_equal(scene.image, four.images[index])]
        assert len(same) == 1
        # float16 keeps 11 bits.
        np.testing.assert_allclose(four.inverse_depth[index], 1 / same[0].depth_m, rtol=2**-11)
        assert four.focal_over_width[index] == pytest.approx(same[0].focal_px / 16, rel=1e-6)  # float32


def test_the_sky_is_at_inverse_depth_zero(tmp_path: Path) -> None:
    street = build_scene_cache(tmp_path, CacheSettings(first_seed=2, count=1, side=32))
    sky = np.asarray(street.inverse_depth[0]) == 0
    assert 0.02 < sky.mean() < 0.7
    assert np.isfinite(street.inverse_depth).all()


def test_it_is_read_only(four: SceneCache) -> None:
    with pytest.raises(ValueError, match="read-only"):
        four.images[0] = 0


def test_two_workers_make_what_one_makes(four: SceneCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_cache, "_SHARE", 1)
    told: list[tuple[int, int]] = []

    def progress(_step: str, done: int, total: int) -> None:
        told.append((done, total))

    assert content(build_scene_cache(tmp_path / "two", FOUR, workers=2, progress=progress)) == content(four)
    assert told == [(done, 4) for done in range(5)]


def test_the_first_scenes_are_enough_where_so_many_are_wanted(
    four: SceneCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = counting(monkeypatch)
    few = build_scene_cache(tmp_path, FOUR, first=2)
    assert few.rendered.tolist() == [0, 1]
    build_scene_cache(tmp_path, FOUR, first=1)
    assert seeds == [20, 21]
    erase(tmp_path, 0)
    assert build_scene_cache(tmp_path, FOUR, first=3).rendered.tolist() == [0, 1, 2]
    assert seeds == [20, 21, 20, 22]
    assert content(build_scene_cache(tmp_path, FOUR)) == content(four)
    assert content(few) == content(four)  # a view of what is on the disk


def test_workers_share_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer scenes than a worker's usual share keep more than one of them busy."""
    told: list[int] = []
    build_scene_cache(tmp_path, FOUR, workers=2, progress=lambda _, done, total: told.append(done))
    assert told == [0, 2, 4]


# --- going on


def erase(folder: Path, *indices: int) -> None:
    """What a kill between two scenes leaves: the last array does not say that they are there."""
    focal = np.lib.format.open_memmap(folder / "focal_over_width.npy", mode="r+")
    focal[list(indices)] = 0
    focal.flush()
    images = np.lib.format.open_memmap(folder / "images.npy", mode="r+")
    images[list(indices), :8] = 77
    images.flush()


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seeds: list[int] = []

    def render(seed: int, **size: float) -> Scene:
        seeds.append(seed)
        return render_scene(seed, **size)  # type: ignore[arg-type]

    monkeypatch.setattr(scene_cache, "render_scene", render)
    return seeds


def test_an_interrupted_build_renders_what_is_missing(
    four: SceneCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_scene_cache(tmp_path, FOUR)
    erase(tmp_path, 1, 3)
    seeds, lines = counting(monkeypatch), list[str]()
    assert content(build_scene_cache(tmp_path, FOUR, announce=lines.append)) == content(four)
    assert seeds == [21, 23]
    assert lines == [f"rendering 2 scenes of 16x16 into {tmp_path}"]


def test_a_whole_cache_is_opened_and_not_rendered(
    four: SceneCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_scene_cache(tmp_path, FOUR)
    seeds, lines = counting(monkeypatch), list[str]()
    assert content(build_scene_cache(tmp_path, FOUR, announce=lines.append)) == content(four)
    assert (seeds, lines) == ([], [])


def test_a_build_killed_between_settings_and_arrays_goes_on(four: SceneCache, tmp_path: Path) -> None:
    build_scene_cache(tmp_path, FOUR)
    (tmp_path / "focal_over_width.npy").unlink()
    (tmp_path / "inverse_depth.npy").write_bytes(b"half a header")
    assert content(build_scene_cache(tmp_path, FOUR)) == content(four)


def test_a_kill_loses_nothing_that_was_rendered(four: SceneCache, tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from edgedepth.training import scene_cache
render = scene_cache.render_scene
def die(seed, **size):
    if seed == 22:
        os.kill(os.getpid(), 9)
    return render(seed, **size)
scene_cache.render_scene = die
scene_cache.build_scene_cache(Path(sys.argv[1]), scene_cache.CacheSettings(first_seed=20, count=4, side=16))
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    focal = np.load(tmp_path / "focal_over_width.npy")
    assert (focal > 0).tolist() == [True, True, False, False]
    assert content(build_scene_cache(tmp_path, FOUR)) == content(four)


def test_a_worker_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_cache, "_render_share", kill_this_process)
    with pytest.raises(TrainingError, match="was killed") as caught:
        build_scene_cache(tmp_path, FOUR, workers=2)
    assert "--workers" in caught.value.remedy


def kill_this_process(*_: object) -> None:
    os._exit(9)


# --- never another's scenes


@pytest.mark.parametrize(
    "other",
    [
        CacheSettings(first_seed=21, count=4, side=16),
        CacheSettings(first_seed=20, count=5, side=16),
        CacheSettings(first_seed=20, count=4, side=24),
        CacheSettings(first_seed=20, count=4, side=16, scenes_version=99),
    ],
)
def test_a_folder_of_other_scenes_is_refused_and_left_alone(tmp_path: Path, other: CacheSettings) -> None:
    before = content(build_scene_cache(tmp_path, FOUR))
    with pytest.raises(TrainingError, match="holds other scenes") as caught:
        build_scene_cache(tmp_path, other)
    assert "--cache" in caught.value.remedy
    assert content(build_scene_cache(tmp_path, FOUR)) == before


def test_somebody_s_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images.npy").write_bytes(b"a thesis")
    with pytest.raises(TrainingError, match="neither empty nor a scene cache"):
        build_scene_cache(tmp_path, FOUR)
    assert [file.name for file in tmp_path.iterdir()] == ["images.npy"]
    assert (tmp_path / "images.npy").read_bytes() == b"a thesis"


def cut_settings(folder: Path) -> None:
    (folder / "settings.json").write_text('{"first_seed": 2')


def cut_array(folder: Path) -> None:
    with (folder / "images.npy").open("r+b") as file:
        file.truncate(1000)


def lost_array(folder: Path) -> None:
    (folder / "inverse_depth.npy").unlink()


def swapped_array(folder: Path) -> None:
    np.save(folder / "inverse_depth.npy", np.zeros((4, 8, 8), np.float16))


@pytest.mark.parametrize("damage", [cut_settings, cut_array, lost_array, swapped_array])
def test_a_damaged_cache_is_told(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    build_scene_cache(tmp_path, FOUR)
    damage(tmp_path)
    with pytest.raises(TrainingError, match="damaged scene cache") as caught:
        build_scene_cache(tmp_path, FOUR)
    assert str(tmp_path) in caught.value.remedy


@pytest.mark.parametrize(
    ("first_seed", "count"),
    [(HELD_OUT_SEED, 1), (HELD_OUT_SEED - 1, 2), (0, HELD_OUT_SEED + 1), (-1, 5), (0, 0), (5, -1)],
)
def test_held_out_scenes_are_not_for_training(first_seed: int, count: int) -> None:
    with pytest.raises(TrainingError, match="not training scenes") as caught:
        CacheSettings(first_seed=first_seed, count=count, side=16)
    assert str(HELD_OUT_SEED - 1) in caught.value.remedy


def test_the_last_training_scene_is_one() -> None:
    CacheSettings(first_seed=HELD_OUT_SEED - 3, count=3, side=16)


def test_the_settings_are_on_the_disk(tmp_path: Path) -> None:
    build_scene_cache(tmp_path, FOUR)
    held = json.loads((tmp_path / "settings.json").read_text())
    assert held == {"first_seed": 20, "count": 4, "side": 16, "scenes_version": 1}


# --- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_told_before_anything_is_rendered(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = counting(monkeypatch)
    with pytest.raises(OutputError, match=r"take 0\.000385 GB.*left") as caught:
        build_scene_cache(small_disk, CacheSettings(first_seed=0, count=300, side=16))
    assert "--cache" in caught.value.remedy
    assert seeds == []


def test_a_disk_that_fills_up_keeps_what_was_rendered(four: SceneCache, small_disk: Path) -> None:
    """Somebody else fills it meanwhile: the arrays take up room as they are filled only."""
    settings = CacheSettings(first_seed=20, count=24, side=32)
    ballast = small_disk / "ballast"

    def fill(_: str) -> None:
        with ballast.open("wb", buffering=0) as file:
            file.write(bytes(40 * 4096))

    with pytest.raises(OutputError, match="No space left") as caught:
        build_scene_cache(small_disk, settings, announce=fill)
    assert "free the disk" in caught.value.remedy
    before = np.load(small_disk / "focal_over_width.npy")
    assert 0 < (before > 0).sum() < 24
    ballast.unlink()
    after = build_scene_cache(small_disk, settings)
    assert after.rendered.size == 24
    np.testing.assert_array_equal(after.focal_over_width[before > 0], before[before > 0])


def test_a_quota_is_told_and_the_build_goes_on_later(
    four: SceneCache, tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    file_size_limit(2048)
    with pytest.raises(OutputError, match="File too large"):
        build_scene_cache(tmp_path, FOUR)
    file_size_limit(1 << 30)
    assert content(build_scene_cache(tmp_path, FOUR)) == content(four)


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be kept in"):
        build_scene_cache(tmp_path / "file", FOUR)
