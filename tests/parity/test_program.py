"""The program around the model's stages, against the eager whole model that knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from edgedepth.core.spec import ModelSpec
from edgedepth.models.depth_pro import DepthPro, MetricDepth
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    DepthProConfig,
    depth_pro_preprocess,
    depth_pro_stages,
    depth_pro_tiling,
    whole_stage,
)
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.module_session import ModuleSession
from edgedepth.models.random_init import random_depth_pro
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.single_graph import SingleGraphProgram
from edgedepth.programs.stages import StagePool

# Asked for: a program that is the published computation, up to the order in which float32 is summed. Matrices
# of other batch sizes are multiplied in other blocks, and the resize blends in another order.
TOLERANCE = 1e-5

SMALL = replace(
    DEPTH_PRO_MINI, width=48, depth=4, heads=3, hooks=(1, 2), feature_dims=(16, 24, 32, 32), decoder_width=16
)
"""The mini's tiling and topology at a tenth of its cost, for the long products."""


@dataclass(frozen=True)
class Built:
    """A model, its declaration and its stages."""

    module: DepthPro
    spec: ModelSpec

    def open_stage(self, stage: str, /) -> ModuleSession:
        return ModuleSession(stage_modules(self.module)[stage], self.spec.stage(stage))

    def eager(self, rgb: np.ndarray, focal_px: float | None) -> MetricDepth:
        """The published order: normalise, then resize."""
        image = torch.from_numpy(rgb).permute(2, 0, 1).contiguous() * 2 - 1
        return self.module.infer(image, focal_px)


def built(config: DepthProConfig) -> Built:
    spec = ModelSpec(
        name="random",
        family="depth-pro",
        kind="metric",
        stages=(*depth_pro_stages(config), whole_stage(config)),
        preprocess=depth_pro_preprocess(config),
        tiling=depth_pro_tiling(config),
        parameters=1,
        licence="none",
        source="random",
        weights_sha256="0" * 64,
        trained=False,
    )
    return Built(random_depth_pro(config, seed=11), spec)


@pytest.fixture(scope="module")
def small() -> Built:
    return built(SMALL)


@pytest.fixture(scope="module")
def mini() -> Built:
    return built(DEPTH_PRO_MINI)


def picture(height: int, width: int) -> np.ndarray:
    """Edges, gradients and noise: something of every frequency."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.stack([np.sin(9 * x + 4 * y), np.sign(np.sin(15 * y - 6 * x)), np.cos(20 * x * y)], axis=-1)
    return np.clip(0.5 + 0.3 * waves + 0.1 * rng.standard_normal((height, width, 3)), 0, 1).astype(np.float32)


def assert_equal(got: Prediction, want: MetricDepth, focal_px: float | None) -> None:
    inverse = 1 / want.depth[0, 0].numpy()
    # Otherwise a clamped or constant depth would agree with anything.
    assert inverse.std() > 0.01 * inverse.mean()
    # Relative to the map's mean and not to each value: the head's last sum cancels to nearly nothing at some
    # pixels (depths of 100 m among those of 1 m), and there the rounding of its terms is large beside the result.
    assert_allclose(1 / got.depth, inverse, rtol=0, atol=TOLERANCE * float(inverse.mean()))
    assert got.focal_px == pytest.approx(float(want.focal_px[0]), rel=TOLERANCE)
    if focal_px is None:
        assert got.fov_deg == pytest.approx(float(want.fov_deg[0]), rel=TOLERANCE)


@pytest.mark.parametrize("focal_px", [None, 431.5], ids=["predicted", "given"])
@pytest.mark.parametrize("shape", [(16, 16), (512, 512), (97, 351), (1000, 700)], ids=str)
def test_stages_equal_the_eager_whole(small, shape, focal_px):
    rgb = picture(*shape)
    want = small.eager(rgb, focal_px)
    with StagePool(small.open_stage) as pool:
        for tile_batch in (1, 4, 5, 35):
            got = DepthProProgram(small.spec, pool, tile_batch=tile_batch).predict(rgb, focal_px=focal_px)
            assert_equal(got, want, focal_px)


@pytest.mark.parametrize("focal_px", [None, 431.5], ids=["predicted", "given"])
def test_the_mini_equals_the_eager_whole(mini, focal_px):
    rgb = picture(97, 351)
    with StagePool(mini.open_stage) as pool:
        got = DepthProProgram(mini.spec, pool, tile_batch=5).predict(rgb, focal_px=focal_px)
    assert_equal(got, mini.eager(rgb, focal_px), focal_px)


def test_one_resident_stage_gives_the_same(small):
    rgb = picture(97, 351)
    with StagePool(small.open_stage, resident="one") as pool:
        got = DepthProProgram(small.spec, pool, tile_batch=5).predict(rgb)
    assert_equal(got, small.eager(rgb, None), None)


@pytest.mark.parametrize("focal_px", [None, 431.5], ids=["predicted", "given"])
def test_single_layout_equals_the_eager_whole(small, focal_px):
    rgb = picture(97, 351)
    with StagePool(small.open_stage) as pool:
        got = SingleGraphProgram(small.spec, pool).predict(rgb, focal_px=focal_px)
    assert_equal(got, small.eager(rgb, focal_px), focal_px)
