"""The baselines are what a set's own medians and means are, however the set comes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgedepth.core.plain import from_plain, to_plain
from edgedepth.verify.baselines import CONSTANT_DEPTH, GRID, MEAN_DEPTH_MAP, BaselineFit, Baselines, depths_of

Samples = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], float | None]]

HEIGHT, WIDTH = 2 * GRID[0], 3 * GRID[1]


def samples(count: int = 5) -> Samples:
    rng = np.random.default_rng(3)
    made: Samples = []
    for index in range(count):
        depth = rng.lognormal(1 + 0.3 * index, 1.0, (HEIGHT, WIDTH)).astype(np.float32)
        made.append((depth, rng.random((HEIGHT, WIDTH)) < 0.7, None if index == 0 else 100.0 + 10 * index))
    return made


def fitted(made: Samples) -> Baselines:
    fit = BaselineFit()
    for sample in made:
        fit.add(depths_of(*sample))
    baselines = fit.finish()
    assert baselines is not None
    return baselines


def test_the_constant_is_the_median_of_all_valid_depths() -> None:
    made = samples()
    exact = np.median(np.concatenate([depth[valid] for depth, valid, _ in made]))
    # The histogram's bins are 0.1 % wide.
    assert fitted(made).constant_m == pytest.approx(exact, rel=1e-3)


def test_the_map_is_the_mean_of_each_cell_s_valid_depths() -> None:
    made = samples()
    rows, columns = GRID
    totals, counts = np.zeros(GRID), np.zeros(GRID)
    for depth, valid, _ in made:
        for y, x in zip(*np.nonzero(valid), strict=True):
            totals[y * rows // HEIGHT, x * columns // WIDTH] += depth[y, x]
            counts[y * rows // HEIGHT, x * columns // WIDTH] += 1
    assert np.allclose(fitted(made).mean_map_m, totals / counts, rtol=1e-12)  # float64 sums in another order


def test_the_fov_is_the_median_where_it_is_known() -> None:
    # Known are 110, 120, 130 and 140 px, on WIDTH pixels.
    assert fitted(samples()).focal_per_width == pytest.approx(125 / WIDTH)
    assert fitted(samples(1)).focal_per_width is None


def test_the_order_of_the_samples_doesn_t_matter() -> None:
    forth, back = fitted(samples()), fitted(samples()[::-1])
    assert forth.constant_m == back.constant_m
    assert np.allclose(forth.mean_map_m, back.mean_map_m, rtol=1e-12)  # float64 sums in another order


def test_they_are_drawn_at_any_size() -> None:
    baselines = fitted(samples())
    for height, width in ((HEIGHT, WIDTH), GRID, (16, 16), (101, 53)):
        depths = baselines.depths(height, width)
        assert list(depths) == [CONSTANT_DEPTH, MEAN_DEPTH_MAP]
        assert all(d.shape == (height, width) and d.dtype == np.float32 and (d > 0).all() for d in depths.values())
        assert (depths[CONSTANT_DEPTH] == np.float32(baselines.constant_m)).all()
    grid = np.asarray(baselines.mean_map_m, np.float32)
    assert np.array_equal(baselines.depths(*GRID)[MEAN_DEPTH_MAP], grid)


def test_cells_that_nobody_knows_get_the_constant() -> None:
    depth = np.full((HEIGHT, WIDTH), 7, np.float32)
    valid = np.zeros((HEIGHT, WIDTH), np.bool_)
    valid[: HEIGHT // 2] = True
    depth[HEIGHT // 2 :] = 0  # as readers leave what isn't known
    baselines = fitted([(depth, valid, None)])
    grid = np.asarray(baselines.mean_map_m)
    assert np.allclose(grid[: GRID[0] // 2], 7)
    assert (grid[GRID[0] // 2 :] == baselines.constant_m).all()


def test_pictures_smaller_than_the_grid_and_depths_beyond_the_histogram() -> None:
    small = np.full((16, 16), 1e-9, np.float32)
    assert fitted([(small, np.ones((16, 16), np.bool_), None)]).constant_m == pytest.approx(1e-6, rel=1e-3)
    assert cv2.resize(small, GRID[::-1]).shape == GRID


def test_nothing_gives_nothing() -> None:
    assert BaselineFit().finish() is None


def test_they_go_through_json() -> None:
    baselines = fitted(samples())
    assert from_plain(Baselines, to_plain(baselines), where="baselines") == baselines
