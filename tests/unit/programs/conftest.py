"""A small Depth Pro for the program's tests: the mini's tiling with few channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgedepth.core.spec import ModelSpec, StageSpec
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    depth_pro_preprocess,
    depth_pro_stages,
    depth_pro_tiling,
    whole_stage,
)

CONFIG = replace(DEPTH_PRO_MINI, width=6, decoder_width=8)


def model_spec(*stages: StageSpec) -> ModelSpec:
    return ModelSpec(
        name="small",
        family="depth-pro",
        kind="metric",
        stages=stages,
        preprocess=depth_pro_preprocess(CONFIG),
        tiling=depth_pro_tiling(CONFIG),
        parameters=1,
        licence="none",
        source="none",
        weights_sha256="0" * 64,
        trained=False,
    )


@pytest.fixture(scope="session")
def staged() -> ModelSpec:
    return model_spec(*depth_pro_stages(CONFIG))


@pytest.fixture(scope="session")
def single() -> ModelSpec:
    return model_spec(whole_stage(CONFIG))


@pytest.fixture(scope="session")
def rgb() -> np.ndarray:
    return np.random.default_rng(7).random((97, 351, 3), dtype=np.float32)
