"""The decoder in windows: within its margin a window is what the whole decoder gives there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO,
    DEPTH_PRO_MINI,
    DepthProConfig,
    decoder_window_stages,
    depth_pro_stages,
    depth_pro_tiling,
)
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.programs.decoder_windows import WindowSpan, window_spans

CELLS = 14
ROUNDING = 1e-5  # of float32 products in another order, as in test_folding.py


@pytest.fixture(scope="module")
def config(tiny: LoadedModel) -> DepthProConfig:
    assert isinstance(tiny.entry.config, DepthProConfig)
    return tiny.entry.config


@pytest.fixture(scope="module")
def model(tiny: LoadedModel) -> DepthPro:
    assert isinstance(tiny.module, DepthPro)
    return tiny.module


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def feeds(config: DepthProConfig, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    (decoder,) = (stage for stage in depth_pro_stages(config) if stage.name == "decoder")
    return {spec.name: torch.randn(spec.shape, generator=generator) for spec in decoder.inputs}


def coarse_of(stages, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return stages["decoder_coarse"](*(maps[name] for name in ("level0", "level1", "level2", "image_features")))


def window(stages, coarse: Tensor, maps: dict[str, Tensor], row: WindowSpan, column: WindowSpan) -> Tensor:
    doubled = [slice(2 * span.fed.start, 2 * span.fed.stop) for span in (row, column)]
    latents = [maps[name][:, row.fed, column.fed] for name in ("latent0", "latent1")]
    return stages["decoder_window"](coarse[:, doubled[0], doubled[1]], *latents)[0][0, 0]


def pixels(cells: slice, start: int = 0) -> slice:
    return slice(16 * (cells.start - start), 16 * (cells.stop - start))


def test_the_window_of_each_config(config: DepthProConfig) -> None:
    """What a tile leaves at the picture's edge and a margin on one side, or within it and a margin on two."""
    for each, cells in ((DEPTH_PRO, 24 - 3 + 4 + 1), (DEPTH_PRO_MINI, 8 - 2 * 1 + 8), (config, CELLS)):
        stage = decoder_window_stages(each)[1]
        assert [spec.shape[1] for spec in stage.inputs] == [2 * cells, cells, cells]
        assert len(window_spans(depth_pro_tiling(each), cells)) == 5


@pytest.mark.parametrize("folded", [False, True])
def test_every_window_is_the_whole_decoders_depth(model: DepthPro, config: DepthProConfig, folded: bool) -> None:
    stages, maps = stage_modules(model, folded=folded), feeds(config, 1)
    whole, lowres = stages["decoder"](**maps)
    coarse, same = coarse_of(stages, maps)
    assert torch.equal(lowres, same)
    spans = window_spans(depth_pro_tiling(config), CELLS)
    scale = whole.abs().max()
    for row in spans:
        for column in spans:
            decoded = window(stages, coarse, maps, row, column)
            right = decoded[pixels(row.right, row.fed.start), pixels(column.right, column.fed.start)]
            want = whole[0, 0, pixels(row.right), pixels(column.right)]
            assert (right - want).abs().max() <= ROUNDING * scale
    # A planted fault: what lies beyond the margin is not right, and the comparison tells.
    row, column = spans[0], spans[2]
    decoded = window(stages, coarse, maps, row, column)
    assert (decoded - whole[0, 0, pixels(row.fed), pixels(column.fed)]).abs().max() > 100 * ROUNDING * scale


def test_a_change_reaches_no_further_than_the_window_is_right(model: DepthPro, config: DepthProConfig) -> None:
    """Otherwise depth beyond a window would be old, and nobody would know."""
    stages, maps = stage_modules(model, folded=True), feeds(config, 2)
    before, _ = stages["decoder"](**maps)
    spans = window_spans(depth_pro_tiling(config), CELLS)
    row, column = spans[1], spans[3]
    for name in ("latent0", "latent1"):
        changed = dict(maps) | {name: maps[name].clone()}
        changed[name][:, row.own, column.own] += 10
        after, _ = stages["decoder"](**changed)
        differs = (after - before)[0, 0].abs() > ROUNDING * before.abs().max()
        assert differs[pixels(row.own), pixels(column.own)].float().mean() > 0.5
        differs[pixels(row.right), pixels(column.right)] = False
        assert not differs.any()
